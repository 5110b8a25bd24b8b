"""Rotating, moving, renumbering, wrapping or repeating a structure leaves the features alone."""

from __future__ import annotations

import ase
import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.spatial.transform import Rotation

from hpopt_lib.gmp.features import GMPFeaturizer
from hpopt_lib.gmp.settings import GMPSettings

TOLERANCE = 1e-10
FEATURIZER = GMPFeaturizer(GMPSettings(sigmas=(0.2, 0.69, 1.66), max_order=4, cutoff=4.5))


def random_structure(seed: int) -> ase.Atoms:
    """Five atoms, some outside a skewed cell that is smaller than the cutoff, any directions periodic."""
    rng = np.random.default_rng(seed)
    cell = np.diag(rng.uniform(3.0, 5.0, 3)) + rng.uniform(-0.6, 0.6, (3, 3))
    scaled = np.array([[0.0, 0.0, 0.0], [0.5, 0.5, 0.1], [0.1, 0.4, 0.6], [0.6, 0.05, 0.5], [1.2, -0.3, 2.1]])
    scaled = scaled + rng.uniform(-0.04, 0.04, scaled.shape)
    return ase.Atoms(rng.choice([1, 6, 8, 29, 78], 5), scaled @ cell, cell=cell, pbc=rng.random(3) < 0.6)


def deviation(features: np.ndarray, other: np.ndarray) -> float:
    scale = np.abs(features).max(0)
    return float((np.abs(features - other) / np.where(scale > 0, scale, 1.0)).max())


seeds = st.integers(0, 2**32 - 1)
few = settings(max_examples=12, deadline=None, derandomize=True)


@few
@given(seeds)
def test_rotation_and_reflection(seed):
    atoms = random_structure(seed)
    turn = Rotation.random(rng=np.random.default_rng(seed)).as_matrix() * (-1 if seed % 2 else 1)
    turned = atoms.copy()
    turned.set_cell(atoms.cell.array @ turn.T)
    turned.positions = atoms.positions @ turn.T
    assert deviation(FEATURIZER(atoms), FEATURIZER(turned)) < TOLERANCE


@few
@given(seeds)
def test_forces_turn_with_the_structure(seed):
    atoms = random_structure(seed)
    turn = Rotation.random(rng=np.random.default_rng(seed)).as_matrix()
    weights = torch.tensor(np.random.default_rng(seed).normal(size=(5, FEATURIZER.settings.num_features)))

    def forces(matrix):
        positions = torch.tensor(atoms.positions @ matrix.T, requires_grad=True)
        cell = torch.tensor(atoms.cell.array @ matrix.T)
        values = FEATURIZER.features_torch(positions, atoms.numbers, cell, atoms.pbc)
        return torch.autograd.grad((values * weights).sum(), positions)[0].numpy()

    here, there = forces(np.eye(3)), forces(turn)
    assert np.abs(here @ turn.T - there).max() < 1e-9 * np.abs(here).max()
    assert np.abs(here.sum(0)).max() < 1e-9 * np.abs(here).max()


@few
@given(seeds)
def test_translation_and_wrapping(seed):
    atoms = random_structure(seed)
    moved = atoms.copy()
    moved.positions += np.random.default_rng(seed).uniform(-9.0, 9.0, 3)
    assert deviation(FEATURIZER(atoms), FEATURIZER(moved)) < TOLERANCE
    moved.wrap()
    assert deviation(FEATURIZER(atoms), FEATURIZER(moved)) < TOLERANCE


@few
@given(seeds)
def test_permutation(seed):
    atoms = random_structure(seed)
    order = np.random.default_rng(seed).permutation(len(atoms))
    assert deviation(FEATURIZER(atoms)[order], FEATURIZER(atoms[order])) < TOLERANCE


@few
@given(seeds)
def test_supercell(seed):
    atoms = random_structure(seed)
    repeats = [1 + (seed >> k) % 2 if periodic else 1 for k, periodic in enumerate(atoms.pbc)]
    repeated = FEATURIZER(atoms.repeat(repeats))
    assert deviation(np.tile(FEATURIZER(atoms), (int(np.prod(repeats)), 1)), repeated) < TOLERANCE


@pytest.mark.parametrize("face", [0.0, -1e-17, 1.0, 1.0 - 1e-16])
def test_atoms_on_cell_faces(face):
    cell = np.array([[2.6, 0.0, 0.0], [0.3, 2.9, 0.0], [0.2, 0.1, 3.1]])
    scaled = np.array([[face, face, face], [0.5, face, 0.5], [face, 0.45, 0.3]])
    atoms = ase.Atoms("CuOPt", scaled @ cell, cell=cell, pbc=True)
    inner = ase.Atoms("CuOPt", (scaled + 0.25) @ cell, cell=cell, pbc=True)
    assert deviation(FEATURIZER(inner), FEATURIZER(atoms)) < TOLERANCE
