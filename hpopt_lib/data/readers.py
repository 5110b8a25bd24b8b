"""Frames out of any file that ASE reads, one at a time, checked."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np
from ase import Atoms

from hpopt_lib.data.checks import FrameMagnitudes, check_file, check_frame
from hpopt_lib.data.thinned import Thinned
from hpopt_lib.errors import HpoptError
from hpopt_lib.units import PER_ANGSTROM, PER_EV


def read_frames(
    path: str | Path, *, energy_unit: str = "eV", length_unit: str = "Å", check_units: bool = True
) -> Iterator[Atoms]:
    """Stream the frames of a file and check each.

    Parameters
    ----------
    path : str or Path
        Any file that ``ase.io.iread`` knows: .traj, .extxyz (also .xz, .gz), .db, OUTCAR, …
    energy_unit, length_unit : str
        Units of the numbers in the file; they are converted to eV and Å.
    check_units : bool
        Whether magnitudes that do not fit the declared units are errors.

    Yields
    ------
    ase.Atoms
        With energy (eV), forces (eV/Å, when the file has them) and ``info["system_id"]``.
        Where the file names no system, every frame is a system of its own.

    Raises
    ------
    HpoptError
        When the file is missing, empty, truncated or unreadable, or a frame fails a check.
    """
    import ase.io
    from ase.io.formats import UnknownFileTypeError

    path = Path(path)
    if not path.exists():
        raise HpoptError(f"{path}: no such file", remedy="check the name of the input")
    if path.is_file() and path.stat().st_size == 0:
        raise HpoptError(f"{path}: the file is empty", remedy="make or download it again")
    scale_energy, scale_length = _unit_scales(energy_unit, length_unit)
    frames = ase.io.iread(str(path), index=":")
    number = -1
    magnitudes: Thinned[FrameMagnitudes] = Thinned()
    while True:
        try:
            atoms = next(frames)
        except StopIteration:
            break
        except UnknownFileTypeError as error:
            raise HpoptError(
                f"{path}: no known structure format",
                remedy="give a file that ASE reads, such as .traj or .extxyz",
            ) from error
        except Exception as error:  # readers of some eighty formats raise whatever they like
            raise HpoptError(
                f"{path}: frame {number + 1}: cannot be read ({type(error).__name__}: {error})",
                remedy="the file is damaged, truncated or of another format; make or download it again",
            ) from error
        number += 1
        _convert(atoms, scale_energy=scale_energy, scale_length=scale_length)
        magnitudes.append(check_frame(atoms, path=path, number=number))
        atoms.info["system_id"] = str(atoms.info.get("system_id", f"{path.stem}-{number}"))
        yield atoms
    if number < 0:
        raise HpoptError(f"{path}: no frame in it", remedy="make or download it again")
    if check_units:
        check_file(magnitudes.items, path=path)


def _unit_scales(energy_unit: str, length_unit: str) -> tuple[float, float]:
    if energy_unit not in PER_EV:
        raise HpoptError(
            f"--energy-unit: {energy_unit!r} is unknown", remedy=f"use one of {', '.join(PER_EV)}"
        )
    if length_unit not in PER_ANGSTROM:
        raise HpoptError(
            f"--length-unit: {length_unit!r} is unknown", remedy=f"use one of {', '.join(PER_ANGSTROM)}"
        )
    return 1.0 / PER_EV[energy_unit], 1.0 / PER_ANGSTROM[length_unit]


def _convert(atoms: Atoms, *, scale_energy: float, scale_length: float) -> None:
    """Bring a frame's numbers to eV and Å, in place."""
    if scale_length != 1.0:
        atoms.positions *= scale_length
        atoms.cell *= scale_length
        if atoms.calc is not None:
            # a stored result belongs to the positions it was computed for; keep the two together
            atoms.calc.atoms.positions[:] = atoms.positions
            atoms.calc.atoms.cell[:] = atoms.cell
    if atoms.calc is not None:
        results = atoms.calc.results
        for key in ("energy", "free_energy"):
            if results.get(key) is not None:
                results[key] = results[key] * scale_energy
        if results.get("forces") is not None:
            results["forces"] = np.asarray(results["forces"]) * (scale_energy / scale_length)
