"""What a frame must satisfy before anything is computed from it."""

from __future__ import annotations

import hashlib

import numpy as np
from ase import Atoms
from ase.data import covalent_radii

from hpopt_lib.data.unit_checks import FrameMagnitudes, free_atom_energy_ev
from hpopt_lib.errors import HpoptError

#: Å³; hydrogen at the highest pressures has about 1. Also keeps the search for pairs finite.
MIN_VOLUME_PER_ATOM = 0.5
#: Å. Beyond some 10⁵ Å the search for neighbours ends the whole process (a division by zero in vesin 0.6).
MAX_EXTENT = 1.0e5


def check_frame(atoms: Atoms, *, where: str) -> FrameMagnitudes:
    """Check one frame in eV and Å and return its magnitudes.

    Parameters
    ----------
    atoms : ase.Atoms
    where : str
        File and frame, with which the message of an error begins.

    Raises
    ------
    HpoptError
        For a frame without atoms, with an unknown element, with positions, an energy or
        forces that are missing or not finite, or with coinciding atoms.
    """
    if len(atoms) == 0:
        raise HpoptError(f"{where}: atoms: there is none", remedy="remove the frame")
    unknown = (atoms.numbers < 1) | (atoms.numbers >= len(covalent_radii))
    if unknown.any():
        atom = int(np.argmax(unknown))
        raise HpoptError(
            f"{where}: element: atom {atom} has no known element (number {atoms.numbers[atom]})",
            remedy="remove the frame",
        )
    if not np.isfinite(atoms.positions).all():
        raise HpoptError(f"{where}: positions: not all are finite", remedy="remove the frame")
    if not np.isfinite(atoms.cell.array).all():
        raise HpoptError(f"{where}: cell: not all numbers are finite", remedy="remove the frame")
    extent = max(float(np.abs(atoms.positions).max()), float(np.abs(atoms.cell.array).max()))
    if extent > MAX_EXTENT:
        raise HpoptError(
            f"{where}: positions: atoms or cell reach to {extent:.3g} Å", remedy="remove or correct the frame"
        )
    vectors = atoms.cell.array[atoms.pbc]
    if np.linalg.matrix_rank(vectors, tol=1e-6) < len(vectors):
        raise HpoptError(f"{where}: cell: periodic, but its volume is zero", remedy="set a cell or pbc=False")
    if atoms.pbc.all() and (volume := atoms.cell.volume / len(atoms)) < MIN_VOLUME_PER_ATOM:
        raise HpoptError(
            f"{where}: cell: {volume:.3g} Å³ for each atom is less than matter has",
            remedy="declare the unit with --length-unit, or correct the cell",
        )
    results = atoms.calc.results if atoms.calc is not None else {}
    energy = results.get("energy")
    if energy is None:
        raise HpoptError(f"{where}: energy: missing", remedy="store total energies with the structures")
    if not np.isfinite(energy):
        raise HpoptError(f"{where}: energy: {energy} is not a finite number", remedy="remove the frame")
    forces = results.get("forces")
    if forces is not None and not np.isfinite(forces).all():
        raise HpoptError(f"{where}: forces: not all are finite", remedy="remove the frame")
    nearest, in_radii = nearest_neighbor(atoms)
    if nearest < 0.05:
        raise HpoptError(
            f"{where}: positions: two atoms are {nearest:.3f} Å apart",
            remedy="remove the frame, or declare its unit with --length-unit",
        )
    return FrameMagnitudes(
        energy_ev_per_atom=float(energy) / len(atoms),
        all_electron_share=float(energy) / float(free_atom_energy_ev(atoms.numbers).sum()),
        mean_square_force=float(np.mean(np.square(forces))) if forces is not None else float("nan"),
        nearest_neighbor=in_radii,
    )


def nearest_neighbor(atoms: Atoms, *, cutoff: float = 6.0) -> tuple[float, float]:
    """Shortest distance between two atoms, in Å and in sums of their covalent radii.

    Infinite when no distance is below `cutoff` (Å).
    """
    from vesin import NeighborList

    points = np.ascontiguousarray(atoms.positions)
    i, j, distances = NeighborList(cutoff=cutoff, full_list=False).compute(
        points=points,
        box=np.where(atoms.pbc[:, None], atoms.cell.array, 0.0),
        periodic=atoms.pbc.copy(),
        quantities="ijd",
    )
    radii = covalent_radii[atoms.numbers]
    in_radii = distances / (radii[i.astype(int)] + radii[j.astype(int)])
    return float(distances.min(initial=np.inf)), float(in_radii.min(initial=np.inf))


def frame_digest(atoms: Atoms) -> str:
    """Digest of what a model sees of a frame: elements, positions, cell, periodicity."""
    digest = hashlib.sha256()
    for array in (atoms.numbers, atoms.positions.round(6), atoms.cell.array.round(6), atoms.pbc):
        digest.update((np.ascontiguousarray(array) + 0).tobytes())  # + 0 makes -0.0 the same as 0.0
    return digest.hexdigest()[:32]
