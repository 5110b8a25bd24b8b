"""Training by AMPtorch and skorch: repeatable, resumable, validated, pruned on the validation error."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import optuna
import pytest
import torch

from hpopt_lib.amptorch.callbacks import VALIDATION, pruning_callback, validation_callback
from hpopt_lib.amptorch.recipe import check_settings
from hpopt_lib.errors import HpoptError
from hpopt_lib.metrics import energy_metrics
from hpopt_lib.potential.checkpoint import load_checkpoint, save_checkpoint
from hpopt_lib.potential.epochs import TrainingDivergedError
from hpopt_lib.potential.evaluation import baseline_energies
from hpopt_lib.potential.settings import TrainSettings
from hpopt_lib.potential.training import OBJECTIVE, train

SETTINGS = TrainSettings(num_layers=2, num_nodes=8, epochs=6, batch_size=16, lr=1e-2, dropout_rate=0.1)


def training(data, settings=SETTINGS, *, seed=3, **options):
    from hpopt_lib.amptorch.training import AmptorchTraining

    return AmptorchTraining(data, settings, seed=seed, **options)


@pytest.mark.parametrize("loss", ["huber", "mae", "mse"])
def test_it_learns_and_repeats_itself(upstream, loss: str) -> None:
    settings = replace(SETTINGS, loss=loss, epochs=25, dropout_rate=0.0)
    first, second = (
        train(upstream, settings, seed=3, training=lambda *a, **k: training(*a, **k)) for _ in "ab"
    )
    assert first.history == second.history
    assert first.history[-1]["train_loss"] < 0.9 * first.history[0]["train_loss"]
    baseline = baseline_energies(upstream.train, upstream.reference, upstream.validation)["linear"]
    frames = upstream.validation
    assert first.best_error < 0.9 * energy_metrics(frames.energy, baseline, frames.n_atoms)[OBJECTIVE]
    other = training(upstream, settings, seed=4)
    assert other.step()[VALIDATION] != first.history[0][VALIDATION]


def test_the_error_is_that_of_the_potential(upstream) -> None:
    result = train(upstream, SETTINGS, seed=1, training=training)
    frames = upstream.validation
    error = energy_metrics(frames.energy, result.potential.predict(frames), frames.n_atoms)[OBJECTIVE]
    assert error == pytest.approx(result.best_error, rel=1e-9)
    assert result.best_error == min(record[VALIDATION] for record in result.history)


def test_float32(upstream) -> None:
    result = train(replace(upstream, dtype=torch.float32), SETTINGS, seed=1, training=training)
    assert next(result.potential.network.parameters()).dtype == torch.float32
    double = train(upstream, SETTINGS, seed=1, training=training)
    assert result.potential.dtype == torch.float32 and np.isfinite(result.best_error)
    assert next(double.potential.network.parameters()).dtype == torch.float64


def test_total_energies_without_references(upstream) -> None:
    potential = train(
        upstream, SETTINGS, seed=1, training=lambda *a, **k: training(*a, total_energies=True, **k)
    ).potential
    assert potential.reference is None
    assert np.isfinite(potential.predict(upstream.validation)).all()


@pytest.mark.parametrize("schedule", ["step", "cosine", "constant"])
def test_a_stopped_training_goes_on_as_if_it_had_not_been(upstream, tmp_path, schedule: str) -> None:
    settings = replace(SETTINGS, schedule=schedule, step_size=2, normalization="batch")
    whole = training(upstream, settings)
    for _ in whole:
        pass
    stopped = training(upstream, settings)
    for _ in range(3):
        stopped.step()
    save_checkpoint(tmp_path / "state.npz", stopped.state())
    resumed = training(upstream, settings)
    resumed.restore(load_checkpoint(tmp_path / "state.npz"))
    for _ in resumed:
        pass
    assert resumed.history == whole.history and resumed.best_epoch == whole.best_epoch
    ours, theirs = resumed.result().potential.network, whole.result().potential.network
    assert all(torch.equal(a, b) for a, b in zip(ours.parameters(), theirs.parameters()))
    with pytest.raises(HpoptError, match="of a training with other settings"):
        training(upstream, settings, seed=9).restore(stopped.state())


def test_a_training_that_diverges_says_so(upstream) -> None:
    run = training(upstream)
    run.step()
    with torch.no_grad():
        next(run._module.parameters()).mul_(float("nan"))
    with pytest.raises(TrainingDivergedError, match="not finite in epoch 2"):
        run.step()


def test_what_amptorch_does_not_have(upstream) -> None:
    with pytest.raises(HpoptError, match="no layer normalisation"):
        check_settings(TrainSettings(normalization="layer"))
    with pytest.raises(HpoptError, match="computes on the CPU"):
        training(upstream, device="cuda")


def test_pruning_in_a_net_of_ones_own(amptorch) -> None:
    """The callbacks work in any skorch net: a trial worse than others ends early."""
    from skorch import NeuralNetRegressor

    study = optuna.create_study(pruner=optuna.pruners.ThresholdPruner(upper=10.0))

    def fit(errors: list[float]) -> NeuralNetRegressor:
        left = iter(errors)
        net = NeuralNetRegressor(
            torch.nn.Linear, module__in_features=1, module__out_features=1, max_epochs=len(errors),
            train_split=None, verbose=0,
            callbacks=[
                ("validation", validation_callback(lambda module: next(left))),
                ("pruning", pruning_callback(study.ask())),
            ],
        )  # fmt: skip
        numbers = np.ones((4, 1), np.float32)
        return net.fit(numbers, numbers)

    net = fit([9.0, 8.0, 7.0])
    assert net.history[:, VALIDATION] == [9.0, 8.0, 7.0]
    assert study.trials[0].intermediate_values == {1: 9.0, 2: 8.0, 3: 7.0}
    with pytest.raises(optuna.TrialPruned, match="epoch 2"):
        fit([9.0, 11.0, 7.0])
    assert study.trials[1].intermediate_values == {1: 9.0, 2: 11.0}
    with pytest.raises(ValueError, match="measured on training frames"):
        pruning_callback(study.ask(), monitor="train_energy_mae")
