"""Derivatives of the features: finite differences, second order, and the places where a norm is zero."""

from __future__ import annotations

import ase
import numpy as np
import pytest
import torch
from ase.build import bulk, molecule

from hpopt_lib.gmp import features as features_module
from hpopt_lib.gmp.features import GMPFeaturizer
from hpopt_lib.gmp.settings import GMPSettings

SETTINGS = GMPSettings(sigmas=(0.3, 1.1), max_order=3, cutoff=4.0)


def crystal() -> ase.Atoms:
    atoms = ase.Atoms(
        "CuOPt",
        [[0.0, 0.1, 0.0], [1.7, 1.4, 0.3], [0.2, 1.9, 2.0]],
        cell=[[3.4, 0.2, 0.0], [0.0, 3.6, 0.3], [0.4, 0.0, 3.8]],
        pbc=(True, True, False),
    )
    return atoms


def scalar(featurizer, atoms, positions, cell, weights):
    return (featurizer.features_torch(positions, atoms.numbers, cell, atoms.pbc) * weights).sum()


@pytest.mark.parametrize("smooth", [True, False])
def test_positions_and_cell_against_finite_differences(smooth):
    atoms = crystal()
    featurizer = GMPFeaturizer(GMPSettings(**{**SETTINGS.to_dict(), "smooth_cutoff": smooth}))
    weights = torch.tensor(np.random.default_rng(0).normal(size=(3, 8)))
    variables = [torch.tensor(atoms.positions), torch.tensor(atoms.cell.array)]
    gradients = torch.autograd.grad(
        scalar(featurizer, atoms, *[v.requires_grad_() for v in variables], weights), variables
    )
    step = 1e-4
    for which, gradient in enumerate(gradients):
        scale = gradient.abs().max()
        for index in np.ndindex(3, 3):
            values = []
            for sign in (1, -1):
                moved = [v.detach().clone() for v in variables]
                moved[which][index] += sign * step
                values.append(scalar(featurizer, atoms, *moved, weights))
            difference = (values[0] - values[1]) / (2 * step)
            assert abs(difference - gradient[index]) < 1e-6 * scale


def test_second_derivatives_exist_and_are_right():
    atoms = molecule("H2O")
    featurizer = GMPFeaturizer(SETTINGS)
    cell = torch.zeros(3, 3, dtype=torch.float64)

    def features(positions):
        return featurizer.features_torch(positions, atoms.numbers, cell, atoms.pbc)[:, :6]

    generator = np.random.default_rng(1)
    positions = torch.tensor(atoms.positions + generator.normal(size=(3, 3)) * 0.1, requires_grad=True)
    assert torch.autograd.gradgradcheck(features, (positions,), eps=1e-5, atol=1e-5, rtol=1e-4)


@pytest.mark.parametrize(
    "atoms",
    [ase.Atoms("Pt"), bulk("Cu"), ase.Atoms("O3", [[0, 0, -1.3], [0, 0, 0], [0, 0, 1.3]])],
    ids=["isolated", "bulk", "centre"],
)
def test_gradient_where_norms_vanish(atoms):
    positions = torch.tensor(atoms.positions, dtype=torch.float64, requires_grad=True)
    values = GMPFeaturizer(SETTINGS).features_torch(
        positions, atoms.numbers, torch.tensor(atoms.cell.array), atoms.pbc
    )
    centre = len(atoms) // 2
    odd = [k for k, name in enumerate(SETTINGS.feature_names()) if name[:2] in ("l1", "l3")]
    assert values[centre, odd].abs().max() < 1e-13
    for column in odd:
        (gradient,) = torch.autograd.grad(values[centre, column], positions, create_graph=True)
        assert torch.equal(gradient, torch.zeros_like(gradient))
    (gradient,) = torch.autograd.grad(values.sum(), positions, create_graph=True)
    assert torch.isfinite(gradient).all()
    (second,) = torch.autograd.grad(gradient.square().sum(), positions)
    assert torch.isfinite(second).all()


def test_large_frames_are_treated_in_pieces(monkeypatch):
    atoms = crystal().repeat((4, 3, 1))
    featurizer = GMPFeaturizer(SETTINGS)
    cell = torch.tensor(atoms.cell.array)

    def evaluate():
        positions = torch.tensor(atoms.positions, requires_grad=True)
        values = featurizer.features_torch(positions, atoms.numbers, cell, atoms.pbc)
        (gradient,) = torch.autograd.grad(values.sin().sum(), positions, create_graph=True)
        (second,) = torch.autograd.grad(gradient.square().sum(), positions)
        return values.detach(), gradient.detach(), second

    whole = evaluate()
    sizes, inner = [], featurizer.features_from_pairs

    def record(displacements, *rest):
        sizes.append(len(displacements))
        return inner(displacements, *rest)

    monkeypatch.setattr(features_module, "PAIRS_PER_CHUNK", 200)
    monkeypatch.setattr(featurizer, "features_from_pairs", record)
    pieces = evaluate()
    assert max(sizes) <= 200 and len(sizes) > 5
    for one, other in zip(whole, pieces):
        assert torch.allclose(one, other, rtol=1e-10, atol=1e-12 * float(one.abs().max()))
