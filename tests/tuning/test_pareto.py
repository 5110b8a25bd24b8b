"""Studies of three objectives: front, named points, final model, report, copies, and what is refused."""

from __future__ import annotations

import json

import numpy as np
import optuna
import pytest
from click.testing import CliRunner

from hpopt_lib.cli import main
from hpopt_lib.errors import HpoptError
from hpopt_lib.experiments.split_choice import non_dominated
from hpopt_lib.report.document import Picture
from hpopt_lib.report.pareto_tables import front_rows, front_sentences
from hpopt_lib.report.study_report import report_blocks
from hpopt_lib.tuning.final import best_settings, final_model
from hpopt_lib.tuning.interrupts import Interrupts
from hpopt_lib.tuning.manage import export_study, list_studies, trial_records
from hpopt_lib.tuning.pareto import OBJECTIVES, PICKS, chosen_trial, front
from hpopt_lib.tuning.selection import METRICS
from hpopt_lib.tuning.storage import load_study
from hpopt_lib.tuning.study import create_study, tune
from hpopt_lib.tuning.workers import Worker, WorkerOptions


def pareto_config(make_config, **changes):
    return make_config(
        **{"select": "pareto", "domains": ["val", "ood"], "metric": METRICS["pareto"], **changes}
    )


@pytest.fixture(scope="module")
def studied(make_config, tmp_path_factory):
    """Address and folder of a study of three objectives with 8 trials (do not change it)."""
    folder = tmp_path_factory.mktemp("pareto")
    storage = f"sqlite:///{folder}/s.db"
    tune("p", pareto_config(make_config), trials=8, storage=storage)
    return storage, folder


def test_a_trial_has_three_values_and_nothing_is_reported(studied):
    study = load_study("p", studied[0])
    assert study.metric_names == list(OBJECTIVES)
    for trial in study.trials:
        errors = trial.user_attrs["domain_errors"]
        assert trial.values[0] == pytest.approx(errors["val"], abs=1e-4)
        assert trial.values[1] == pytest.approx(errors["ood"], abs=1e-4)
        assert 0 < trial.values[2] < 1e4
        assert trial.state.name == "COMPLETE" and not trial.intermediate_values


def test_named_points_lie_on_the_front_and_are_the_best_there(studied):
    study = load_study("p", studied[0])
    values = np.array([trial.values for trial in study.trials])
    assert sorted(t.number for t in front(study)) == np.flatnonzero(non_dominated(values)).tolist()
    for name, place in PICKS.items():
        assert chosen_trial(study, name).values[place] == values[:, place].min()
    assert chosen_trial(study).number == chosen_trial(study, "worst-domain").number
    number = front(study)[-1].number
    assert chosen_trial(study, str(number)).number == number
    assert best_settings(study, "fastest").num_nodes == chosen_trial(study, "fastest").params["num_nodes"]
    with pytest.raises(HpoptError, match="--pick 99: not a point of the front"):
        chosen_trial(study, "99")
    empty = optuna.create_study(directions=["minimize"] * 3)
    with pytest.raises(HpoptError, match="no trial is complete yet"):
        chosen_trial(empty)


def test_final_model_and_report_show_the_front(studied, tmp_path):
    study = load_study("p", studied[0])
    record = final_model(study, tmp_path, seeds=1, pick="in-domain")
    chosen = chosen_trial(study, "in-domain")
    assert record["trial"] == chosen.number and record["tuned_error"] == chosen.values
    assert json.loads((tmp_path / "results.json").read_text())["selected_on"] == ["val", "ood"]
    assert final_model(study, tmp_path, seeds=1, pick="in-domain")["date"] == record["date"]
    blocks = report_blocks(study, final_dir=tmp_path)
    pictures = {block.name for block in blocks if isinstance(block, Picture)}
    assert {"front", "timeline", "error_by_split", "parity", "learning_curves"} <= pictures
    text = " ".join(front_sentences(study))
    assert f"{len(front(study))} of 8 completed trials are on the front" in text
    rows, columns = front_rows(study, top=1)
    assert {name for row in rows if row["point"] for name in row["point"].split(", ")} == set(PICKS)
    assert "in domain energy MAE (meV/atom)" in columns.values() and "network (µs/atom)" in columns.values()


def hpopt(*words):
    result = CliRunner().invoke(main, [str(word) for word in words])
    return result, f"{result.output}{result.exception or ''}"


def test_commands_on_a_study_of_three_objectives(studied, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    storage, _ = studied
    result, output = hpopt("study", "show", "p", "--storage", storage)
    assert result.exit_code == 0 and "worst-domain" in output and "val, ood (pareto)" in output, output
    result, output = hpopt("study", "best", "p", "--pick", "fastest", "--storage", storage)
    assert result.exit_code == 0 and '"num_nodes"' in output, output
    result, output = hpopt("report", "p", "--storage", storage)
    assert result.exit_code == 0, output
    assert "## The front" in (tmp_path / "p-report" / "report.md").read_text()
    assert (tmp_path / "p-report" / "figures" / "front.png").stat().st_size > 10_000
    result, output = hpopt("study", "copy", "p", "--from", storage, "--to", f"sqlite:///{tmp_path}/c.db")
    assert result.exit_code == 0, output
    study, copied = load_study("p", storage), load_study("p", f"sqlite:///{tmp_path}/c.db")
    assert [t.values for t in copied.trials] == [t.values for t in study.trials]
    assert copied.directions == study.directions
    (row,) = list_studies(storage)
    assert row["best"] is None and row["complete"] == 8
    assert trial_records(study)[3]["value_1"] == study.trials[3].values[1]
    lines = export_study("p", tmp_path / "p.csv", storage=storage).read_text().splitlines()
    assert lines[0].startswith("number,state,value_0,value_1,value_2,seconds") and len(lines) == 9
    from hpopt_lib.cluster.watch import _study_lines

    assert any("trials on the front of 3 objectives" in line for line in _study_lines("p", storage))


@pytest.mark.parametrize("sampler", ["nsga2", "gp", "random", "quasi-random"])
def test_samplers_of_several_objectives(make_config, tmp_path, sampler):
    config = pareto_config(make_config, sampler=sampler, fixed={**make_config().fixed, "epochs": 1})
    study = tune("p", config, trials=3, storage=f"sqlite:///{tmp_path}/s.db")
    assert [t.state.name for t in study.trials if t.values] == ["COMPLETE"] * 3


def test_repeats_are_averaged_in_every_objective(make_config, tmp_path):
    config = pareto_config(make_config, repeats=2, fixed={**make_config().fixed, "epochs": 1})
    (trial,) = tune("p", config, trials=1, storage=f"sqlite:///{tmp_path}/s.db").trials
    repeats = np.array(trial.user_attrs["repeat_errors"])
    assert repeats.shape == (2, 3) and repeats[0, 0] != repeats[1, 0]
    np.testing.assert_allclose(trial.values, repeats.mean(axis=0))


class StopsAfterAnEpoch(Interrupts):
    """Asks to stop once the first epoch of a trial is over."""

    def should_stop(self, next_step_s: float = 0.0) -> str:
        if next_step_s:
            self.reason = "stopped by a test"
        return self.reason


@pytest.mark.parametrize("select", ["pareto", "worst-domain"])
def test_a_stopped_trial_goes_on_from_its_checkpoint(make_config, tmp_path, select):
    """It ends with the errors of a trial that was never stopped, and the old attempt says why it ended."""
    config = pareto_config(make_config, sampler="random", select=select, metric=METRICS[select])
    (whole,) = tune("p", config, trials=1, storage=f"sqlite:///{tmp_path}/whole.db").trials
    storage = f"sqlite:///{tmp_path}/s.db"
    create_study("p", config, trials=1, storage=storage)
    assert not Worker("p", storage, WorkerOptions(), StopsAfterAnEpoch()).run()
    first, second = tune("p", config, trials=1, storage=storage).trials
    assert first.state.name == "FAIL" and first.user_attrs["cause"] == "stopped"
    assert second.user_attrs["resumed_from"] == 0
    assert second.params == whole.params and second.values[:2] == whole.values[:2]
    assert second.user_attrs["domain_errors"] == whole.user_attrs["domain_errors"]
    assert len(second.user_attrs["learning_curve"]) == 3 and second.user_attrs["epochs"] == 3


def test_what_does_not_go_together_is_refused_in_one_line(store_path, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    base = ("tune", store_path, "--study", "p", "--trials", 1, "--set", "epochs=1")
    for words, message in (
        (("--select", "pareto", "--pruner", "median"), "Optuna does not prune studies of several objectives"),
        (("--select", "pareto", "--sampler", "cmaes"), "is for one objective"),
        (("--select", "pareto", "--repeats", "2", "--race", "0.9"), "compares one mean"),
        (("--select", "pareto", "--pick", "cheap"), "--pick cheap: is unknown"),
        (("--pick", "fastest"), "belongs to --select pareto"),
    ):
        result, output = hpopt(*base, *words)
        assert result.exit_code != 0 and message in output, output
    assert not (tmp_path / "hpopt.db").exists()
