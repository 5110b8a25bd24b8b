"""What a trial reports: validation errors, epoch after epoch, and nothing after it was pruned."""

from __future__ import annotations

import warnings

import numpy as np
import optuna
import pytest

from hpopt_lib.potential.settings import TrainSettings
from hpopt_lib.potential.training import OBJECTIVE, Training, train
from hpopt_lib.tuning import objective as module
from hpopt_lib.tuning.interrupts import Interrupts, TrialStopped
from hpopt_lib.tuning.objective import METRIC, Objective, training_seed
from hpopt_lib.tuning.samplers import make_pruner
from hpopt_lib.tuning.space_file import parse_space

SPACE = "[lr]\ntype='float'\nlow=1e-3\nhigh=1e-1\nlog=true\n"
FIXED = {"epochs": 8, "num_layers": 1, "num_nodes": 6, "batch_size": 16, "dropout_rate": 0.2}


def objective_for(dataset, **changes) -> Objective:
    options = {"seed": 3, **changes}
    return Objective(dataset, parse_space(SPACE, where="test", fixed=FIXED), **options)


def run(objective, *, n_trials: int = 1, pruner=None) -> optuna.Study:
    study = optuna.create_study(sampler=optuna.samplers.RandomSampler(seed=0), pruner=pruner)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", optuna.exceptions.ExperimentalWarning)
        study.optimize(objective, n_trials=n_trials)
    return study


def test_reports_are_the_validation_errors_of_an_identical_training_not_its_training_errors(dataset):
    (trial,) = run(objective_for(dataset)).trials
    settings = TrainSettings.from_dict({**FIXED, **trial.params})
    assert trial.user_attrs["settings"] == settings.to_dict()
    again = train(dataset, settings, seed=training_seed(3, 0, 0))
    validation = {r["epoch"]: r[f"validation_{OBJECTIVE}"] for r in again.history}
    assert trial.intermediate_values == validation and len(validation) == 8
    assert trial.value == again.best_error == min(validation.values())
    losses = [record["train_loss"] for record in again.history]
    assert trial.user_attrs["learning_curve"] == losses
    assert all(abs(loss - error) > 1e-6 for loss, error in zip(losses, validation.values()))
    assert trial.user_attrs["best_epoch"] == again.best_epoch and trial.user_attrs["epochs"] == 8


def test_reports_follow_the_validation_split(dataset):
    """With the energies of the validation split moved, the training is the same and the reports are not."""
    from dataclasses import replace

    moved = replace(dataset.validation, energy=dataset.validation.energy + 90.0)  # 10 eV an atom
    one, other = (run(objective_for(d)).trials[0] for d in (dataset, replace(dataset, validation=moved)))
    assert one.user_attrs["learning_curve"] == other.user_attrs["learning_curve"]
    assert all(
        other.intermediate_values[e] > one.intermediate_values[e] + 5000 for e in one.intermediate_values
    )


def test_the_objective_is_named_with_its_unit():
    assert METRIC == "validation_energy_mae_mev_per_atom"


class PruneAt(optuna.pruners.BasePruner):
    """Stops every trial in one epoch."""

    def __init__(self, epoch: int) -> None:
        self.epoch = epoch

    def prune(self, study, trial) -> bool:
        return trial.last_step == self.epoch


def test_a_pruned_trial_stops_at_once(dataset, monkeypatch):
    epochs_run = []

    class Counting(Training):
        def step(self):
            epochs_run.append(self.epoch + 1)
            return super().step()

    monkeypatch.setattr(module, "Training", Counting)
    (trial,) = run(objective_for(dataset, repeats=3), pruner=PruneAt(3)).trials
    assert trial.state.name == "PRUNED" and epochs_run == [1, 2, 3]
    assert list(trial.intermediate_values) == [1, 2, 3] and trial.user_attrs["epochs"] == 3


def test_a_trial_that_has_run_its_last_epoch_is_kept(dataset):
    objective = objective_for(dataset)
    epochs = objective.space.fixed["epochs"]
    (trial,) = run(objective, pruner=PruneAt(epochs)).trials
    assert trial.state.name == "COMPLETE" and list(trial.intermediate_values)[-1] == epochs
    (trial,) = run(objective, pruner=PruneAt(epochs - 1)).trials
    assert trial.state.name == "PRUNED"


def test_pruning_never_looks_at_the_training_loss(dataset, monkeypatch):
    """Whatever the training losses are, the median pruner stops the same trials in the same epochs."""

    def outcome(change_losses: bool) -> list[tuple[str, int]]:
        class Changed(Training):
            def step(self):
                record = super().step()
                if change_losses:
                    record["train_loss"] = -1e9 * self.seed * self.epoch
                return record

        monkeypatch.setattr(module, "Training", Changed)
        study = run(
            objective_for(dataset), n_trials=14, pruner=make_pruner("median", epochs=8, warmup_epochs=2)
        )
        return [(trial.state.name, len(trial.intermediate_values)) for trial in study.trials]

    plain = outcome(False)
    assert plain == outcome(True)
    assert {"PRUNED", "COMPLETE"} == {state for state, _ in plain}
    assert all((epochs < 8) == (state == "PRUNED") for state, epochs in plain)


def test_repeats_are_averaged_and_have_seeds_of_their_own(dataset):
    (trial,) = run(objective_for(dataset, repeats=3)).trials
    errors = trial.user_attrs["repeat_errors"]
    assert len(set(errors)) == 3 and trial.value == pytest.approx(np.mean(errors))
    settings = TrainSettings.from_dict({**FIXED, **trial.params})
    assert errors == [train(dataset, settings, seed=training_seed(3, 0, k)).best_error for k in range(3)]
    assert len(trial.intermediate_values) == 8 and trial.user_attrs["epochs"] == 24


def test_the_wilcoxon_pruner_gets_one_report_a_repeat(dataset):
    objective = objective_for(dataset, repeats=4, report_repeats=True)
    study = run(objective, n_trials=6, pruner=make_pruner("wilcoxon", epochs=8, repeats=4))
    full = [trial for trial in study.trials if "repeat_errors" in trial.user_attrs]
    stopped = [trial for trial in study.trials if "repeat_errors" not in trial.user_attrs]
    assert full
    for trial in full:
        assert list(trial.intermediate_values.values()) == trial.user_attrs["repeat_errors"]
    for trial in study.trials:
        assert trial.state.name == "COMPLETE"
        assert trial.value == pytest.approx(np.mean(list(trial.intermediate_values.values())))
    assert all(len(trial.intermediate_values) < 4 for trial in stopped)


def test_seeds_of_trainings():
    assert training_seed(0, 1, 2) == training_seed(0, 1, 2)
    assert (
        len({training_seed(s, t, r) for s in range(5) for t in range(-1, 20) for r in range(5)}) == 5 * 21 * 5
    )


def test_a_stopped_trial_goes_on_from_its_checkpoint_as_if_it_had_not_been(dataset, tmp_path):
    """With repeats, also in a later one; the values reported before are not reported again."""
    whole = run(objective_for(dataset, repeats=2)).trials[0]
    for stop_after in (1, 5, 8, 11):
        stops, steps = Interrupts(), 0

        class Stopping(Training):
            def step(self):
                nonlocal steps
                steps += 1
                if steps == stop_after:  # noqa: B023
                    stops.reason = "stopped by SIGTERM"  # noqa: B023
                return super().step()

        options = {"repeats": 2, "checkpoint": lambda root: tmp_path / f"trial-{root}.npz", "stops": stops}
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(module, "Training", Stopping)
            study = optuna.create_study(sampler=optuna.samplers.RandomSampler(seed=0))
            trial = study.ask()
            # 8 is the last epoch of the first repeat, which is kept: the next repeat is stopped
            epoch = 1 if stop_after == 8 else stop_after % 8
            with pytest.raises(TrialStopped, match=f"stopped by SIGTERM after epoch {epoch}"):
                objective_for(dataset, **options)(trial)
            stops.reason = ""
            steps = -1000
            study.tell(trial, objective_for(dataset, **options)(trial))
        (resumed,) = study.trials
        assert resumed.value == whole.value
        assert resumed.intermediate_values == whole.intermediate_values
        for name in ("repeat_errors", "epochs", "best_epoch", "learning_curve", "energy_mae_ev"):
            assert resumed.user_attrs[name] == whole.user_attrs[name], name
        (tmp_path / "trial-0.npz").unlink()


def test_a_damaged_checkpoint_means_a_new_start(dataset, tmp_path, capsys):
    (tmp_path / "trial-0.npz").write_bytes(b"torn")
    (trial,) = run(objective_for(dataset, checkpoint=lambda root: tmp_path / f"trial-{root}.npz")).trials
    assert trial.value == run(objective_for(dataset)).trials[0].value
    assert "trial-0.npz: not a checkpoint, or damaged" in capsys.readouterr().err


def test_a_trial_says_how_good_its_model_is_in_two_units_and_beside_the_baselines(dataset):
    (trial,) = run(objective_for(dataset)).trials
    attributes = trial.user_attrs
    assert attributes["energy_mae_mev_per_atom"] == pytest.approx(trial.value, abs=1e-5)
    atoms = dataset.validation.n_atoms
    assert len(set(atoms)) == 1  # so that the units differ by a factor
    assert attributes["energy_mae_ev"] == pytest.approx(trial.value / 1000 * atoms[0], abs=1e-5)
    assert attributes["skill_over_linear"] <= 1 and attributes["skill_over_median"] <= 1


def test_a_figure_that_cannot_be_stored_does_not_fail_the_trial(dataset, capsys):
    seen = []

    def broken(trial, history):
        seen.append((trial.number, len(history), trial.user_attrs["epochs"]))
        raise OSError("no space left")

    (trial,) = run(objective_for(dataset, on_result=broken)).trials
    assert trial.state.name == "COMPLETE" and seen == [(0, 8, 8)]
    assert "trial 0: its learning curve could not be stored: no space left" in capsys.readouterr().err


def test_pruned_trials_have_a_learning_curve_too(dataset):
    seen = []
    objective = objective_for(dataset, on_result=lambda trial, history: seen.append(len(history)))
    (trial,) = run(objective, pruner=PruneAt(3)).trials
    assert trial.state.name == "PRUNED" and seen == [3]
