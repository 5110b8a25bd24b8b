"""Derivatives of the features: finite differences, second order, and the places where a norm is zero."""

from __future__ import annotations

import ase
import numpy as np
import pytest
import torch
from ase.build import bulk, molecule

from hpopt_lib.errors import HpoptError
from hpopt_lib.gmp import summation
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

    def record(displacements, *rest, **options):
        sizes.append(len(displacements))
        return inner(displacements, *rest, **options)

    monkeypatch.setattr(summation, "PAIRS_PER_CHUNK", 200)
    monkeypatch.setattr(featurizer, "features_from_pairs", record)
    pieces = evaluate()
    assert max(sizes) <= 200 and len(sizes) > 5
    for one, other in zip(whole, pieces):
        assert torch.allclose(one, other, rtol=1e-10, atol=1e-12 * float(one.abs().max()))


def test_widths_against_finite_differences():
    atoms, featurizer = crystal(), GMPFeaturizer(SETTINGS, backend="exact")
    positions, cell = torch.tensor(atoms.positions), torch.tensor(atoms.cell.array)
    widths = torch.tensor(SETTINGS.sigmas, dtype=torch.float64)

    def features(sigmas):
        return featurizer.features_torch(positions, atoms.numbers, cell, atoms.pbc, sigmas=sigmas)

    assert torch.allclose(features(widths), torch.tensor(featurizer(atoms)), rtol=1e-14, atol=0.0)
    other = GMPFeaturizer(GMPSettings(**{**SETTINGS.to_dict(), "sigmas": (0.4, 0.9)}), backend="exact")(atoms)
    assert torch.allclose(features(torch.tensor([0.4, 0.9])), torch.tensor(other), rtol=1e-6)
    jacobian = torch.autograd.functional.jacobian(features, widths)
    step = 1e-4
    for k in range(len(widths)):
        shift = step * torch.eye(len(widths), dtype=torch.float64)[k]
        slope = (features(widths + shift) - features(widths - shift)) / (2 * step)
        assert (slope - jacobian[..., k]).abs().max() < 1e-6 * jacobian[..., k].abs().max()
        own = [name.endswith(f"sigma{SETTINGS.sigmas[k]:g}") for name in SETTINGS.feature_names()]
        assert jacobian[:, [not mine for mine in own], k].abs().max() == 0.0


@pytest.mark.parametrize("which", ["cell", "sigmas"])
def test_forces_change_with_cell_and_widths_as_differences_say(which):
    atoms, featurizer = crystal(), GMPFeaturizer(SETTINGS)
    values = {
        "positions": torch.tensor(atoms.positions),
        "cell": torch.tensor(atoms.cell.array),
        "sigmas": torch.tensor(SETTINGS.sigmas, dtype=torch.float64),
    }
    weights = torch.tensor(np.random.default_rng(2).normal(size=(3, 8)))

    def pull(variable):
        """A projection of the forces of a toy energy."""
        inputs = {**values, which: variable}
        positions = inputs["positions"].clone().requires_grad_()
        features = featurizer.features_torch(
            positions, atoms.numbers, inputs["cell"], atoms.pbc, sigmas=inputs["sigmas"]
        )
        (gradient,) = torch.autograd.grad((features.sin() * weights).sum(), positions, create_graph=True)
        return (gradient * weights[:, :3]).sum()

    variable = values[which].clone().requires_grad_()
    (gradient,) = torch.autograd.grad(pull(variable), variable)
    scale, step = gradient.abs().max(), 1e-4
    for index in np.ndindex(*variable.shape):
        moved = [values[which].clone() for _ in range(2)]
        moved[0][index] += step
        moved[1][index] -= step
        slope = (pull(moved[0]) - pull(moved[1])).detach() / (2 * step)
        assert abs(slope - gradient[index]) < 1e-6 * scale


@pytest.mark.parametrize(
    "atoms",
    [ase.Atoms("Pt"), bulk("Cu"), ase.Atoms("O3", [[0, 0, -1.3], [0, 0, 0], [0, 0, 1.3]])],
    ids=["isolated", "bulk", "centre"],
)
def test_width_gradient_where_norms_vanish(atoms):
    widths = torch.tensor(SETTINGS.sigmas, dtype=torch.float64, requires_grad=True)
    positions = torch.tensor(atoms.positions, dtype=torch.float64, requires_grad=True)
    featurizer, cell = GMPFeaturizer(SETTINGS), torch.tensor(atoms.cell.array)
    values = featurizer.features_torch(positions, atoms.numbers, cell, atoms.pbc, sigmas=widths)
    centre = len(atoms) // 2
    odd = [k for k, name in enumerate(SETTINGS.feature_names()) if name[:2] in ("l1", "l3")]
    (gradient,) = torch.autograd.grad(values[centre, odd].sum(), widths, create_graph=True)
    assert torch.equal(gradient, torch.zeros_like(gradient))
    (gradient,) = torch.autograd.grad(values[centre, 1], widths, create_graph=True)
    with torch.no_grad():
        raised, lowered = (
            featurizer.features_torch(positions, atoms.numbers, cell, atoms.pbc, sigmas=widths + step)
            for step in (1e-4, -1e-4)
        )
    assert gradient[1].item() == pytest.approx(float(raised[centre, 1] - lowered[centre, 1]) / 2e-4, rel=1e-6)
    forces = torch.autograd.grad(values.sum(), positions, create_graph=True)[0]
    (mixed,) = torch.autograd.grad(forces.square().sum(), widths, allow_unused=True)
    assert mixed is None or torch.isfinite(mixed).all()


@pytest.mark.parametrize("sigmas", [[0.3], [0.3, -1.1], [0.3, float("nan")]])
def test_unusable_widths(sigmas):
    atoms = molecule("H2O")
    with pytest.raises(HpoptError, match="sigmas") as error:
        GMPFeaturizer(SETTINGS).features_torch(
            torch.tensor(atoms.positions),
            atoms.numbers,
            torch.zeros(3, 3),
            atoms.pbc,
            sigmas=torch.tensor(sigmas),
        )
    assert "give 2 positive widths" in str(error.value)


@pytest.mark.parametrize("smooth", [True, False])
def test_gradients_when_an_atom_crosses_the_cutoff(smooth):
    settings = GMPSettings(sigmas=(0.5, 1.6), max_order=3, cutoff=4.0, smooth_cutoff=smooth)
    featurizer = GMPFeaturizer(settings)

    def gradient(distance):
        positions = torch.tensor(
            [[0.0, 0.0, 0.0], [0.3, 0.0, 2.3], [distance, 0.0, 0.0]], dtype=torch.float64, requires_grad=True
        )
        values = featurizer.features_torch(positions, [29, 78, 8], torch.zeros(3, 3), [False] * 3)
        return torch.autograd.grad(values[0].sum(), positions)[0]

    for edge in (0.8 * 4.0, 4.0):
        jump = float((gradient(edge - 1e-7) - gradient(edge + 1e-7)).abs().max())
        if smooth or edge < 4.0:
            assert jump < 1e-6
        else:
            assert jump > 1e-3
    assert float((gradient(3.9) - gradient(4.1)).abs().max()) > 1e-4
