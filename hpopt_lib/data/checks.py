"""What a frame and a file must satisfy before anything is computed from them."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from ase import Atoms

from hpopt_lib.errors import HpoptError

#: Total energies beyond this are not eV for any pseudopotential or light-element code.
MAX_ABS_ENERGY_EV_PER_ATOM = 2000.0
#: Root mean square force component of a whole file; thermal frames have about 1 eV/Å.
MAX_RMS_FORCE_EV_PER_ANGSTROM = 15.0
#: Distance of an atom to its nearest neighbour, median over a file.
NEIGHBOR_DISTANCE_RANGE_ANGSTROM = (0.6, 4.0)


@dataclass
class FrameMagnitudes:
    """What the unit check of a file needs from one frame."""

    energy_ev_per_atom: float
    mean_square_force: float
    nearest_neighbor_angstrom: float


def check_frame(atoms: Atoms, *, path: Path, number: int) -> FrameMagnitudes:
    """Check one frame and return its magnitudes.

    Raises
    ------
    HpoptError
        For a frame without atoms, with an unknown element, with positions, an energy or
        forces that are missing or not finite, or with coinciding atoms.
    """
    where = f"{path}: frame {number}"
    if len(atoms) == 0:
        raise HpoptError(f"{where}: atoms: there is none", remedy="remove the frame")
    if (atoms.numbers < 1).any():
        raise HpoptError(f"{where}: element: atom {int(np.argmin(atoms.numbers))} has no known element (X)")
    if not np.isfinite(atoms.positions).all():
        raise HpoptError(f"{where}: positions: not all are finite", remedy="remove the frame")
    if atoms.pbc.any() and abs(atoms.cell.volume) < 1e-6:
        raise HpoptError(f"{where}: cell: periodic, but its volume is zero", remedy="set a cell or pbc=False")
    results = atoms.calc.results if atoms.calc is not None else {}
    energy = results.get("energy")
    if energy is None:
        raise HpoptError(f"{where}: energy: missing", remedy="store total energies with the structures")
    if not np.isfinite(energy):
        raise HpoptError(f"{where}: energy: {energy} is not a finite number", remedy="remove the frame")
    forces = results.get("forces")
    if forces is not None and not np.isfinite(forces).all():
        raise HpoptError(f"{where}: forces: not all are finite", remedy="remove the frame")
    nearest = nearest_neighbor(atoms)
    if nearest < 0.05:
        raise HpoptError(
            f"{where}: positions: two atoms are {nearest:.3f} Å apart", remedy="remove the frame"
        )
    return FrameMagnitudes(
        energy_ev_per_atom=float(energy) / len(atoms),
        mean_square_force=float(np.mean(np.square(forces))) if forces is not None else float("nan"),
        nearest_neighbor_angstrom=nearest,
    )


def nearest_neighbor(atoms: Atoms, *, cutoff: float = 4.5) -> float:
    """Shortest distance between two atoms in Å; infinite when none is below `cutoff`."""
    from vesin import NeighborList

    points = np.ascontiguousarray(atoms.positions)
    (distances,) = NeighborList(cutoff=cutoff, full_list=False).compute(
        points=points, box=np.ascontiguousarray(atoms.cell.array), periodic=atoms.pbc.copy(), quantities="d"
    )
    return float(distances.min()) if len(distances) else float("inf")


def check_file(magnitudes: list[FrameMagnitudes], *, path: Path) -> None:
    """Compare the magnitudes of a whole file with the units it was declared in.

    Raises
    ------
    HpoptError
        When energies, forces or distances cannot be in eV, eV/Å and Å.
    """
    remedy = (
        "declare the file's units (--energy-unit, --length-unit) or, if they are right, pass --no-unit-check"
    )
    energy = float(np.median([abs(m.energy_ev_per_atom) for m in magnitudes]))
    if energy > MAX_ABS_ENERGY_EV_PER_ATOM:
        raise HpoptError(
            f"{path}: energy: median of {energy:.4g} eV per atom is too large for eV", remedy=remedy
        )
    squares = [m.mean_square_force for m in magnitudes if np.isfinite(m.mean_square_force)]
    if squares and (rms := float(np.sqrt(np.mean(squares)))) > MAX_RMS_FORCE_EV_PER_ANGSTROM:
        raise HpoptError(
            f"{path}: forces: root mean square of {rms:.4g} eV/Å is too large for eV/Å", remedy=remedy
        )
    nearest = [m.nearest_neighbor_angstrom for m in magnitudes if np.isfinite(m.nearest_neighbor_angstrom)]
    low, high = NEIGHBOR_DISTANCE_RANGE_ANGSTROM
    if nearest and not low <= (distance := float(np.median(nearest))) <= high:
        raise HpoptError(
            f"{path}: positions: nearest neighbours are {distance:.3g} Å apart, outside {low} to {high} Å",
            remedy=remedy,
        )


def frame_digest(atoms: Atoms) -> str:
    """Digest of what a model sees of a frame: elements, positions, cell, periodicity."""
    digest = hashlib.sha256()
    for array in (atoms.numbers, atoms.positions.round(6), atoms.cell.array.round(6), atoms.pbc):
        digest.update(np.ascontiguousarray(array).tobytes())
    return digest.hexdigest()[:32]
