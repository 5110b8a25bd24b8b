"""Dumps are whole studies in one file, and come back as they were."""

from __future__ import annotations

import warnings
from collections.abc import Iterator

import optuna
import pytest

from hpopt_lib.cluster.server import Server
from hpopt_lib.errors import HpoptError
from hpopt_lib.tuning.storage import load_study, open_storage


@pytest.fixture(scope="module")
def server(tmp_path_factory, needs) -> Iterator[Server]:
    needs("mariadbd")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("HPOPT_HOME", str(tmp_path_factory.mktemp("home")))
        server = Server("team")
        server.init()
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

    monkeypatch.setattr("hpopt_lib.cluster.dump.copy_rows", full)
    with pytest.raises(HpoptError, match="all.db: cannot be written: No space left on device"):
        server.dump(tmp_path / "all.db")
    assert list(tmp_path.iterdir()) == []
