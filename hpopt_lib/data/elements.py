"""Tabulated properties of the elements, in units in which a step of one is a typical difference."""

from __future__ import annotations

import json
from collections.abc import Iterable
from functools import cache
from pathlib import Path

import numpy as np
from ase import units
from ase.data import atomic_numbers, chemical_symbols

from hpopt_lib.errors import HpoptError

TABLE = Path(__file__).with_name("element_properties.json")

#: Names of the columns of `property_table`, before centring and scaling.
PROPERTIES = (
    "electronegativity (Pauling)",
    "ln(covalent radius / pm)",
    "atomisation enthalpy / eV",
    "ln(polarizability / a.u.)",
    "group",
    "period",
)
#: Mean and spread of these over the 55 elements of OC20: one step is a typical difference between elements.
CENTRES = np.array([1.87, 4.84, 3.95, 3.99, 9.25, 4.49])
SPREADS = np.array([0.546, 0.290, 2.217, 0.873, 4.90, 1.219])


@cache
def _raw() -> np.ndarray:
    """Columns of the file by atomic number, shape (119, 6); NaN where there is no value."""
    with open(TABLE, encoding="utf-8") as stream:
        elements = json.load(stream)["elements"]
    values = np.full((119, len(PROPERTIES)), np.nan)
    for symbol, row in elements.items():
        values[atomic_numbers[symbol]] = [np.nan if value is None else value for value in row]
    return values


@cache
def property_table() -> np.ndarray:
    """Centred and scaled `PROPERTIES` by atomic number.

    The atomisation enthalpy (enthalpy of formation of the gaseous atom) is the cohesive energy of the
    elemental solid at 298 K, and half the bond energy of H₂, N₂, O₂ and Cl₂.

    Returns
    -------
    numpy.ndarray, shape (119, 6)
        A row of NaN for an element that lacks one of them: noble gases, most actinides, some lanthanides.
        The values are those of the package mendeleev, as the table itself says.
    """
    values = _raw().copy()
    values[:, 1], values[:, 3] = np.log(values[:, 1]), np.log(values[:, 3])
    values[:, 2] *= (units.kJ / units.mol) / units.eV
    values = (values - CENTRES) / SPREADS
    values[np.isnan(values).any(axis=1)] = np.nan
    return values


@cache
def covalent_radii_angstrom() -> np.ndarray:
    """Single-bond covalent radii of P. Pyykkö and M. Atsumi (2009) in Å, shape (119,); NaN where unknown."""
    return _raw()[:, 1] / 100.0


@cache
def atomisation_ev() -> np.ndarray:
    """Atomisation enthalpies at 298 K in eV per atom, shape (119,); NaN where unknown."""
    return _raw()[:, 2] * (units.kJ / units.mol) / units.eV


def require_properties(numbers: Iterable[int], *, where: str) -> None:
    """Raise when an element has no complete row in `property_table`.

    Raises
    ------
    HpoptError
        Names the elements, and the place `where` they are.
    """
    unknown = sorted({int(z) for z in numbers if np.isnan(property_table()[z]).any()})
    if unknown:
        names = ", ".join(chemical_symbols[z] for z in unknown)
        raise HpoptError(
            f"{where}: element: no complete row for {names} in the table of element properties",
            remedy="leave such frames out, or train a network, which needs no table",
        )
