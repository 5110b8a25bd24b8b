"""A trained potential: saved without pickle, forces that are gradients, evaluation by its definition."""

from __future__ import annotations

import json
import pickle
import zipfile
from dataclasses import replace

import ase.io
import numpy as np
import pytest
import torch
from synthetic import slab

from hpopt_lib.errors import HpoptError
from hpopt_lib.featurise import free_atoms
from hpopt_lib.metrics import energy_metrics
from hpopt_lib.potential.evaluation import HEADLINE, baseline_energies, evaluate, force_errors, parity, score
from hpopt_lib.potential.model import Potential
from hpopt_lib.potential.settings import TrainSettings
from hpopt_lib.potential.training import OBJECTIVE, train
from hpopt_lib.store import Store

SETTINGS = TrainSettings(num_layers=2, num_nodes=8, epochs=5, batch_size=16, activation="tanh", lr=0.02)


@pytest.fixture(scope="module")
def potential(dataset) -> Potential:
    return train(dataset, SETTINGS, seed=0).potential


@pytest.mark.parametrize("normalization", ["none", "batch", "layer"])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_saved_and_loaded_is_the_same_and_nothing_is_pickled(
    dataset, tmp_path, monkeypatch, normalization, dtype
):
    settings = replace(SETTINGS, normalization=normalization, max_order=0, num_sigmas=2, epochs=2)
    trained = train(replace(dataset, dtype=dtype), settings, seed=0).potential

    def forbidden(*_args, **_kwargs):
        raise AssertionError("pickle was used")

    for name in ("loads", "load", "dumps", "dump", "Unpickler", "Pickler"):
        monkeypatch.setattr(pickle, name, forbidden)
    monkeypatch.setattr(torch, "load", forbidden)
    path = trained.save(tmp_path / "model.npz", extra={"seed": 0})
    loaded = Potential.load(path)
    assert loaded.settings == settings and loaded.gmp == trained.gmp and loaded.dtype == dtype
    assert np.array_equal(loaded.predict(dataset.validation), trained.predict(dataset.validation))
    with zipfile.ZipFile(path) as archive:
        assert all(name.endswith(".npy") for name in archive.namelist())
    assert [p.name for p in tmp_path.iterdir()] == ["model.npz"]


def test_an_existing_model_is_refused(potential, tmp_path):
    path = potential.save(tmp_path / "m.npz")
    before = path.read_bytes()
    with pytest.raises(HpoptError, match="output exists already"):
        potential.save(path)
    assert path.read_bytes() == before


def test_models_that_cannot_be_loaded(potential, tmp_path):
    path = potential.save(tmp_path / "m.npz")
    whole = path.read_bytes()
    with np.load(path) as archive:
        header, arrays = json.loads(str(archive["header"])), dict(archive)
    old = tmp_path / "old.npz"
    np.savez(old, **{**arrays, "header": np.array(json.dumps({**header, "version": 99}))})
    poor = tmp_path / "poor.npz"
    np.savez(poor, **{**arrays, "header": np.array(json.dumps({"format": "hpopt-potential", "version": 1}))})
    fewer = tmp_path / "fewer.npz"
    np.savez(fewer, **{k: v for k, v in arrays.items() if k != "weight/layers.0.weight"})
    evil = tmp_path / "evil.npz"
    np.savez(evil, header=np.array([{"format": "hpopt-potential"}], dtype=object))
    for name, data in (
        ("short", whole[:-100]),
        ("half", whole[: len(whole) // 2]),
        ("empty", b""),
        ("text", b"hi"),
    ):
        (tmp_path / f"{name}.npz").write_bytes(data)
    flipped = bytearray(whole)
    flipped[len(whole) // 2] ^= 0xFF
    (tmp_path / "flipped.npz").write_bytes(flipped)
    for name in ("old", "poor", "fewer", "evil", "short", "half", "empty", "text", "flipped"):
        with pytest.raises(
            HpoptError, match=f"{name}.npz: not a potential saved by hpopt, or damaged; train"
        ):
            Potential.load(tmp_path / f"{name}.npz")
    with pytest.raises(HpoptError, match="no such file"):
        Potential.load(tmp_path / "none.npz")


def test_energies_of_frames_and_of_stored_features_agree(potential, dataset, inputs):
    frames = ase.io.read(inputs / "val.traj", ":4")
    stored = potential.predict(dataset.validation.take(np.arange(4)))
    assert [potential.energy_and_forces(a)[0] for a in frames] == pytest.approx(stored, abs=1e-8)


@pytest.mark.parametrize(
    "settings", [SETTINGS, replace(SETTINGS, max_order=0, num_sigmas=1, normalization="batch")]
)
def test_forces_are_minus_the_gradient_of_the_energy(dataset, settings):
    potential = train(dataset, replace(settings, epochs=2), seed=0).potential
    atoms = slab(301)
    energy, forces = potential.energy_and_forces(atoms)
    assert isinstance(energy, float) and forces.shape == (9, 3) and np.abs(forces).max() > 1e-3
    step = 1e-4
    for atom, axis in ((8, 0), (8, 2), (5, 1), (0, 2)):
        ends = []
        for sign in (1, -1):
            moved = atoms.copy()
            moved.positions[atom, axis] += sign * step
            ends.append(potential.energy_and_forces(moved)[0])
        assert forces[atom, axis] == pytest.approx((ends[1] - ends[0]) / (2 * step), rel=1e-5, abs=1e-7)
    assert np.abs(forces.sum(axis=0)).max() < 1e-8  # no net force


def test_energy_does_not_depend_on_orientation_origin_or_order(potential):
    atoms = slab(302)
    energy, forces = potential.energy_and_forces(atoms)
    turned = atoms.copy()
    turned.rotate(37, (1, 2, 3), rotate_cell=True)
    turned.positions += [0.3, -0.2, 5.0]
    turned_energy, turned_forces = potential.energy_and_forces(turned)
    assert turned_energy == pytest.approx(energy, abs=1e-8)
    assert np.linalg.norm(turned_forces, axis=1) == pytest.approx(np.linalg.norm(forces, axis=1), abs=1e-7)
    order = np.random.default_rng(0).permutation(9)
    assert potential.energy_and_forces(atoms[order])[1] == pytest.approx(forces[order], abs=1e-8)


def test_evaluation_by_its_definition(potential, store_path):
    store = Store.open(store_path)
    results = evaluate(potential, store)
    assert list(results) == ["val", "ood"]
    arrays, train_arrays = store.read("ood"), store.read("train")
    predicted = potential.predict(arrays)
    per_atom = 1000 * np.abs(predicted - arrays.energy) / arrays.n_atoms
    found = results["ood"]
    assert found[HEADLINE] == pytest.approx(per_atom.mean()) and HEADLINE == OBJECTIVE
    assert found["energy_mae_ev"] == pytest.approx(np.abs(predicted - arrays.energy).mean())
    median = np.median(train_arrays.energy / train_arrays.n_atoms)
    median_error = 1000 * np.abs(arrays.energy / arrays.n_atoms - median).mean()
    assert found[f"median_{HEADLINE}"] == pytest.approx(median_error)
    assert found["skill_over_median"] == pytest.approx(1 - per_atom.mean() / median_error)
    coefficients = store.reference.coefficients
    linear = np.array(
        [coefficients[z].sum() for z in np.split(arrays.numbers, np.cumsum(arrays.n_atoms)[:-1])]
    )
    linear_error = 1000 * np.abs((arrays.energy - linear) / arrays.n_atoms).mean()
    assert found["skill_over_linear"] == pytest.approx(1 - per_atom.mean() / linear_error)
    low, high = found[f"{HEADLINE}_interval"]
    assert low < found[HEADLINE] < high
    assert found["n_systems"] == len(set(arrays.system_ids)) and found["n_frames"] == 20
    assert list(evaluate(potential, store, ["ood"])) == ["ood"]


def test_baselines_know_the_training_split_only(store_path):
    store = Store.open(store_path)
    train_arrays, arrays = store.read("train"), store.read("val")
    before = baseline_energies(train_arrays, store.reference, arrays)
    arrays.energy = arrays.energy + 100.0
    after = baseline_energies(train_arrays, store.reference, arrays)
    for name in ("median", "linear"):
        assert np.array_equal(before[name], after[name])


def test_a_perfect_prediction_and_a_perfect_baseline(store_path):
    arrays = Store.open(store_path).read("val")
    found = score(arrays, arrays.energy, {"median": arrays.energy + 1.0, "linear": arrays.energy})
    assert found[HEADLINE] == 0 and found["skill_over_median"] == 1 and np.isnan(found["skill_over_linear"])


def test_a_store_with_other_features_or_splits_is_refused(potential, store_path):
    store = Store.open(store_path)
    with pytest.raises(HpoptError, match="no split 'test'"):
        evaluate(potential, store, ["test"])
    store.header["gmp"]["cutoff"] = 5.0
    with pytest.raises(HpoptError, match="its features differ"):
        evaluate(potential, store)


def test_parity_data(store_path):
    arrays = Store.open(store_path).read("val")
    data = parity(arrays, arrays.energy + 0.009)
    assert data["reference_ev_per_atom"] == pytest.approx(arrays.energy / 9)
    assert data["error_mev_per_atom"] == pytest.approx(1.0)
    assert data["predicted_ev_per_atom"] - data["reference_ev_per_atom"] == pytest.approx(1e-3)


def test_force_errors_of_free_atoms(potential, inputs):
    frames = ase.io.read(inputs / "val.traj", ":3")
    found = force_errors(potential, frames)
    differences, sizes = [], []
    for atoms in frames:
        free = free_atoms(atoms)
        true = atoms.get_forces(apply_constraint=False)[free]
        differences.append(potential.energy_and_forces(atoms)[1][free] - true)
        sizes.append(true)
    assert found["force_mae_mev_per_angstrom"] == pytest.approx(
        1000 * np.abs(np.concatenate(differences)).mean()
    )
    assert found["zero_force_mae_mev_per_angstrom"] == pytest.approx(
        1000 * np.abs(np.concatenate(sizes)).mean()
    )
    assert found["efwt"] == 0.0 and -1 <= found["force_cosine"] <= 1


def test_energy_metrics_of_predictions_are_those_of_the_training(dataset):
    result = train(dataset, SETTINGS, seed=5)
    arrays = dataset.validation
    found = energy_metrics(arrays.energy, result.potential.predict(arrays), arrays.n_atoms)[OBJECTIVE]
    assert found == result.best_error
