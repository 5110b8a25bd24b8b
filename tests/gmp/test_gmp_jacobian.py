"""The table of all derivatives of the features, against autograd and against the linear maps."""

from __future__ import annotations

import ase
import numpy as np
import pytest
import torch
from ase.build import bulk, molecule

from hpopt_lib.errors import HpoptError
from hpopt_lib.gmp.differentiable import LinkedFeatures
from hpopt_lib.gmp.features import GMPFeaturizer
from hpopt_lib.gmp.jacobian import feature_jacobian
from hpopt_lib.gmp.settings import GMPSettings

SETTINGS = GMPSettings(sigmas=(0.3, 0.6, 1.1, 2.0, 2.5), max_order=4, cutoff=4.5)


def slab() -> ase.Atoms:
    """Periodic in two directions, with atoms outside the cell and images of an atom around itself."""
    return ase.Atoms(
        "CuOPt",
        [[0.0, 0.1, 0.0], [1.7, 9.4, 0.3], [-7.2, 1.9, 2.0]],
        cell=[[3.4, 0.2, 0.0], [0.0, 3.6, 0.3], [0.4, 0.0, 3.8]],
        pbc=(True, True, False),
    )


def rattled(atoms: ase.Atoms) -> ase.Atoms:
    atoms.rattle(0.1, seed=0)
    return atoms


def jacobian(atoms: ase.Atoms, settings: GMPSettings = SETTINGS) -> np.ndarray:
    return feature_jacobian(
        GMPFeaturizer(settings), atoms.positions, atoms.numbers, atoms.cell.array, atoms.pbc
    )


@pytest.mark.parametrize(
    "atoms",
    [rattled(molecule("CH3CH2OH")), slab(), rattled(bulk("Cu", cubic=True) * (2, 1, 1))],
    ids=["molecule", "slab", "bulk"],
)
def test_derivatives_are_those_of_the_exact_sums(atoms):
    positions = torch.tensor(atoms.positions, requires_grad=True)
    exact = GMPFeaturizer(SETTINGS, backend="exact").features_torch(
        positions, atoms.numbers, torch.tensor(atoms.cell.array), atoms.pbc
    )
    found = jacobian(atoms)
    assert found.shape == (len(atoms), len(atoms), 3, SETTINGS.num_features)
    for i in range(len(atoms)):
        for f in range(SETTINGS.num_features):
            (expected,) = torch.autograd.grad(exact[i, f], positions, retain_graph=True)
            error = np.abs(found[i, :, :, f] - expected.numpy()).max()
            assert error < 1e-6 * np.abs(found[..., f]).max(), (i, f)


def test_contracted_it_is_the_map_that_needs_no_table():
    atoms = slab()
    linked = LinkedFeatures(GMPFeaturizer(SETTINGS), [atoms])
    gradient = torch.rand(linked.features.shape, generator=torch.Generator().manual_seed(0)).double()
    expected = linked.pull(gradient).numpy()
    found = np.einsum("if,ijaf->ja", gradient.numpy(), jacobian(atoms))
    assert np.abs(found - expected).max() < 1e-10 * np.abs(expected).max()


def test_moving_everything_changes_nothing():
    found = jacobian(slab())
    assert np.abs(found.sum(axis=1)).max() < 1e-9 * np.abs(found).max()


def test_a_lonely_atom_and_a_centre_of_inversion_have_no_slope():
    assert not jacobian(ase.Atoms("Pt")).any()
    chain = ase.Atoms("O3", [[0, 0, -1.3], [0, 0, 0], [0, 0, 1.3]])
    odd = [k for k, name in enumerate(SETTINGS.feature_names()) if name[:2] in ("l1", "l3")]
    found = jacobian(chain)
    assert not found[1][..., odd].any() and found[0][..., odd].any()


def test_an_element_without_density():
    with pytest.raises(HpoptError, match="no element density for U"):
        jacobian(ase.Atoms("U"))
