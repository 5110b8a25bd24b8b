"""Whether the magnitudes of a whole input fit the units it was declared in."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from hpopt_lib.errors import HpoptError
from hpopt_lib.units import PER_ANGSTROM, PER_EV

#: Share of the energy of the free atoms, all electrons counted, that all-electron total energies have. Real
#: molecules of C, H, N, O, F have 1.004 to 1.022; the binding makes it more than one.
ALL_ELECTRON_RANGE = (0.985, 1.04)
#: No calculation gives more than this: relativity adds some per cent in heavy atoms, binding 17 % in H₂.
MAX_ALL_ELECTRON_SHARE = 1.3
#: Root mean square force component of a whole file; thermal frames have about 1 eV/Å.
MAX_RMS_FORCE_EV_PER_ANGSTROM = 15.0
#: Shortest distance of a frame in sums of covalent radii, median over a file. Bonds have 0.8 to
#: 1.2 in every element (only noble gases more), so a file in Bohr (a factor of 1.9) or nm shows.
NEIGHBOR_DISTANCE_RANGE = (0.6, 1.4)
#: Frames after which a file is checked for the first time, so that a wrong unit shows early.
FIRST_CHECK_FRAMES = 256

REMEDY = "declare the file's units (--energy-unit, --length-unit) or, if they are right, pass --no-unit-check"


@dataclass
class FrameMagnitudes:
    """What the unit check of a file needs from one frame.

    Attributes
    ----------
    energy_ev_per_atom : float
    all_electron_share : float
        Energy over the sum of `free_atom_energy_ev` of its atoms.
    mean_square_force : float
        In (eV/Å)², NaN without forces.
    nearest_neighbor : float
        Shortest distance in sums of covalent radii.
    """

    energy_ev_per_atom: float
    all_electron_share: float
    mean_square_force: float
    nearest_neighbor: float


@dataclass
class MagnitudeSample:
    """Magnitudes of at most `capacity` frames, evenly spread over any number of them.

    Whenever it is full every second one is dropped, and from then on every second frame is passed over.
    """

    capacity: int = 4096
    kept: list[FrameMagnitudes] = field(default_factory=list)
    step: int = 1
    seen: int = 0

    def add(self, magnitudes: FrameMagnitudes) -> None:
        """Take in the next frame."""
        if self.seen % self.step == 0:
            self.kept.append(magnitudes)
            if len(self.kept) >= self.capacity:
                self.kept = self.kept[::2]
                self.step *= 2
        self.seen += 1


def free_atom_energy_ev(numbers: np.ndarray) -> np.ndarray:
    """Total energy of neutral free atoms with all electrons, by the statistical theory of the atom.

    E = -0.768745 Z^(7/3) + Z²/2 - 0.269900 Z^(5/3) Hartree (Thomas and Fermi, Scott, Schwinger; see
    B.-G. Englert and J. Schwinger, Phys. Rev. A 32, 26 (1985)), and -1/2 for hydrogen; within 1.5 % of
    Hartree-Fock from boron on, 6 % for the lighter.

    Parameters
    ----------
    numbers : numpy.ndarray of int
        Atomic numbers.

    Returns
    -------
    numpy.ndarray
        Energies in eV, in the shape of `numbers`.
    """
    z = np.asarray(numbers, dtype=float)
    hartree = -0.768745 * z ** (7 / 3) + 0.5 * z**2 - 0.269900 * z ** (5 / 3)
    return np.where(z == 1, -0.5, hartree) / PER_EV["Hartree"]


def check_file(
    sample: MagnitudeSample, *, path: Path, energy_unit: str = "eV", length_unit: str = "Å"
) -> None:
    """Compare the magnitudes of a whole file, after conversion, with what eV and Å allow.

    Parameters
    ----------
    sample : MagnitudeSample
    path : Path
    energy_unit, length_unit : str
        Units that the file was declared to be in.

    Raises
    ------
    HpoptError
        When energies, forces or distances cannot be in the declared units, or when the energies
        are those of all electrons in another unit.
    """
    _check_energies(sample, path, energy_unit)
    squares = [m.mean_square_force for m in sample.kept if np.isfinite(m.mean_square_force)]
    if squares and (rms := float(np.sqrt(np.mean(squares)))) > MAX_RMS_FORCE_EV_PER_ANGSTROM:
        raise HpoptError(
            f"{path}: forces: root mean square of {rms:.4g} eV/Å is too large for forces in "
            f"{energy_unit}/{length_unit}",
            remedy=REMEDY,
        )
    nearest = [m.nearest_neighbor for m in sample.kept if np.isfinite(m.nearest_neighbor)]
    low, high = NEIGHBOR_DISTANCE_RANGE
    if nearest and not low <= (ratio := float(np.median(nearest))) <= high:
        raise HpoptError(
            f"{path}: positions: the shortest bonds are {ratio:.3g} sums of covalent radii long, "
            f"outside {low} to {high}, which does not fit {length_unit}"
            + _others(ratio, length_unit, PER_ANGSTROM, NEIGHBOR_DISTANCE_RANGE),
            remedy=REMEDY,
        )


def _check_energies(sample: MagnitudeSample, path: Path, unit: str) -> None:
    share = float(np.median([m.all_electron_share for m in sample.kept]))
    energy = float(np.median([m.energy_ev_per_atom for m in sample.kept]))
    low, high = ALL_ELECTRON_RANGE
    where = f"{path}: energy: median of {energy:.4g} eV per atom"
    fits = _others(share, unit, PER_EV, ALL_ELECTRON_RANGE)
    if abs(share) > MAX_ALL_ELECTRON_SHARE:
        raise HpoptError(f"{where} is too large for {unit}{fits}", remedy=REMEDY)
    if fits and not low <= share <= high:
        raise HpoptError(f"{where} is too small for {unit}{fits}", remedy=REMEDY)


def _others(value: float, declared: str, per_unit: dict[str, float], wanted: tuple[float, float]) -> str:
    """The other units in which the same numbers would be as they ought to be, as words."""
    low, high = wanted
    found = [
        unit
        for unit, per in per_unit.items()
        if unit != declared and low <= value * per_unit[declared] / per <= high
    ]
    return f" (the numbers fit {' or '.join(found)})" if found else ""
