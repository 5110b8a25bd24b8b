"""Training on forces: its gradients, its forces, its checkpoints, and that it helps."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch

from hpopt_lib.data.embedded import load_embedded
from hpopt_lib.errors import HpoptError
from hpopt_lib.featurise import featurise_shard
from hpopt_lib.gmp.features import GMPFeaturizer
from hpopt_lib.gmp.settings import GMPSettings
from hpopt_lib.metrics import force_metrics
from hpopt_lib.potential import derivatives, forces
from hpopt_lib.potential.batched import Member, groups, train_many
from hpopt_lib.potential.calculator import HpoptCalculator
from hpopt_lib.potential.checkpoint import load_checkpoint, save_checkpoint
from hpopt_lib.potential.dataset import Dataset
from hpopt_lib.potential.derivatives import LoopDerivatives, MatrixDerivatives, derivatives_of, structures_of
from hpopt_lib.potential.evaluation import evaluate, force_errors
from hpopt_lib.potential.forces import FORCE_ERROR, ForceTerm, force_scores, predict_forces
from hpopt_lib.potential.settings import TrainSettings
from hpopt_lib.potential.training import Training, train
from hpopt_lib.references import LinearReference, composition
from hpopt_lib.scaling import FeatureScaler
from hpopt_lib.store import SplitArrays, Store

pytest.importorskip("numba")
GMP = GMPSettings(sigmas=(0.3, 0.6, 1.0, 1.6), max_order=2, cutoff=4.5)
SETTINGS = TrainSettings(num_layers=2, num_nodes=8, epochs=4, batch_size=8, force_weight=2.0, lr=0.01)
FORCES = f"validation_{FORCE_ERROR}"


def molecules(n_train: int, n_validation: int, *, transform: str = "log", gmp: GMPSettings = GMP) -> Dataset:
    frames = load_embedded("ethanol-like", "train", stride=3)[: n_train + n_validation]
    featurizer = GMPFeaturizer(gmp)
    splits = [
        featurise_shard(featurizer, [("frame", atoms) for atoms in part], np.dtype(float))
        for part in (frames[:n_train], frames[n_train:])
    ]
    scaler = FeatureScaler.empty(gmp.num_features, kind=transform)
    scaler.update(splits[0].features)
    counts = composition(splits[0].numbers, splits[0].n_atoms)
    reference = LinearReference.fit(counts, splits[0].energy)
    return Dataset(*splits, featurizer.settings, scaler, reference, torch.float64)


@pytest.fixture(scope="module")
def ethanol() -> Dataset:
    return molecules(60, 20)


def weights(result) -> torch.Tensor:
    return torch.cat([value.flatten().double() for value in result.potential.network.state_dict().values()])


@pytest.mark.parametrize("transform", ["log", "none"])
def test_the_gradient_of_the_loss_is_that_of_double_backward(transform):
    """The reference goes through exact features, transform, scaling and network by autograd alone."""
    data = molecules(6, 2, transform=transform)
    settings = replace(SETTINGS, loss="mse", max_order=1, num_sigmas=3)
    training = Training(data, settings, seed=0)
    potential, arrays = training.potential, data.train
    rows = np.array([4, 1, 2])
    n_atoms = 9
    places = torch.from_numpy((rows[:, None] * n_atoms + np.arange(n_atoms)).ravel())
    inputs = potential.inputs(arrays.features)[places]
    frame = torch.repeat_interleave(torch.arange(3), n_atoms)
    outputs, force_loss = training._forces(inputs, frame, rows, places)
    (outputs.square().sum() + force_loss).backward()
    ours = [parameter.grad.clone() for parameter in potential.network.parameters()]
    potential.network.zero_grad()

    exact, spread = GMPFeaturizer(GMP, backend="exact"), potential.residual_spread_ev_per_atom
    rms = np.sqrt((arrays.forces**2).mean())
    assert training._forces.rms_ev_per_angstrom == pytest.approx(rms)
    total, squares = torch.zeros(()).double(), []
    for atoms, row in zip(structures_of(arrays, rows), rows):
        positions = torch.tensor(atoms.positions, requires_grad=True)
        raw = exact.features_torch(positions, atoms.numbers, torch.tensor(atoms.cell.array), atoms.pbc)
        energy = potential.atomic_corrections(raw).sum()
        (gradient,) = torch.autograd.grad(energy, positions, create_graph=True)
        true = torch.from_numpy(arrays.forces[row * n_atoms : (row + 1) * n_atoms])
        squares.append(((-gradient - true) / rms).square())
        total = total + (energy / spread).square()
    (total + settings.force_weight * torch.cat(squares).mean()).backward()
    for value, parameter in zip(ours, potential.network.parameters()):
        assert (value - parameter.grad).abs().max() <= 1e-7 * parameter.grad.abs().max().clamp_min(1e-9)


def test_forces_in_training_are_those_of_the_calculator_and_of_differences(ethanol):
    potential = train(ethanol, SETTINGS, seed=0).potential
    found = predict_forces(potential, ethanol.validation)
    for row, atoms in enumerate(structures_of(ethanol.validation, np.arange(3))):
        atoms.calc = HpoptCalculator(potential)
        mine = found[9 * row : 9 * row + 9]
        assert np.abs(mine - atoms.get_forces()).max() < 1e-7 * np.abs(mine).max()
    step, atom, axis = 1e-4, 4, 1
    ends = []
    for sign in (1, -1):
        atoms.positions[atom, axis] += sign * step
        ends.append(atoms.get_potential_energy())
        atoms.positions[atom, axis] -= sign * step
    assert -(ends[0] - ends[1]) / (2 * step) == pytest.approx(mine[atom, axis], rel=1e-6)


@pytest.fixture(scope="module")
def mixed() -> Dataset:
    """Slabs and molecules of several sizes in one training."""
    slabs = [a for a in load_embedded("oc20-like", "train", stride=40) if len(a) < 30][:8]
    frames = [*slabs, *load_embedded("ethanol-like", "train", limit=4)]
    frames = [frames[k] for k in np.random.default_rng(0).permutation(len(frames))]
    featurizer = GMPFeaturizer(GMP)
    arrays = featurise_shard(featurizer, [("frame", atoms) for atoms in frames], np.dtype(float))
    scaler = FeatureScaler.empty(GMP.num_features)
    scaler.update(arrays.features)
    reference = LinearReference.fit(composition(arrays.numbers, arrays.n_atoms), arrays.energy)
    return Dataset(arrays, arrays, featurizer.settings, scaler, reference, torch.float64)


def test_matrices_and_loops_give_the_same(mixed, monkeypatch):
    assert len(np.unique(mixed.train.n_atoms)) > 2 and not mixed.train.free.all()
    settings = replace(SETTINGS, batch_size=5, epochs=2)
    matrices = train(mixed, settings, seed=1)
    potential, arrays = matrices.potential, mixed.train
    assert isinstance(derivatives_of(potential, arrays), MatrixDerivatives)
    assert isinstance(derivatives_of(potential, arrays, matrix_mb=0.01), LoopDerivatives)
    monkeypatch.setenv("HPOPT_MATRIX_MB", "0.01")
    assert isinstance(derivatives_of(potential, arrays), LoopDerivatives)
    monkeypatch.setenv("HPOPT_MATRIX_MB", "much")
    with pytest.raises(HpoptError, match="HPOPT_MATRIX_MB: 'much' is not a number; give megabytes"):
        derivatives_of(potential, arrays)
    loops = train(mixed, settings, seed=1, matrix_mb=0.0)
    assert torch.allclose(weights(matrices), weights(loops), rtol=1e-8, atol=1e-10)
    for one, other in zip(matrices.history, loops.history):
        assert one[FORCES] == pytest.approx(other[FORCES], rel=1e-8)


def test_trainings_on_forces_are_not_stacked(ethanol):
    members = [Member(replace(SETTINGS, epochs=1), seed) for seed in (0, 1)]
    assert groups(members) == [[0], [1]]
    for member, result in zip(members, train_many(ethanol, members)):
        assert result.history == train(ethanol, member.settings, seed=member.seed).history


def test_only_free_atoms_count(mixed):
    other = replace(mixed.train, forces=mixed.train.forces.copy())
    other.forces[~other.free] = 1e3
    one, same = (train(replace(mixed, train=a, validation=a), SETTINGS, seed=0) for a in (mixed.train, other))
    assert torch.equal(weights(one), weights(same)) and one.history == same.history
    fixed = replace(mixed.train, free=mixed.train.free.copy())
    fixed.free[: int(fixed.n_atoms[0])] = False  # a frame, and so a batch, without any free atom
    result = train(replace(mixed, train=fixed), replace(SETTINGS, batch_size=1), seed=0)
    assert all(np.isfinite(list(record.values())).all() for record in result.history)


def test_the_validation_error_is_that_of_the_forces_of_that_epoch(ethanol):
    result = train(ethanol, replace(SETTINGS, epochs=1), seed=0)
    arrays = ethanol.validation
    found = force_metrics(arrays.forces, predict_forces(result.potential, arrays), arrays.free)
    assert result.history[0][FORCES] == pytest.approx(found[FORCE_ERROR], rel=1e-12)
    frames = structures_of(arrays, np.arange(len(arrays)))
    true = load_embedded("ethanol-like", "train", stride=3)[60:80]
    assert [a.positions.tolist() for a in frames] == [a.positions.tolist() for a in true]
    assert force_errors(result.potential, true)[FORCE_ERROR] == pytest.approx(found[FORCE_ERROR], rel=1e-6)
    scores = force_scores(arrays, result.potential.predict(arrays), predict_forces(result.potential, arrays))
    assert scores[f"zero_{FORCE_ERROR}"] == pytest.approx(1000 * np.abs(arrays.forces).mean())


def test_the_weight_weighs(ethanol):
    """With a vanishing learning rate the loss of the first epoch is that of the initial weights."""
    losses = []
    for weight in (0.0, 1.0, 3.0):
        settings = replace(SETTINGS, lr=1e-9, weight_decay=0.0, epochs=1, batch_size=60, force_weight=weight)
        losses.append(train(ethanol, settings, seed=0).history[0]["train_loss"])
    assert losses[1] - losses[0] > 0.05
    assert losses[2] - losses[0] == pytest.approx(3 * (losses[1] - losses[0]), rel=1e-6)


def test_without_weight_nothing_of_forces_is_computed(ethanol, monkeypatch):
    def forbidden(*_args, **_options):
        raise AssertionError("forces were computed")

    monkeypatch.setattr(ForceTerm, "__init__", forbidden)
    poor = [replace(a, forces=np.full_like(a.forces, np.nan)) for a in (ethanol.train, ethanol.validation)]
    data = replace(ethanol, train=poor[0], validation=poor[1])
    settings = replace(SETTINGS, force_weight=0.0)
    one, same = train(data, settings, seed=0), train(ethanol, settings, seed=0)
    assert torch.equal(weights(one), weights(same)) and FORCES not in one.history[0]


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_a_resumed_training_is_the_same_training(ethanol, tmp_path, dtype):
    data, settings = replace(ethanol, dtype=dtype), replace(SETTINGS, dropout_rate=0.2, normalization="layer")
    whole = train(data, settings, seed=5)
    training, path = Training(data, settings, seed=5), tmp_path / "c.npz"
    for _ in range(2):
        training.step()
    save_checkpoint(path, training.state())
    training = Training(data, settings, seed=5)
    training.restore(load_checkpoint(path))
    for _ in training:
        pass
    assert training.history == whole.history
    assert torch.equal(weights(training.result()), weights(whole))


def test_a_checkpoint_from_before_there_were_forces_goes_on(ethanol):
    settings = replace(SETTINGS, force_weight=0.0)
    training = Training(ethanol, settings, seed=0)
    training.step()
    state = training.state()
    del state["settings"]["force_weight"]
    again = Training(ethanol, settings, seed=0)
    again.restore(state)
    assert again.epoch == 1
    with pytest.raises(HpoptError, match="of a training with other settings"):
        Training(ethanol, SETTINGS, seed=0).restore(state)


def test_training_on_forces_makes_forces_right():
    data = molecules(
        200, 40, gmp=GMPSettings(sigmas=(0.15, 0.3, 0.5, 0.8, 1.2, 1.8), max_order=4, cutoff=5.0)
    )
    settings = TrainSettings(num_layers=2, num_nodes=32, epochs=40, batch_size=4, lr=0.004, loss="mse")
    blind, seeing = (train(data, replace(settings, force_weight=w), seed=0) for w in (0.0, 1.0))
    arrays = data.validation
    errors = [
        force_scores(arrays, r.potential.predict(arrays), predict_forces(r.potential, arrays))
        for r in (blind, seeing)
    ]
    assert errors[1][FORCE_ERROR] < 0.7 * errors[0][FORCE_ERROR]
    assert errors[1][FORCE_ERROR] < 0.5 * errors[1][f"zero_{FORCE_ERROR}"]
    assert seeing.best_error < 0.9 * blind.best_error


def spoiled(arrays: SplitArrays) -> SplitArrays:
    bad = replace(arrays, forces=arrays.forces.copy())
    bad.forces[np.flatnonzero(bad.free)[3]] = np.nan
    return bad


def test_what_cannot_be_trained_on_forces_is_said(ethanol, monkeypatch):
    with pytest.raises(HpoptError, match="force_weight: 1 of 60 training frames have no forces; preprocess"):
        train(replace(ethanol, train=spoiled(ethanol.train)), SETTINGS, seed=0)
    with pytest.raises(HpoptError, match="force_weight: 1 of 20 validation frames have no forces"):
        train(replace(ethanol, validation=spoiled(ethanol.validation)), SETTINGS, seed=0)
    held = replace(ethanol.train, free=np.zeros(540, bool))
    with pytest.raises(HpoptError, match="force_weight: no atom of the training frames is free"):
        train(replace(ethanol, train=held), SETTINGS, seed=0)
    for values, message in (
        ({"force_weight": -1.0}, "force_weight: -1.0 is out of range"),
        ({"force_weight": "much"}, "force_weight: 'much' is not of type float"),
        ({"force_weight": 1.0, "normalization": "batch"}, "does not go with normalization batch.*; set"),
    ):
        with pytest.raises(HpoptError, match=message):
            TrainSettings.from_dict(values)
    monkeypatch.setattr(derivatives, "have_numba", lambda: False)
    with pytest.raises(HpoptError, match="force_weight: training on forces needs numba.*; pip install"):
        train(ethanol, SETTINGS, seed=0)


def test_forces_are_evaluated_also_without_numba(ethanol, monkeypatch):
    potential = train(ethanol, replace(SETTINGS, epochs=1), seed=0).potential
    arrays = ethanol.validation.take(np.arange(3))
    fast = predict_forces(potential, arrays)
    monkeypatch.setattr(forces, "have_numba", lambda: False)
    monkeypatch.setattr(forces, "LoopDerivatives", None)
    assert np.abs(predict_forces(potential, arrays) - fast).max() < 1e-6 * np.abs(fast).max()


def test_evaluation_of_a_store_reports_forces(dataset, store_path):
    potential = train(dataset, replace(SETTINGS, epochs=2), seed=0).potential
    store = Store.open(store_path)
    found, arrays = evaluate(potential, store)["ood"], store.read("ood")
    expected = force_metrics(arrays.forces, predict_forces(potential, arrays), arrays.free)
    assert {key: found[key] for key in expected} == pytest.approx(expected)
    assert found["energy_mae_mev_per_atom"] > 0 and 0 <= found["efwt"] <= 1
    assert FORCE_ERROR not in evaluate(potential, store, ["ood"], forces=False)["ood"]
    assert force_scores(spoiled(arrays), arrays.energy, arrays.forces) == {}
