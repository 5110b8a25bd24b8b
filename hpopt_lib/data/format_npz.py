"""MD17 and revised MD17: one molecule's trajectory as NumPy arrays, in kcal/mol and Å."""

from __future__ import annotations

import zipfile
import zlib
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any, Literal

import numpy as np
from ase import Atoms
from ase.calculators.singlepoint import SinglePointCalculator

from hpopt_lib.data.containers import damaged
from hpopt_lib.data.reader_protocol import ReaderOptions
from hpopt_lib.errors import HpoptError

#: Names of numbers, positions, energies and forces, in MD17 (S. Chmiela et al., Sci. Adv. 3, e1603015 (2017))
#: and in rMD17 (A. S. Christensen, O. A. von Lilienfeld, Mach. Learn.: Sci. Technol. 1, 045018 (2020)).
KEYS = {
    "md17": ("z", "R", "E", "F"),
    "rmd17": ("nuclear_charges", "coords", "energies", "forces"),
}
_DAMAGE = (OSError, ValueError, EOFError, KeyError, zipfile.BadZipFile, zlib.error)


def is_md17(path: Path) -> bool:
    """Whether the file is an .npz with the arrays z, R, E and F, or at least not those of rMD17."""
    return path.is_file() and path.suffix == ".npz" and not is_rmd17(path)


def is_rmd17(path: Path) -> bool:
    """Whether the file is an .npz with the arrays nuclear_charges, coords, energies and forces."""
    if not path.is_file() or path.suffix != ".npz":
        return False
    try:
        with zipfile.ZipFile(path) as archive:
            return {f"{key}.npy" for key in KEYS["rmd17"]} <= set(archive.namelist())
    except _DAMAGE:
        return False


def read_md17(path: Path, options: ReaderOptions) -> Iterator[Atoms]:
    """Frames of a file of the original MD17."""
    return _read(path, KEYS["md17"])


def read_rmd17(path: Path, options: ReaderOptions) -> Iterator[Atoms]:
    """Frames of a file of the revised MD17."""
    return _read(path, KEYS["rmd17"])


def _read(path: Path, keys: tuple[str, str, str, str]) -> Iterator[Atoms]:
    number_key, position_key, energy_key, force_key = keys
    try:
        archive = zipfile.ZipFile(path)
    except _DAMAGE as error:
        raise damaged(path, error) from error
    with archive, ExitStack() as opened:
        members = {name.removesuffix(".npy") for name in archive.namelist()}
        missing = [key for key in (number_key, position_key, energy_key) if key not in members]
        if missing:
            raise HpoptError(
                f"{path}: arrays: {', '.join(missing)} missing among {', '.join(sorted(members)) or 'none'}",
                remedy=f"MD17 has {', '.join(KEYS['md17'])}; rMD17 has {', '.join(KEYS['rmd17'])}",
            )
        try:
            rows = {key: _ArrayRows(archive, key, path, opened) for key in keys if key in members}
            numbers = rows[number_key].whole().astype(int).ravel()
            n_atoms = len(numbers)
            energies = rows[energy_key].whole().ravel()
            positions, forces = rows[position_key], rows.get(force_key)
            for array in (positions, forces):
                if array is not None and array.shape != (len(energies), n_atoms, 3):
                    raise HpoptError(
                        f"{path}: {array.key}: shape {array.shape}, not {(len(energies), n_atoms, 3)}",
                        remedy="the file is damaged or of another format; download it again",
                    )
            for frame, energy in enumerate(energies):
                atoms = Atoms(numbers, positions=positions.next_row())
                results: dict[str, Any] = {"energy": float(energy)}
                if forces is not None:
                    results["forces"] = forces.next_row()
                atoms.calc = SinglePointCalculator(atoms, **results)
                atoms.info = {"frame": frame, "energy_kind": "raw"}
                yield atoms
        except _DAMAGE as error:
            raise damaged(path, error) from error


class _ArrayRows:
    """One array in an .npz, read row after row: numpy.load would hold the whole of it.

    An array in Fortran order has no rows that lie together; only such a one is held in memory.
    """

    def __init__(self, archive: zipfile.ZipFile, key: str, path: Path, opened: ExitStack) -> None:
        from numpy.lib import format as npy

        self.key = key
        self._stream = opened.enter_context(archive.open(f"{key}.npy"))
        read_header = (
            npy.read_array_header_1_0 if npy.read_magic(self._stream) == (1, 0) else npy.read_array_header_2_0
        )
        self.shape, fortran, self.dtype = read_header(self._stream)
        if self.dtype.hasobject or self.dtype.kind not in "iuf":
            raise HpoptError(
                f"{path}: {key}: holds {self.dtype}, not numbers",
                remedy="such files are not read; convert it",
            )
        self._rows = iter(self.whole("F")) if fortran and len(self.shape) > 1 else None

    def _take(self, count: int) -> np.ndarray:
        wanted = count * self.dtype.itemsize
        data = self._stream.read(wanted)
        if len(data) < wanted:
            raise EOFError(f"{self.key} ends too early")
        return np.frombuffer(data, self.dtype).astype(float)

    def whole(self, order: Literal["C", "F"] = "C") -> np.ndarray:
        """The array, as float64."""
        return self._take(int(np.prod(self.shape))).reshape(self.shape, order=order)

    def next_row(self) -> np.ndarray:
        """The next entry along the first axis, as float64."""
        if self._rows is not None:
            return next(self._rows)
        return self._take(int(np.prod(self.shape[1:]))).reshape(self.shape[1:])
