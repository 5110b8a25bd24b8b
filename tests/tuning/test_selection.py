"""Selecting on several domains: objective, pruning, checkpoints, workers, copies, and what stays unseen."""

from __future__ import annotations

import shutil

import numpy as np
import pytest
from click.testing import CliRunner

from hpopt_lib.cli import main
from hpopt_lib.errors import HpoptError
from hpopt_lib.potential.domains import ERROR, DomainTraining, domain_errors
from hpopt_lib.potential.settings import TrainSettings
from hpopt_lib.potential.training import Training, train
from hpopt_lib.preprocess import Input, preprocess
from hpopt_lib.store import Store
from hpopt_lib.tuning.final import final_model
from hpopt_lib.tuning.interrupts import Interrupts
from hpopt_lib.tuning.objective import training_seed
from hpopt_lib.tuning.selection import METRICS, choose_domains
from hpopt_lib.tuning.storage import load_study
from hpopt_lib.tuning.study import create_study, tune
from hpopt_lib.tuning.workers import Worker, WorkerOptions

SETTINGS = TrainSettings(epochs=5, num_layers=1, num_nodes=6, batch_size=16)


@pytest.fixture(scope="module")
def store(store_path):
    return Store.open(store_path)


def domain_training(dataset, store, combine, settings=SETTINGS, seed=1):
    others = {"ood": store.read("ood")}
    return DomainTraining(dataset, settings, seed=seed, first="val", others=others, combine=combine)


def test_the_training_is_the_same_and_every_domain_is_validated(dataset, store):
    made = {name: domain_training(dataset, store, f) for name, f in (("mean", np.mean), ("max", np.max))}
    for training in made.values():
        list(training)
    plain = train(dataset, SETTINGS, seed=1)
    from dataclasses import replace

    ood = train(replace(dataset, validation=store.read("ood")), SETTINGS, seed=1)
    for name, combine in (("mean", np.mean), ("max", np.max)):
        history = made[name].history
        assert [r[f"{ERROR}/val"] for r in history] == [r[ERROR] for r in plain.history]
        assert [r[f"{ERROR}/ood"] for r in history] == [r[ERROR] for r in ood.history]
        expected = [float(combine([a[ERROR], b[ERROR]])) for a, b in zip(plain.history, ood.history)]
        assert [r[ERROR] for r in history] == expected
        assert made[name].best_error == min(expected)
        assert made[name].best_epoch == 1 + int(np.argmin(expected))
    assert domain_errors(plain.history, 1) == {}
    assert set(domain_errors(made["max"].history, 2)) == {"val", "ood"}


def test_patience_follows_the_combined_error(dataset, store):
    settings = TrainSettings(**{**SETTINGS.to_dict(), "patience": 1, "epochs": 9})
    ends = iter([5.0, 4.0, 6.0])
    training = domain_training(dataset, store, lambda errors: next(ends), settings)
    list(training)
    assert training.epoch == 3 and training.best_epoch == 2


def test_a_training_goes_on_from_its_state(dataset, store):
    whole, first = (domain_training(dataset, store, np.max) for _ in range(2))
    list(whole)
    first.step()
    again = domain_training(dataset, store, np.max)
    again.restore(first.state())
    list(again)
    assert again.history == whole.history


@pytest.mark.parametrize(("select", "combine"), [("mean", np.mean), ("worst-domain", np.max)])
def test_a_study_minimises_the_combined_error(make_config, dataset, store, tmp_path, select, combine):
    config = make_config(select=select, domains=["val", "ood"], metric=METRICS[select], pruner="median")
    study = tune("s", config, trials=3, storage=f"sqlite:///{tmp_path}/s.db")
    for trial in study.trials:
        errors = trial.user_attrs["domain_errors"]
        assert set(errors) == {"val", "ood"}
        assert trial.value == pytest.approx(combine(list(errors.values())), abs=1e-4)
        assert min(trial.intermediate_values.values()) == trial.value
    best = study.best_trial
    again = domain_training(
        dataset, store, combine, TrainSettings.from_dict(best.user_attrs["settings"]),
        training_seed(0, best.number, 0),
    )  # fmt: skip
    list(again)
    assert again.best_error == best.value
    assert study.metric_names == [METRICS[select]]


def test_default_domains_leave_a_split_to_test_on(store):
    class Names:
        path, train_split = "s.lmdb", "train"

        def __init__(self, *names):
            self.names = list(names)

        def validation_splits(self):
            return self.names

        def check_split(self, split):
            return Store.check_split(self, split)

        header = property(lambda self: {"splits": [self.train_split, *self.names]})
        splits = property(lambda self: [self.train_split, *self.names])

    assert choose_domains(Names("id", "ads", "cat", "both"), "mean", None) == ["id", "ads", "cat"]
    assert choose_domains(Names("id", "ads", "test", "test_ads"), "mean", None) == ["id", "ads"]
    assert choose_domains(Names("id", "ads"), "mean", None) == ["id", "ads"]
    assert choose_domains(Names("id", "ads", "cat"), "mean", ["cat", "id"]) == ["cat", "id"]
    assert choose_domains(Names("id"), "one", None) == []
    for names, select, domains, message in (
        (("id",), "mean", None, "only 1 validation split"),
        ((), "mean", None, "no validation split"),
        (("id", "test"), "mean", None, "two different splits"),
        (("id", "ads"), "mean", ["id", "id"], "two different splits"),
        (("id", "ads"), "mean", ["id", "train"], "is the training split"),
        (("id", "ads"), "mean", ["id", "x"], "no split 'x'"),
        (("id", "ads"), "best", None, "'best' is unknown"),
        (("id", "ads"), "one", ["id"], "belongs to a selection on several"),
    ):
        with pytest.raises(HpoptError, match=message):
            choose_domains(Names(*names), select, domains)


@pytest.fixture(scope="module")
def three(inputs, tmp_path_factory):
    """A store with three validation splits."""
    from synthetic import GMP, slabs, write

    folder = tmp_path_factory.mktemp("three")
    write(folder / "both.traj", slabs(100, 112))
    out = folder / "three.lmdb"
    splits = [Input(name, inputs / f"{name}.traj") for name in ("train", "val", "ood")]
    preprocess([*splits, Input("both", folder / "both.traj")], out, settings=GMP)
    return out


def hpopt(*words):
    result = CliRunner().invoke(main, [str(word) for word in words])
    return result, f"{result.output}{result.exception or ''}"


SMALL = ("--set", "epochs=2", "--set", "num_layers=1", "--set", "max_order=1", "--set", "num_sigmas=3")


def test_the_command_says_what_stays_unseen_and_marks_the_rest(three, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    storage = ("--storage", f"sqlite:///{tmp_path}/s.db")
    command = ("tune", three, "--study", "s", *storage, "--select", "worst-domain", *SMALL)
    result, output = hpopt(*command, "--trials", 2, "--final-seeds", 1)
    assert result.exit_code == 0, output
    assert "selects on val, ood (worst-domain); not selected on: both" in output
    assert "Selected on `val`, `ood` (too good there); not selected on: `both`." in output
    marked = {
        line.split()[0]: line.split()[1]
        for line in output.splitlines()
        if "  yes  " in line or "  no  " in line
    }
    assert marked == {"val": "yes", "ood": "yes", "both": "no"}
    _, shown = hpopt("study", "show", "s", *storage)
    assert "val, ood (worst-domain)" in shown and "worst domain energy MAE (meV/atom)" in shown
    # more trials of the same study; other settings are another study
    result, output = hpopt(*command, "--trials", 3, "--final-seeds", 0)
    assert result.exit_code == 0, output
    _, output = hpopt(*command, "--trials", 4, "--domains", "val,both")
    assert "exists with other settings" in output and "domains" in output
    result, output = hpopt("study", "copy", "s", "--from", storage[1], "--to", f"journal:///{tmp_path}/j.log")
    assert result.exit_code == 0, output
    copied = load_study("s", f"journal:///{tmp_path}/j.log")
    assert copied.user_attrs["hpopt"]["domains"] == ["val", "ood"]
    assert all("domain_errors" in t.user_attrs for t in copied.trials if t.state.name == "COMPLETE")
    result, output = hpopt("report", "s", *storage, "--final", tmp_path / "none")
    assert result.exit_code == 0, output


def test_bad_requests_are_one_line(three, store_path, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    base = ("tune", three, "--study", "s", "--trials", 1, *SMALL)
    for words, message in (
        (("--select", "mean", "--validation", "val"), "name them with --domains instead"),
        (("--select", "mean", "--backend", "amptorch"), "validates on one split|not installed"),
        (("--domains", "val,ood"), "belongs to a selection on several"),
    ):
        result, output = hpopt(*base, *words)
        assert result.exit_code != 0
        assert any(part in output for part in message.split("|")), output
    assert not (tmp_path / "hpopt.db").exists()


def test_a_worker_with_a_copy_of_the_store_reads_all_domains_there(make_config, store_path, tmp_path):
    config = make_config(select="mean", domains=["val", "ood"], metric=METRICS["mean"])
    storage = f"sqlite:///{tmp_path}/s.db"
    create_study("s", config, trials=2, storage=storage)
    copy = shutil.copy(store_path, tmp_path / "copy.lmdb")
    assert Worker("s", storage, WorkerOptions(store=str(copy)), Interrupts()).run()
    study = load_study("s", storage)
    assert [set(t.user_attrs["domain_errors"]) for t in study.trials] == [{"val", "ood"}] * 2


def test_the_final_model_keeps_the_epoch_that_is_best_over_the_domains(make_config, tmp_path):
    config = make_config(select="mean", domains=["val", "ood"], metric=METRICS["mean"])
    study = tune("s", config, trials=2, storage=f"sqlite:///{tmp_path}/s.db")
    record = final_model(study, tmp_path / "final", seeds=1)
    (run,) = record["runs"]
    best = min(run["history"], key=lambda r: r[f"{ERROR}/val"] + r[f"{ERROR}/ood"])
    assert run["best_epoch"] == best["epoch"]
    for split in ("val", "ood"):
        assert record["splits"][split][0]["energy_mae_mev_per_atom"] == pytest.approx(
            best[f"{ERROR}/{split}"]
        )
    assert record["selected_on"] == ["val", "ood"]
    path = tmp_path / "final" / "results.json"
    # nothing is trained again, also when the results are of before the selection was recorded
    path.write_text(path.read_text().replace('"date"', '"was": 1,\n "date"'))
    assert final_model(study, tmp_path / "final", seeds=1)["was"] == 1


def test_a_training_without_domains_is_untouched(dataset):
    assert set(Training(dataset, SETTINGS, seed=0).step()) == {"epoch", "lr", "train_loss", ERROR}
