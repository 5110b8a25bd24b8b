"""Derivatives through the compiled kernels and the tables: forces, stress, and training on forces."""

from __future__ import annotations

import ase
import numpy as np
import pytest
import torch
from ase.build import bulk, molecule

from hpopt_lib.gmp.differentiable import LinkedFeatures
from hpopt_lib.gmp.features import GMPFeaturizer
from hpopt_lib.gmp.settings import GMPSettings

ORDERS = (0, 1, 3, 8)


def settings_of(max_order):
    return GMPSettings(sigmas=(0.3, 0.6, 1.1, 2.0, 2.5), max_order=max_order, cutoff=4.5)


def crystal() -> ase.Atoms:
    return ase.Atoms(
        "CuOPt",
        [[0.0, 0.1, 0.0], [1.7, 9.4, 0.3], [-7.2, 1.9, 2.0]],
        cell=[[3.4, 0.2, 0.0], [0.0, 3.6, 0.3], [0.4, 0.0, 3.8]],
        pbc=(True, True, False),
    )


def derivatives(featurizer, atoms, weights, directions):
    """Gradient with respect to positions and cell of a linear function; then of that along a direction."""
    positions = torch.tensor(atoms.positions, requires_grad=True)
    cell = torch.tensor(atoms.cell.array, requires_grad=True)
    weights = weights.clone().requires_grad_()
    features = featurizer.features_torch(positions, atoms.numbers, cell, atoms.pbc)
    first = torch.autograd.grad((features * weights).sum(), (positions, cell), create_graph=True)
    along = sum((one * other).sum() for one, other in zip(first, directions))
    return [value.detach() for value in (*first, *torch.autograd.grad(along, (weights, positions, cell)))]


@pytest.mark.parametrize("max_order", ORDERS)
@pytest.mark.parametrize(
    ("backend", "dtype", "tolerance"),
    [("numba", "float64", 1e-6), ("torch", "float64", 1e-5), ("numba", "float32", 3e-4)],
)
def test_first_and_second_derivatives_are_those_of_the_exact_sums(max_order, backend, dtype, tolerance):
    settings = settings_of(max_order)
    exact = GMPFeaturizer(settings, backend="exact")
    fast = GMPFeaturizer(settings, backend=backend, dtype=dtype)
    rattled = bulk("Cu", cubic=True) * (2, 1, 1)
    rattled.rattle(0.1, seed=0)
    generator = torch.Generator().manual_seed(1)

    def random(*shape):
        return torch.rand(*shape, generator=generator, dtype=torch.float64)

    for atoms in (crystal(), molecule("CH3CH2OH"), rattled):
        # features of high order are large numbers: each column in its own unit
        scale = torch.tensor(exact(atoms)).abs().max(0).values
        weights = random(len(atoms), settings.num_features) / scale
        directions = random(len(atoms), 3), random(3, 3) if atoms.pbc.any() else torch.zeros(3, 3)
        ours, expected = (derivatives(f, atoms, weights, directions) for f in (fast, exact))
        ours[2], expected[2] = ours[2] / scale, expected[2] / scale
        for value, other in zip(ours, expected):
            assert (value - other).abs().max() <= tolerance * other.abs().max()


def test_gradient_is_that_of_the_table_itself():
    """Energy is conserved only if forces belong to the very function that is interpolated."""
    atoms, featurizer = crystal(), GMPFeaturizer(settings_of(3), backend="numba")
    weights = torch.rand(3, 20, generator=torch.Generator().manual_seed(2), dtype=torch.float64)

    def energy(positions, cell):
        return (featurizer.features_torch(positions, atoms.numbers, cell, atoms.pbc).sin() * weights).sum()

    variables = [
        torch.tensor(atoms.positions).requires_grad_(),
        torch.tensor(atoms.cell.array).requires_grad_(),
    ]
    gradients = torch.autograd.grad(energy(*variables), variables)
    step = 1e-4
    for which, gradient in enumerate(gradients):
        for index in np.ndindex(3, 3):
            values = []
            for sign in (1, -1, 2, -2):
                moved = [variable.detach().clone() for variable in variables]
                moved[which][index] += sign * step
                values.append(float(energy(*moved)))
            slope = (8 * (values[0] - values[1]) - (values[2] - values[3])) / (12 * step)
            assert abs(slope - gradient[index]) < 1e-8 * gradient.abs().max()


@pytest.mark.parametrize(
    "atoms",
    [ase.Atoms("Pt"), bulk("Cu"), ase.Atoms("O3", [[0, 0, -1.3], [0, 0, 0], [0, 0, 1.3]])],
    ids=["isolated", "bulk", "centre"],
)
def test_where_norms_vanish(atoms):
    settings = settings_of(3)
    featurizer, centre = GMPFeaturizer(settings, backend="numba"), len(atoms) // 2
    positions = torch.tensor(atoms.positions, dtype=torch.float64, requires_grad=True)
    cell = torch.tensor(atoms.cell.array, requires_grad=True)
    values = featurizer.features_torch(positions, atoms.numbers, cell, atoms.pbc)
    odd = [k for k, name in enumerate(settings.feature_names()) if name[:2] in ("l1", "l3")]
    assert (values[centre, odd] == 0).all()
    for gradient in torch.autograd.grad(values[centre, odd].sum(), (positions, cell), create_graph=True):
        assert torch.equal(gradient, torch.zeros_like(gradient))
    gradients = torch.autograd.grad(values.sum(), (positions, cell), create_graph=True)
    (second,) = torch.autograd.grad(sum(g.square().sum() for g in gradients), positions)
    assert torch.isfinite(second).all()
    linked = LinkedFeatures(featurizer, [atoms])
    _, forces = linked.energy_and_forces(lambda features: features.sum(1))
    assert torch.allclose(forces, -gradients[0], rtol=1e-12, atol=1e-12)


def network(n_features):
    torch.manual_seed(0)
    return torch.nn.Sequential(torch.nn.Linear(n_features, 8), torch.nn.Tanh(), torch.nn.Linear(8, 1)).to(
        torch.float64
    )


def test_training_on_forces_gives_the_same_weight_gradients():
    settings = settings_of(2)
    frames = [crystal(), molecule("CH3CH2OH"), molecule("H2O")]
    exact, fast = GMPFeaturizer(settings, backend="exact"), GMPFeaturizer(settings, backend="numba")
    model = network(settings.num_features)
    linked = LinkedFeatures(fast, frames)
    assert linked.features.shape == (15, settings.num_features)
    energies, forces = linked.energy_and_forces(lambda features: model(features)[:, 0])
    (energies.square().sum() + forces.square().sum()).backward()
    ours = [parameter.grad.clone() for parameter in model.parameters()]
    model.zero_grad()
    loss = torch.zeros((), dtype=torch.float64)
    for atoms in frames:
        positions = torch.tensor(atoms.positions, requires_grad=True)
        values = model(
            exact.features_torch(positions, atoms.numbers, torch.tensor(atoms.cell.array), atoms.pbc)
        )
        (gradient,) = torch.autograd.grad(values.sum(), positions, create_graph=True)
        loss = loss + values.square().sum() + gradient.square().sum()
    loss.backward()
    assert sum(float(g.abs().max()) > 0 for g in ours) >= 3
    for value, parameter in zip(ours, model.parameters()):
        assert (value - parameter.grad).abs().max() <= 1e-7 * parameter.grad.abs().max().clamp_min(1e-12)


def test_a_batch_of_nothing():
    linked = LinkedFeatures(GMPFeaturizer(settings_of(1)), [])
    assert linked.features.shape == (0, 10)
    energies, forces = linked.energy_and_forces(lambda features: features.sum(1))
    assert energies.shape == (0,) and forces.shape == (0, 3)
