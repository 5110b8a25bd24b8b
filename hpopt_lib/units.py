"""Unit conversion in one place. Inside the package: eV, Å, eV/Å."""

from __future__ import annotations

from ase import units as _ase

#: One electronvolt expressed in the unit.
PER_EV: dict[str, float] = {
    "eV": 1.0,
    "meV": 1000.0,
    "kcal/mol": 1.0 / (_ase.kcal / _ase.mol),
    "kJ/mol": 1.0 / (_ase.kJ / _ase.mol),
    "Hartree": 1.0 / _ase.Hartree,
}

#: One Å expressed in the unit.
PER_ANGSTROM: dict[str, float] = {"Å": 1.0, "Bohr": 1.0 / _ase.Bohr}


def convert_energy(value, *, source: str, target: str):
    """Convert energies between units.

    Parameters
    ----------
    value : float or numpy.ndarray
        Energies in `source`.
    source, target : str
        Keys of `PER_EV`.

    Returns
    -------
    float or numpy.ndarray
        The same energies in `target`.

    Raises
    ------
    KeyError
        When a unit is not known.

    Examples
    --------
    >>> round(convert_energy(1.0, source="kcal/mol", target="meV"), 3)
    43.364
    """
    return value * (PER_EV[target] / PER_EV[source])
