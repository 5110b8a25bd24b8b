"""Training: repeatable, best epoch kept, schedules as documented, and it learns."""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np
import pytest
import torch
from torch import nn

from hpopt_lib.errors import HpoptError
from hpopt_lib.gmp.settings import GMPSettings
from hpopt_lib.metrics import energy_metrics
from hpopt_lib.potential.epochs import TrainingDivergedError
from hpopt_lib.potential.evaluation import baseline_energies
from hpopt_lib.potential.settings import TrainSettings
from hpopt_lib.potential.training import OBJECTIVE, Dataset, train
from hpopt_lib.references import LinearReference, composition
from hpopt_lib.scaling import FeatureScaler
from hpopt_lib.store import SplitArrays, Store

SHORT = TrainSettings(num_layers=2, num_nodes=8, epochs=6, batch_size=16)
VALIDATION = f"validation_{OBJECTIVE}"


def weights(result) -> torch.Tensor:
    return torch.cat([value.flatten().double() for value in result.potential.network.state_dict().values()])


def test_the_same_seed_gives_the_same_weights_and_another_seed_others(dataset):
    for settings in (SHORT, replace(SHORT, dropout_rate=0.3, normalization="batch")):
        one, same, other = (train(dataset, settings, seed=seed) for seed in (3, 3, 4))
        assert torch.equal(weights(one), weights(same)) and one.history == same.history
        assert not torch.allclose(weights(one), weights(other))


def test_training_leaves_the_random_state_of_the_caller_alone(dataset):
    torch.manual_seed(11)
    expected = torch.rand(3)
    torch.manual_seed(11)
    torch.manual_seed(11)
    train(dataset, replace(SHORT, epochs=1), seed=0)
    assert torch.equal(torch.rand(3), expected)


def test_the_best_epoch_is_restored(dataset):
    """A large constant learning rate jumps about, so the last epoch is not the best one."""
    settings = replace(SHORT, lr=0.05, schedule="constant", epochs=12)
    result = train(dataset, settings, seed=0)
    curve = [record[VALIDATION] for record in result.history]
    assert result.best_epoch == int(np.argmin(curve)) + 1 < len(curve)
    assert result.best_error == min(curve) < curve[-1]
    found = result.potential.predict(dataset.validation)
    error = energy_metrics(dataset.validation.energy, found, dataset.validation.n_atoms)[OBJECTIVE]
    assert error == result.best_error
    assert not result.potential.network.training


def test_the_validation_error_of_every_epoch_is_that_of_the_weights_then(dataset):
    """An exception from on_epoch leaves the training in that epoch; here it keeps the weights."""
    seen = []
    result = train(dataset, SHORT, seed=1, on_epoch=lambda epoch, record: seen.append((epoch, record)))
    assert [epoch for epoch, _ in seen] == list(range(1, 7)) and [r for _, r in seen] == result.history
    shorter = train(dataset, replace(SHORT, schedule="constant", epochs=3), seed=1)
    longer = train(dataset, replace(SHORT, schedule="constant", epochs=5), seed=1)
    assert longer.history[:3] == shorter.history


def test_an_exception_in_on_epoch_ends_the_training(dataset):
    class StopError(Exception):
        pass

    epochs = []

    def stop(epoch, record):
        epochs.append(epoch)
        if epoch == 2:
            raise StopError

    with pytest.raises(StopError):
        train(dataset, SHORT, seed=0, on_epoch=stop)
    assert epochs == [1, 2]


def test_training_and_validation_errors_differ(dataset):
    """The recorded error is that of the validation split: a training on swapped splits has another."""
    result = train(dataset, SHORT, seed=0)
    swapped = train(replace(dataset, validation=dataset.train), SHORT, seed=0)
    assert [r["train_loss"] for r in result.history] == [r["train_loss"] for r in swapped.history]
    assert all(a[VALIDATION] != b[VALIDATION] for a, b in zip(result.history, swapped.history))


def test_early_stopping(dataset):
    settings = replace(SHORT, lr=0.1, schedule="constant", epochs=60, patience=3)
    result = train(dataset, settings, seed=0)
    assert len(result.history) == result.best_epoch + 3 < 60
    assert len(train(dataset, replace(settings, patience=0, epochs=12), seed=0).history) == 12


def learning_rates(dataset, **changes) -> list[float]:
    settings = replace(SHORT, num_layers=1, num_nodes=2, batch_size=64, lr=0.01, **changes)
    return [record["lr"] for record in train(dataset, settings, seed=0).history]


def test_learning_rates_of_the_schedules(dataset):
    assert learning_rates(dataset, schedule="constant", epochs=7) == [0.01] * 7
    cosine = [0.005 * (1 + math.cos(math.pi * epoch / 8)) for epoch in range(8)]
    assert learning_rates(dataset, schedule="cosine", epochs=8) == pytest.approx(cosine)
    step = learning_rates(dataset, schedule="step", step_size=3, gamma=0.1, epochs=8)
    assert step == pytest.approx([1e-2] * 3 + [1e-3] * 3 + [1e-4] * 2)
    assert learning_rates(dataset, schedule="step", step_size=1, gamma=0.5, epochs=3) == pytest.approx(
        [0.01, 0.005, 0.0025]
    )


@pytest.mark.parametrize("loss", ["mae", "mse", "huber"])
def test_losses_are_of_the_energy_per_atom_in_units_of_its_spread(dataset, loss):
    """With a vanishing learning rate the loss of the first epoch is that of the initial weights."""
    settings = replace(SHORT, loss=loss, lr=1e-9, weight_decay=0.0, epochs=1, batch_size=7)
    result = train(dataset, settings, seed=0)
    data, potential = dataset.train, result.potential
    reference = dataset.reference.energy(composition(data.numbers, data.n_atoms))
    per_atom = (data.energy - reference) / data.n_atoms
    assert potential.residual_spread_ev_per_atom == pytest.approx(per_atom.std())
    error = np.abs((potential.predict(data) - data.energy) / data.n_atoms / per_atom.std())
    values = {
        "mae": error, "mse": error**2, "huber": np.where(error < 0.5, 0.5 * error**2, 0.5 * (error - 0.25))
    }[loss]  # fmt: skip
    assert result.history[0]["train_loss"] == pytest.approx(values.mean(), rel=1e-4)


def test_divergence_is_an_error_that_says_what_to_do(dataset):
    data = replace(dataset, dtype=torch.float32)
    with pytest.raises(TrainingDivergedError, match=r"not finite in epoch \d+, lr 10; lower lr") as raised:
        for seed in range(5):
            train(data, replace(SHORT, num_layers=14, lr=10.0, loss="mse", activation="relu"), seed=seed)
    assert isinstance(raised.value, HpoptError)


def chain(lengths: list[int], *, seed: int = 0) -> SplitArrays:
    """Frames of H and O atoms whose energy is linear in the features; the second one tells the element."""
    rng, n = np.random.default_rng(seed), np.array(lengths)
    numbers = rng.choice([1, 8], n.sum())
    features = np.column_stack([rng.normal(1.0, 0.3, n.sum()), np.where(numbers == 8, 1.0, 0.3)])
    atomic = 2.0 * features[:, 0] + np.where(numbers == 8, -10.0, -1.0)
    energy = np.add.reduceat(atomic, np.concatenate([[0], np.cumsum(n)[:-1]]))
    return SplitArrays(
        n_atoms=n.astype(np.int32), energy=energy, cells=np.zeros((len(n), 3, 3)), pbc=np.zeros((len(n), 3), bool),
        features=features, numbers=numbers.astype(np.int32), positions=np.zeros((n.sum(), 3)),
        forces=np.full((n.sum(), 3), np.nan), free=np.ones(n.sum(), bool), tags=np.zeros(n.sum(), np.int32),
        info=[{"system_id": str(i)} for i in range(len(n))],
    )  # fmt: skip


def toy(train_lengths: list[int], validation_lengths: list[int]) -> Dataset:
    data, validation = chain(train_lengths), chain(validation_lengths, seed=1)
    scaler = FeatureScaler.empty(2, kind="none")
    scaler.update(data.features)
    reference = LinearReference.fit(composition(data.numbers, data.n_atoms), data.energy)
    gmp = GMPSettings(sigmas=(0.5, 1.0), max_order=0)
    return Dataset(data, validation, gmp, scaler, reference, torch.float64)


def test_a_linear_problem_is_learned_far_beyond_the_baselines():
    data = toy([3, 5, 4, 7] * 50, [3, 6, 5] * 20)
    settings = TrainSettings(num_layers=1, num_nodes=20, epochs=60, lr=0.02, batch_size=16)
    result = train(data, settings, seed=0)
    validation = data.validation
    for energies in baseline_energies(data.train, data.reference, validation).values():
        baseline = energy_metrics(validation.energy, energies, validation.n_atoms)[OBJECTIVE]
        assert result.best_error < 0.05 * baseline


def test_batches_of_frames_of_different_sizes_are_put_together_right():
    """One batch and single frames give the same loss at fixed weights: atoms go to their own frames."""
    data = toy([1, 5, 2, 9], [3, 3])
    losses = [
        train(data, replace(SHORT, lr=1e-9, epochs=1, batch_size=size, loss="mae"), seed=2).history[0][
            "train_loss"
        ]
        for size in (1, 2, 4)
    ]
    assert losses == pytest.approx([losses[0]] * 3, rel=1e-5)


@pytest.mark.parametrize("normalization", ["batch", "layer"])
def test_normalisation_with_frames_of_a_single_atom(normalization):
    data = toy([1, 3, 1, 4, 1], [1, 2])
    result = train(data, replace(SHORT, normalization=normalization, batch_size=1, epochs=3), seed=0)
    assert np.isfinite(result.best_error) and len(result.history) == 3


def test_batch_normalisation_without_two_atoms_in_any_batch_is_an_error():
    data = toy([1, 1, 1, 1], [2, 2])
    with pytest.raises(HpoptError, match="normalization: .*single atom.*; .*batch_size"):
        train(data, replace(SHORT, normalization="batch", batch_size=1, epochs=1), seed=0)
    assert train(data, replace(SHORT, normalization="batch", batch_size=4, epochs=1), seed=0).best_epoch == 1


def test_frames_that_the_references_explain_fully():
    data = toy([2, 3, 4, 5], [3, 2])
    data.train.energy[:] = data.reference.energy(composition(data.train.numbers, data.train.n_atoms))
    result = train(data, replace(SHORT, epochs=2), seed=0)
    assert result.potential.residual_spread_ev_per_atom == 1e-6 and np.isfinite(result.best_error)


def test_constant_features_do_no_harm():
    data = toy([2, 3, 4, 5], [3, 2])
    data.train.features[:, 1] = 3.0
    scaler = FeatureScaler.empty(2, kind="none")
    scaler.update(data.train.features)
    result = train(replace(data, scaler=scaler), replace(SHORT, epochs=2), seed=0)
    assert scaler.constant.tolist() == [False, True] and np.isfinite(result.best_error)


def test_a_dataset_from_a_store(store_path):
    store = Store.open(store_path)
    data = Dataset.from_store(store)
    assert len(data.train) == 60 and len(data.validation) == 20 and data.dtype == torch.float64
    assert np.array_equal(data.validation.energy, store.read("val").energy)
    part, same, other = (Dataset.from_store(store, n_train=10, seed=s).train.energy for s in (0, 0, 1))
    assert len(part) == 10 and set(part) <= set(data.train.energy) and len(set(part)) == 10
    assert np.array_equal(part, same) and not np.array_equal(part, other)
    for options, message in (
        ({"validation": "nope"}, "no split 'nope'; it has train, val, ood"),
        ({"validation": "train"}, "'train' is the training split; use one of val, ood"),
        ({"n_train": 1}, "n_train: 1 is out of range; give 2 to 60"),
        ({"n_train": 61}, "n_train: 61 is out of range"),
    ):
        with pytest.raises(HpoptError, match=message):
            Dataset.from_store(store, **options)


def test_dropout_is_off_in_validation(dataset):
    result = train(dataset, replace(SHORT, dropout_rate=0.5, epochs=2), seed=0)
    assert any(isinstance(layer, nn.Dropout) for layer in result.potential.network.layers)
    found = [result.potential.predict(dataset.validation) for _ in range(2)]
    assert np.array_equal(found[0], found[1])
