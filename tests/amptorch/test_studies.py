"""Studies with the backend: the same command, the same guarantees."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from click.testing import CliRunner

from hpopt_lib.cli import main
from hpopt_lib.errors import HpoptError
from hpopt_lib.tuning.backends import training_backend
from hpopt_lib.tuning.storage import load_study
from hpopt_lib.tuning.study import StudyConfig, tune

SPACE = """
[lr]
type = "float"
low = 1e-4
high = 1e-1
log = true
[num_nodes]
type = "int"
low = 2
high = 16
"""
FIXED = {"epochs": 4, "num_layers": 1, "batch_size": 32}


def test_unknown_backends_are_refused() -> None:
    with pytest.raises(HpoptError, match="--backend: 'schnet' is unknown; use hpopt or amptorch"):
        training_backend("schnet")
    assert training_backend("hpopt").space is None


def test_without_amptorch_the_command_says_how_to_get_it(store_path: Path, monkeypatch, tmp_path) -> None:
    from hpopt_lib.amptorch import compat

    monkeypatch.setattr(compat, "NEEDED", ("a_module_of_nobody",))
    monkeypatch.chdir(tmp_path)
    done = CliRunner().invoke(
        main, ["tune", str(store_path), "--study", "s", "--trials", "1", "--backend", "amptorch"]
    )
    assert done.exit_code == 1
    assert "not installed: a_module_of_nobody; run make amptorch" in done.output
    assert not (tmp_path / "hpopt.db").exists()


def test_a_study_from_command_to_report(amptorch: Path, store_path: Path) -> None:
    def hpopt(*arguments: str) -> str:
        done = CliRunner().invoke(main, list(arguments), catch_exceptions=False)
        assert done.exit_code == 0, done.output
        return done.output

    Path("space.toml").write_text(SPACE, encoding="utf-8")
    fixed = [f"--set={name}={value}" for name, value in FIXED.items()]
    command = ["tune", str(store_path), "--study", "s", "--space", "space.toml", *fixed]
    table = hpopt(
        *command, "--backend", "amptorch", "--trials", "4", "--final-seeds", "2", "--memory", "1000"
    )
    assert "2 seeds" in table and "val" in table and "ood" in table
    study = load_study("s", None)
    assert [trial.state.name for trial in study.trials] == ["COMPLETE"] * 4
    assert study.user_attrs["hpopt"]["backend"] == "amptorch"
    trial = study.best_trial
    # what was reported each epoch is the validation error, and its best is the result
    assert sorted(trial.intermediate_values) == [1, 2, 3, 4]
    assert trial.value == min(trial.intermediate_values.values())
    assert trial.user_attrs["energy_mae_mev_per_atom"] == pytest.approx(trial.value, abs=1e-4)
    assert "backend                amptorch" in hpopt("study", "show", "s")
    results = json.loads(Path("s-final/results.json").read_text(encoding="utf-8"))
    assert len(results["splits"]["val"]) == len(results["splits"]["ood"]) == 2
    potential = training_backend("amptorch").load(Path(f"s-final/trial{trial.number}-seed0.npz"))
    assert potential.settings.num_layers == 1
    assert "s-report" in hpopt("report", "s")
    # the same study cannot go on with another backend
    done = CliRunner().invoke(main, [*command, "--trials", "5"])
    assert done.exit_code == 1 and "backend ('amptorch', now 'hpopt')" in done.output
    done = CliRunner().invoke(main, [*command, "--backend", "amptorch", "--trials", "5", "--memory", "0.01"])
    assert done.exit_code == 1
    assert "--memory: the backend amptorch needs all frames in memory" in done.output


def test_the_pruner_looks_at_the_validation_error(amptorch: Path, store_path: Path) -> None:
    import optuna

    space = SPACE.replace("low = 1e-4", "low = 1e-5").replace("high = 1e-1", "high = 3e-1")
    config = StudyConfig(
        store=str(store_path), space=space, validation="val", fixed={**FIXED, "epochs": 12},
        pruner="successive-halving", backend="amptorch",
    )  # fmt: skip
    study = tune("p", config, trials=10)
    pruned = [trial for trial in study.trials if trial.state == optuna.trial.TrialState.PRUNED]
    assert pruned, "no trial was pruned"
    best = study.best_trial.intermediate_values
    for trial in pruned:
        last = max(trial.intermediate_values)
        assert last < 12
        earlier = [t.intermediate_values[last] for t in study.trials if last in t.intermediate_values]
        assert trial.intermediate_values[last] > min(earlier)
    assert len(best) == 12


def test_a_stopped_trial_goes_on(amptorch: Path, store_path: Path, monkeypatch) -> None:
    from hpopt_lib.amptorch.training import AmptorchTraining

    config = StudyConfig(
        store=str(store_path), space=SPACE, validation="val", fixed=FIXED, pruner="none", backend="amptorch"
    )
    expected = tune("whole", config, trials=1, storage="sqlite:///whole.db").trials[0]
    step, steps = AmptorchTraining.step, []

    def stopping(self: AmptorchTraining) -> dict[str, float]:
        steps.append(self.epoch)
        record = step(self)
        if len(steps) == 2:
            import signal

            signal.raise_signal(signal.SIGTERM)
        return record

    monkeypatch.setattr(AmptorchTraining, "step", stopping)
    with pytest.raises(KeyboardInterrupt):
        tune("stopped", config, trials=1, storage="sqlite:///stopped.db")
    (trial,) = tune("stopped", config, trials=1, storage="sqlite:///stopped.db").get_trials(
        states=[expected.state]
    )
    assert steps == [0, 1, 2, 3], "an epoch was trained twice"
    assert trial.params == expected.params and trial.value == expected.value
    assert trial.intermediate_values == expected.intermediate_values


def test_spaces_that_amptorch_cannot_have(amptorch: Path, store_path: Path) -> None:
    space = SPACE + '[normalization]\ntype = "categorical"\nchoices = ["none", "layer"]\n'
    config = StudyConfig(store=str(store_path), space=space, validation="val", backend="amptorch")
    with pytest.raises(HpoptError, match="no layer normalisation; use none or batch"):
        tune("l", config, trials=1)
