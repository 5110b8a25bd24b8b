"""Energies of elements from a file: fairchem's arrays, a small table, or isolated atoms."""

from __future__ import annotations

import csv
import json
import math
import sys
import zipfile
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import numpy as np
from ase.data import atomic_numbers, chemical_symbols

from hpopt_lib.errors import HpoptError
from hpopt_lib.references.linear import MAX_Z

#: eV. No atom has more (uranium with all its electrons has 0.8 million); a least-squares fit gives such
#: numbers for elements that its data did not have.
MAX_ABS_ENERGY_EV = 1e6

_FORMATS = "an .npz with coeff[Z], or a .json, .toml or .csv table of element and energy in eV"


def read_element_energies(path: Path, *, option: str = "--references") -> np.ndarray:
    """Energies of elements in eV, from a table.

    Parameters
    ----------
    path : Path
        ``.npz`` with an array ``coeff`` indexed by atomic number, as fairchem's linear references; or
        ``.json`` / ``.toml`` with one object ``{"H": -3.4, ...}``, or ``.csv`` with the columns element and
        energy (a line of headings is allowed).
    option : str
        Where the user named the file, for errors.

    Returns
    -------
    numpy.ndarray, shape (119,)
        Indexed by atomic number; NaN where the file says nothing. In an array, a zero, a number that is
        not finite or one beyond `MAX_ABS_ENERGY_EV` says nothing: such stand for elements that the fit had
        no data of.

    Raises
    ------
    HpoptError
        When the file is missing, damaged, of another format, or names an unknown element.
    """
    readers = {".npz": _npz, ".json": _json, ".toml": _toml, ".csv": _csv}
    if not path.is_file():
        raise HpoptError(f"{option}: {path}: no such file", remedy=f"give {_FORMATS}")
    if path.suffix.lower() not in readers:
        raise HpoptError(
            f"{option}: {path}: unknown format {path.suffix!r}",
            remedy=f"give {_FORMATS}, or isolated-atoms={path.name} for a structure file",
        )
    energies = readers[path.suffix.lower()](path)
    if np.isnan(energies).all():
        raise HpoptError(f"{path}: energies: none in it", remedy=f"give {_FORMATS}")
    return energies


def read_isolated_atoms(path: Path, *, energy_unit: str | None = None) -> np.ndarray:
    """Energies of isolated atoms in eV, from a structure file with one atom in each frame.

    Parameters
    ----------
    path : Path
    energy_unit : str, optional
        Of the energies in the file; by default that of its format.

    Returns
    -------
    numpy.ndarray, shape (119,)
        Indexed by atomic number; NaN for elements without a frame.

    Raises
    ------
    HpoptError
        When the file cannot be read, a frame has more than one atom, or an element occurs twice.
    """
    from hpopt_lib.data.readers import read_frames

    energies = np.full(MAX_Z, np.nan)
    # one atom's energy has no neighbour to be checked by, and may be large where all electrons count
    for number, atoms in enumerate(read_frames(path, energy_unit=energy_unit, check_units=False)):
        where = f"{path}: frame {number}"
        if len(atoms) != 1:
            raise HpoptError(
                f"{where}: atoms: {len(atoms)}, isolated atoms have 1",
                remedy="give a file with one atom in each frame",
            )
        z = int(atoms.numbers[0])
        if not np.isnan(energies[z]):
            raise HpoptError(
                f"{where}: element: a second {chemical_symbols[z]} atom", remedy="keep one frame an element"
            )
        energies[z] = atoms.calc.results["energy"]
    return energies


def _npz(path: Path) -> np.ndarray:
    try:
        with open(path, "rb") as stream, np.load(stream, allow_pickle=False) as archive:
            found = np.asarray(archive["coeff"], dtype=float)
    except KeyError:
        raise HpoptError(f"{path}: coeff: no such array", remedy="give an .npz with coeff[Z] in eV") from None
    except (OSError, ValueError, EOFError, zipfile.BadZipFile) as error:
        raise HpoptError(f"{path}: not a readable .npz file: {error}", remedy="download it again") from error
    if found.ndim != 1 or not len(found) >= 2:
        raise HpoptError(f"{path}: coeff: shape {found.shape}", remedy="give one energy for each number Z")
    energies = np.full(MAX_Z, np.nan)
    energies[1 : len(found)] = found[1:MAX_Z]
    with np.errstate(invalid="ignore"):
        energies[(energies == 0.0) | ~(np.abs(energies) <= MAX_ABS_ENERGY_EV)] = np.nan
    return energies


def _json(path: Path) -> np.ndarray:
    try:
        table = json.loads(path.read_text(encoding="utf-8"))
    except ValueError as error:
        raise HpoptError(f"{path}: not JSON: {error}", remedy='write {"H": -3.4, "Cu": -3.1}') from error
    return _table(path, table)


def _toml(path: Path) -> np.ndarray:
    if sys.version_info >= (3, 11):
        import tomllib
    else:
        import tomli as tomllib
    try:
        table = tomllib.loads(path.read_text(encoding="utf-8"))
    except ValueError as error:
        raise HpoptError(f"{path}: not TOML: {error}", remedy="write lines such as H = -3.4") from error
    return _table(path, table)


def _csv(path: Path) -> np.ndarray:
    try:
        rows = [row for row in csv.reader(path.read_text(encoding="utf-8").splitlines()) if any(row)]
    except ValueError as error:
        raise HpoptError(f"{path}: not CSV: {error}", remedy="write lines such as H,-3.4") from error
    if rows and _number(rows[0][-1]) is None:
        rows = rows[1:]  # headings
    if bad := [row for row in rows if len(row) != 2]:
        raise HpoptError(f"{path}: {','.join(bad[0])!r}: not two columns", remedy="write element,energy")
    return _fill(path, ((row[0].strip(), row[1]) for row in rows))


def _table(path: Path, table: Any) -> np.ndarray:
    if not isinstance(table, dict):
        raise HpoptError(f"{path}: not a table of elements", remedy='write {"H": -3.4, "Cu": -3.1}')
    return _fill(path, table.items())


def _fill(path: Path, items: Iterable[tuple[str, Any]]) -> np.ndarray:
    energies = np.full(MAX_Z, np.nan)
    for symbol, value in items:
        z = atomic_numbers.get(symbol, 0)
        if not 1 <= z < MAX_Z:
            raise HpoptError(f"{path}: {symbol!r}: no chemical element", remedy="use symbols such as Cu")
        number = _number(value)
        if number is None or abs(number) > MAX_ABS_ENERGY_EV:
            raise HpoptError(f"{path}: {symbol}: {value!r} is no energy in eV", remedy="write a number")
        if not np.isnan(energies[z]):
            raise HpoptError(f"{path}: {symbol}: given twice", remedy="keep one line an element")
        energies[z] = number
    return energies


def _number(value: Any) -> float | None:
    if isinstance(value, bool):
        return None
    try:
        number = float(value)
    except (TypeError, ValueError):
        return None
    return number if math.isfinite(number) else None
