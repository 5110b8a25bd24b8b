"""Looking at studies, exporting and deleting them, and the final model."""

from __future__ import annotations

import csv
import json
import shutil
from pathlib import Path

import numpy as np
import optuna
import pytest
from click.testing import CliRunner

from hpopt_lib.cli import main
from hpopt_lib.errors import HpoptError
from hpopt_lib.potential.evaluation import HEADLINE, evaluate
from hpopt_lib.potential.forces import FORCE_ERROR
from hpopt_lib.potential.model import Potential
from hpopt_lib.potential.settings import TrainSettings
from hpopt_lib.report.final_tables import final_table
from hpopt_lib.store import Store
from hpopt_lib.tuning import final
from hpopt_lib.tuning.config import study_config
from hpopt_lib.tuning.final import best_settings, final_model, read_results, summarise
from hpopt_lib.tuning.manage import delete_study, export_study, list_studies, trial_records
from hpopt_lib.tuning.storage import load_study
from hpopt_lib.tuning.study import tune


def hpopt(*arguments: object, input: str | None = None):
    return CliRunner().invoke(main, [str(a) for a in arguments], input=input)


@pytest.fixture
def copied(tuned, tmp_path) -> str:
    """Address of a copy of the studies that a test may change."""
    shutil.copy(tuned[1] / "studies.db", tmp_path / "studies.db")
    return f"sqlite:///{tmp_path}/studies.db"


def test_a_list_of_studies(tuned):
    (row,) = list_studies(tuned[0])
    values = [trial.value for trial in load_study("small", tuned[0]).trials]
    assert row["study"] == "small" and row["complete"] == 6 and row["best"] == min(values)
    assert row["running"] == row["fail"] == row["pruned"] == 0
    result = hpopt("study", "list", "--storage", tuned[0])
    assert result.exit_code == 0 and "small" in result.stdout and "6" in result.stdout


def test_show_and_best(tuned):
    study = load_study("small", tuned[0])
    shown = hpopt("study", "show", "small", "--storage", tuned[0], "--top", 2)
    assert shown.exit_code == 0
    for part in ("small", "val", "tpe", "meV/atom", f"trial {study.best_trial.number}"):
        assert part in shown.stdout, part
    best = hpopt("study", "best", "small", "--storage", tuned[0])
    settings = json.loads(best.stdout)
    assert settings == study.best_trial.user_attrs["settings"] == best_settings(study).to_dict()
    assert settings["epochs"] == 3 and settings["lr"] == study.best_params["lr"]


def test_records_say_what_every_trial_did(tuned):
    study = load_study("small", tuned[0])
    records = trial_records(study)
    assert [record["number"] for record in records] == list(range(6))
    for record, trial in zip(records, study.trials):
        assert (
            record["state"] == "complete"
            and record["value"] == trial.value
            and record["params"] == trial.params
        )
        assert record["epochs"] == 3 == len(record["intermediate_values"]) and record["seconds"] > 0
        assert TrainSettings.from_dict(record["settings"]).lr == trial.params["lr"]


def test_a_pruned_trial_has_no_value():
    study = optuna.create_study()

    def objective(trial):
        trial.report(3.0, step=1)
        raise optuna.TrialPruned

    study.optimize(objective, n_trials=1)
    (record,) = trial_records(study)
    assert (
        record["state"] == "pruned"
        and record["value"] is None
        and record["intermediate_values"] == {"1": 3.0}
    )


def test_export(tuned, tmp_path):
    study = load_study("small", tuned[0])
    table, text = tmp_path / "out" / "small.csv", tmp_path / "small.json"
    assert hpopt("study", "export", "small", table, "--storage", tuned[0]).exit_code == 0
    assert export_study("small", text, storage=tuned[0]) == text
    with open(table, newline="") as stream:
        rows = list(csv.DictReader(stream))
    assert [float(row["value"]) for row in rows] == [trial.value for trial in study.trials]
    assert [float(row["lr"]) for row in rows] == [trial.params["lr"] for trial in study.trials]
    content = json.loads(text.read_text())
    assert content["study"] == "small" and len(content["trials"]) == 6
    assert content["config"]["hpopt"]["validation"] == "val"
    assert content["metric"] == ["validation_energy_mae_mev_per_atom"]
    before = table.read_bytes()
    with pytest.raises(HpoptError, match="output exists already"):
        export_study("small", table, storage=tuned[0])
    assert table.read_bytes() == before
    export_study("small", table, storage=tuned[0], overwrite=True)
    with pytest.raises(HpoptError, match=r"out.xlsx: unknown ending; end the name in .csv or .json"):
        export_study("small", tmp_path / "out.xlsx", storage=tuned[0])


@pytest.mark.parametrize(("answer", "left"), [("n\n", ["small"]), ("", ["small"]), ("y\n", [])])
def test_delete_asks(copied, answer, left):
    result = hpopt("study", "delete", "small", "--storage", copied, input=answer)
    assert "Delete study 'small' with 6 trials for good?" in result.output
    assert (result.exit_code == 0) == (not left)
    assert [row["study"] for row in list_studies(copied)] == left


def test_delete_without_asking(copied):
    result = hpopt("study", "delete", "small", "--yes", "--storage", copied)
    assert result.exit_code == 0 and result.stdout == "deleted small\n" and list_studies(copied) == []
    with pytest.raises(HpoptError, match="study 'small': not in .*; it has no study yet"):
        delete_study("small", copied)


def test_a_study_of_another_program_has_no_configuration(tmp_path):
    address = f"sqlite:///{tmp_path}/other.db"
    study = optuna.create_study(study_name="x", storage=address)
    with pytest.raises(HpoptError, match="study 'x': not made by hpopt tune; name a study that was"):
        study_config(study)
    with pytest.raises(HpoptError, match="study 'x': no trial is complete yet; run more trials"):
        best_settings(study)


@pytest.fixture
def counted(monkeypatch) -> list[str]:
    """What `final_model` trains and evaluates, in order."""
    calls: list[str] = []
    train, evaluation = final.train, final.evaluate

    def counted_train(*arguments, **options):
        calls.append(f"train {options['seed']}")
        return train(*arguments, **options)

    def counted_evaluate(potential, store, **options):
        calls.append("evaluate")
        return evaluation(potential, store, **options)

    monkeypatch.setattr(final, "train", counted_train)
    monkeypatch.setattr(final, "evaluate", counted_evaluate)
    return calls


def test_the_final_model_is_trained_with_fresh_seeds_and_evaluated_once(tuned, tmp_path, counted):
    study = load_study("small", tuned[0])
    record = final_model(study, tmp_path / "final", seeds=3)
    assert len(counted) == 6 and len(set(counted)) == 4
    assert (
        final_model(study, tmp_path / "final", seeds=3) == json.loads(json.dumps(record))
        and len(counted) == 6
    )
    used = {final.training_seed(0, trial.number, 0) for trial in study.trials}
    assert not used & {run["seed"] for run in record["runs"]}
    assert list(record["splits"]) == ["val", "ood"] and record["tuned_on"] == "val"
    assert record["trial"] == study.best_trial.number and record["tuned_error"] == study.best_value
    names = sorted(path.name for path in (tmp_path / "final").iterdir())
    assert names == ["results.json", *(f"trial{study.best_trial.number}-seed{k}.npz" for k in range(3))]
    store = Store.open(study_config(study).store)
    loaded = Potential.load(tmp_path / "final" / names[2])
    assert loaded.settings == best_settings(study)
    assert evaluate(loaded, store)["ood"][HEADLINE] == record["splits"]["ood"][1][HEADLINE]
    errors = [metrics[HEADLINE] for metrics in record["splits"]["ood"]]
    assert record["summary"]["ood"][HEADLINE] == pytest.approx(np.mean(errors))
    assert record["summary"]["ood"][f"{HEADLINE}_std"] == pytest.approx(np.std(errors, ddof=1))
    final_model(study, tmp_path / "final", seeds=1)
    assert len(counted) == 8


def test_results_of_another_study_of_the_same_name_are_not_taken_for_these(tuned, tmp_path, counted):
    study = load_study("small", tuned[0])
    final_model(study, tmp_path, seeds=1)
    path = tmp_path / "results.json"
    other = json.loads(path.read_text())
    other["settings"]["lr"] = 0.5
    path.write_text(json.dumps(other))
    assert final_model(study, tmp_path, seeds=1)["settings"] == best_settings(study).to_dict()
    assert counted.count("evaluate") == 2


def test_results_of_an_earlier_version_are_kept(tuned, tmp_path, counted):
    study = load_study("small", tuned[0])
    final_model(study, tmp_path, seeds=2)
    path = tmp_path / "results.json"
    earlier = json.loads(path.read_text())
    del earlier["settings"]["force_weight"]
    for scores in earlier["splits"].values():
        for score in scores:
            for name in [key for key in score if "force" in key or key == "efwt"]:
                del score[name]
    for name, scores in earlier["splits"].items():
        earlier["summary"][name] = summarise(scores)
    path.write_text(json.dumps(earlier))
    assert final_model(study, tmp_path, seeds=2) == earlier and counted.count("evaluate") == 2
    assert "force" not in final_table(earlier)


def test_a_study_on_forces_ends_in_a_table_of_forces(make_config, tmp_path):
    pytest.importorskip("numba")
    space = make_config().space + "[force_weight]\ntype = 'float'\nlow = 0.5\nhigh = 5.0\nlog = true\n"
    study = tune("f", make_config(space=space), trials=2, storage=f"sqlite:///{tmp_path}/f.db")
    for trial in study.trials:
        assert 0.5 <= trial.params["force_weight"] == trial.user_attrs["settings"]["force_weight"] <= 5.0
        assert trial.user_attrs[FORCE_ERROR] > 0 and trial.user_attrs[HEADLINE] == round(trial.value, 5)
    record = final_model(study, tmp_path / "final", seeds=2)
    for split, scores in record["splits"].items():
        assert record["summary"][split][FORCE_ERROR] == pytest.approx(
            np.mean([score[FORCE_ERROR] for score in scores])
        )
        assert all(score[f"zero_{FORCE_ERROR}"] > 0 and 0 <= score["efwt"] <= 1 for score in scores)
    assert all(f"validation_{FORCE_ERROR}" in entry for run in record["runs"] for entry in run["history"])
    text = final_table(record)
    weight = best_settings(study).force_weight
    assert f"trained on forces too (force_weight {weight:g})" in text and "no force (meV/Å)" in text


def test_results_that_cannot_be_read(tuned, tmp_path):
    assert read_results(tmp_path) is None
    path = tmp_path / "results.json"
    for text, message in (
        ("{", "damaged"),
        ("[]", "not the results of a final model"),
        ('{"study": 1}', "not the"),
    ):
        path.write_text(text)
        with pytest.raises(HpoptError, match=message):
            final_model(load_study("small", tuned[0]), tmp_path, seeds=1)
        assert path.read_text() == text
    with pytest.raises(HpoptError, match="--final-seeds: 0 is too few"):
        final_model(load_study("small", tuned[0]), tmp_path, seeds=0)


def test_one_seed_has_no_spread():
    metrics = {HEADLINE: 2.0, "energy_mae_ev": 0.1, "skill_over_median": 0.5, "skill_over_linear": 0.2}
    metrics |= {f"median_{HEADLINE}": 4.0, f"linear_{HEADLINE}": 2.5, "n_systems": 7}
    summary = summarise([metrics])
    assert summary[HEADLINE] == 2.0 and np.isnan(summary[f"{HEADLINE}_std"]) and summary["n_seeds"] == 1


def test_tune_prints_the_final_table_and_goes_on(store_path, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    arguments = [
        "tune", store_path, "--study", "s", "--trials", 2, "--final-seeds", 2, "--set", "epochs=2",
        "--set", "max_order=1", "--set", "num_sigmas=2", "--sampler", "random", "--pruner", "none",
    ]  # fmt: skip
    result = hpopt(*arguments)
    assert result.exit_code == 0, result.output
    assert "ood" in result.stdout and "models and results: s-final" in result.stdout
    assert sorted(p.name for p in tmp_path.iterdir()) == ["hpopt.db", "hpopt.db-files", "s-final"]
    assert (Path("s-final") / "results.json").exists()
    again = hpopt(*arguments)
    assert again.exit_code == 0 and again.stdout == result.stdout and "nothing to do" in again.stderr
