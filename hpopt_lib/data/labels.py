"""Labels of a geometry: energy, forces and the reference of its adsorption energy.

Geometries are made in `hpopt_lib.data.adsorption`; what they are labelled with is decided here,
so that another engine (density-functional theory, say) can label the same frames later.
"""

from __future__ import annotations

from functools import cache
from typing import Protocol

import numpy as np
from ase import Atoms
from ase.build import molecule
from ase.calculators.emt import EMT
from ase.optimize import FIRE
from numpy.typing import NDArray

from hpopt_lib.data.slabs import Bulk, adsorbate_template, clean_slab, round_positions

#: The gas molecules from which OC20 derives one reference energy for each of H, O, N and C.
GAS_MOLECULES = ("H2", "H2O", "N2", "CO")


class Labeller(Protocol):
    """Anything that turns a structure into an energy and forces."""

    @property
    def name(self) -> str:
        """One line that says what labels are, for the provenance."""

    def __hash__(self) -> int:
        """Labellers are hashable: energies of clean slabs and gas molecules are remembered for each."""

    def __call__(self, atoms: Atoms) -> tuple[float, NDArray[np.float64]]:
        """Total energy in eV; forces in eV/Å, shape (n_atoms, 3), constraints not applied."""


class EMTLabeller:
    """Effective-medium theory as ASE implements it: fast, smooth, and no chemistry for H, C, N, O."""

    name = "effective-medium theory (ASE EMT)"

    def __call__(self, atoms: Atoms) -> tuple[float, NDArray[np.float64]]:
        bare = Atoms(atoms.numbers, positions=atoms.positions, cell=atoms.cell, pbc=atoms.pbc)
        bare.calc = EMT()
        return float(bare.get_potential_energy()), np.asarray(bare.get_forces())


#: One object for all, so that the caches below are shared.
EMT_LABELLER = EMTLabeller()


@cache
def gas_molecule(name: str) -> Atoms:
    """Gas molecule relaxed with EMT, positions rounded. Do not change the result in place."""
    gas = molecule(name)
    gas.calc = EMT()
    FIRE(gas, logfile=None).run(fmax=0.01, steps=400)
    gas.calc = None
    gas.positions = round_positions(gas.positions)
    return gas


@cache
def gas_references(labeller: Labeller = EMT_LABELLER) -> dict[str, float]:
    """Reference energy in eV of H, O, N and C, from H₂, H₂O, N₂ and CO as OC20 does."""
    h2, h2o, n2, co = (labeller(gas_molecule(name))[0] for name in GAS_MOLECULES)
    oxygen = h2o - h2
    return {"H": h2 / 2, "O": oxygen, "N": n2 / 2, "C": co - oxygen}


@cache
def slab_energy(bulk: Bulk, facet: str, labeller: Labeller = EMT_LABELLER) -> float:
    """Energy in eV of the relaxed clean slab."""
    return labeller(clean_slab(bulk, facet))[0]


def reference_energy(bulk: Bulk, facet: str, adsorbate: str, labeller: Labeller = EMT_LABELLER) -> float:
    """Clean slab plus gas references, in eV: what is subtracted to get the adsorption energy."""
    gas = gas_references(labeller)
    symbols = adsorbate_template(adsorbate).get_chemical_symbols()
    return slab_energy(bulk, facet, labeller) + sum(gas[symbol] for symbol in symbols)
