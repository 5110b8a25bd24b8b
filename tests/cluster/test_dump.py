"""Dumps are whole studies in one file, and come back as they were."""

from __future__ import annotations

import shutil
import warnings
from collections.abc import Iterator
from pathlib import Path

import optuna
import pytest
import sqlalchemy.exc

from hpopt_lib.cluster import dump_rows
from hpopt_lib.cluster.server import Server
from hpopt_lib.errors import HpoptError
from hpopt_lib.tuning.endpoint import register_server
from hpopt_lib.tuning.storage import load_study, open_storage


@pytest.fixture(scope="module")
def server(template, tmp_path_factory) -> Iterator[Server]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("HPOPT_HOME", str(tmp_path_factory.mktemp("home")))
        folder = Path(shutil.copytree(template, tmp_path_factory.mktemp("dump") / "team"))
        folder.chmod(0o700)
        register_server("team", folder)
        server = Server("team")
        running = server.start()
        yield server
        server.stop()
        running.process.wait(timeout=30)


@pytest.fixture(autouse=True)
def storage(server):
    """Two studies, with all kinds of trials and values."""
    storage = open_storage("team")
    for name in optuna.get_all_study_names(storage):
        optuna.delete_study(study_name=name, storage=storage)
    for name in ("one", "two"):
        study = optuna.create_study(
            storage=storage, study_name=name, sampler=optuna.samplers.RandomSampler(seed=0)
        )
        study.set_user_attr("text", "Å 'quoted' \\ \n")
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", optuna.exceptions.ExperimentalWarning)
            study.set_metric_names(["error"])

        def objective(trial: optuna.Trial) -> float:
            x = trial.suggest_float("x", -1, 1)
            trial.suggest_categorical("c", ["a", None, 1.5])
            trial.set_user_attr("list", [1, {"k": "ä"}])
            for step, value in enumerate((x, float("inf"), float("nan"), 1e-300)):
                trial.report(value, step)
            if trial.number == 2:
                raise optuna.TrialPruned
            if trial.number == 3:
                raise ValueError
            return float("inf") if trial.number == 4 else x

        study.optimize(objective, n_trials=6, catch=(ValueError,))
        study.enqueue_trial({"x": 0.5})
    yield storage
    storage.engine.dispose()


def content(study: optuna.Study) -> list[tuple]:
    return [
        (t.number, t.state, t.values, t.params, t.distributions, t.user_attrs, t.system_attrs,
         repr(t.intermediate_values), t.datetime_start, t.datetime_complete)
        for t in study.trials
    ]  # fmt: skip


def test_a_dump_holds_everything_and_opens_as_a_storage(server, tmp_path):
    out = server.dump(tmp_path / "all.db")
    assert out.stat().st_mode & 0o777 == 0o600
    for name in ("one", "two"):
        before, after = load_study(name, "team"), load_study(name, f"sqlite:///{out}")
        assert content(before) == content(after) and len(after.trials) == 7
        assert before.user_attrs == after.user_attrs and after.metric_names == ["error"]
    study = load_study("one", f"sqlite:///{out}")
    study.optimize(
        lambda trial: trial.suggest_float("x", -1, 1), n_trials=2
    )  # it goes on, the queued one first
    assert len(study.trials) == 8
    with pytest.raises(HpoptError, match=r"all.db: output exists already; .* --overwrite"):
        server.dump(out)
    server.dump(out, overwrite=True)
    assert len(load_study("one", f"sqlite:///{out}").trials) == 7


def test_a_dump_comes_back_into_an_empty_server(server, tmp_path, storage):
    out = server.dump(tmp_path / "all.db")
    before = {name: content(load_study(name, "team")) for name in ("one", "two")}
    with pytest.raises(
        HpoptError, match="has studies of these names already: one, two; pass --skip-existing"
    ):
        server.restore(out)
    for name in before:
        optuna.delete_study(study_name=name, storage=storage)
    assert server.restore(out) == {"one": 7, "two": 7}
    assert {name: content(load_study(name, "team")) for name in before} == before
    study = load_study("two", "team")
    study.optimize(lambda trial: trial.suggest_float("x", -1, 1), n_trials=1)
    assert study.trials[6].params["x"] == 0.5, "the queued trial"


def test_a_dump_comes_back_beside_other_studies(server, tmp_path, storage):
    out = server.dump(tmp_path / "all.db")
    before = content(load_study("one", "team"))
    optuna.delete_study(study_name="one", storage=storage)
    assert server.restore(out, skip_existing=True) == {"one": 7}
    assert content(load_study("one", "team")) == before


def test_what_is_no_dump_is_refused(server, tmp_path):
    (tmp_path / "text.db").write_text("my notes\n" * 100)
    open_storage(f"sqlite:///{tmp_path}/empty.db")
    for name, message in (
        ("none.db", "no such study storage"),
        ("text.db", "not an SQLite file"),
        ("empty.db", "empty.db: holds no studies; name a file that hpopt db dump made"),
    ):
        with pytest.raises(HpoptError, match=message):
            server.restore(tmp_path / name)


def test_automatic_dumps_are_the_last_three(server):
    made = [server.dump() for _ in range(5)]
    assert sorted((server.folder / "dumps").iterdir()) == made[-3:]


def test_a_dump_that_fails_leaves_nothing(server, tmp_path, monkeypatch):
    def full(*_args):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("hpopt_lib.cluster.dump_rows.copy_all", full)
    with pytest.raises(HpoptError, match="all.db: cannot be written: No space left on device"):
        server.dump(tmp_path / "all.db")
    assert list(tmp_path.iterdir()) == []


@pytest.mark.filterwarnings("ignore:Heartbeat of storage:UserWarning")
def test_what_points_to_trials_comes_along_under_new_numbers(server, tmp_path, storage):
    study = load_study("two", "team")
    last = study.trials[4]._trial_id
    study._storage.set_study_system_attr(study._study_id, f"dashboard:{last}:note_str:0", "look at this")
    study.ask({"x": optuna.distributions.FloatDistribution(-1, 1)})  # runs while it is dumped
    out = server.dump(tmp_path / "all.db")
    optuna.delete_study(study_name="two", storage=storage)
    optuna.create_study(study_name="between", storage=storage)
    assert server.restore(out, skip_existing=True) == {"two": 7}
    study = load_study("two", "team")
    trial = study.trials[4]
    assert trial._trial_id != last and trial.number == 4
    notes = {k: v for k, v in study._storage.get_study_system_attrs(study._study_id).items() if "note" in k}
    assert notes == {f"dashboard:{trial._trial_id}:note_str:0": "look at this"}
    assert [t.state.name for t in study.trials][-1] == "RUNNING"
    study._storage._backend.engine.dispose()
    optuna.delete_study(study_name="between", storage=storage)


def test_a_restore_that_fails_puts_nothing_in(server, tmp_path, storage, monkeypatch):
    out = server.dump(tmp_path / "all.db")
    for name in ("one", "two"):
        optuna.delete_study(study_name=name, storage=storage)
    copy_study = dump_rows.copy_study

    def fails(reader, writer, name):
        if name == "two":
            raise sqlalchemy.exc.OperationalError("INSERT", {}, Exception("server has gone away"))
        return copy_study(reader, writer, name)

    monkeypatch.setattr(dump_rows, "copy_study", fails)
    with pytest.raises(
        HpoptError, match="cannot be restored into server 'team': server has gone away; nothing"
    ):
        server.restore(out)
    assert optuna.get_all_study_names(storage) == []


def test_every_table_of_optuna_is_copied():
    """A new version of Optuna may have another table, or one that refers to something else."""
    found = {
        table.name: {key.column.table.name for key in table.foreign_keys} for table in dump_rows.tables()
    }
    assert found.pop("studies") == set() and found.pop("trials") == {"studies"}
    assert len(found) == 9 and all(to in ({"studies"}, {"trials"}) for to in found.values())
    assert all(len(table.primary_key.columns) == 1 for table in dump_rows.tables())


def test_thousands_of_rows_come_in_portions(server, tmp_path, monkeypatch, storage):
    monkeypatch.setattr(dump_rows, "ROWS", 3)
    before = content(load_study("one", "team"))
    out = server.dump(tmp_path / "all.db")
    assert content(load_study("one", f"sqlite:///{out}")) == before
    optuna.delete_study(study_name="one", storage=storage)
    server.restore(out, skip_existing=True)
    assert content(load_study("one", "team")) == before
