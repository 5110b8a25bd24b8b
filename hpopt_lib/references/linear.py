"""Per-element linear reference energies and other baselines that a model must beat."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from hpopt_lib.errors import HpoptError

MAX_Z = 119
LINEAR = "per-element linear fit"


def composition(numbers: np.ndarray, n_atoms: np.ndarray) -> np.ndarray:
    """Count the atoms of every element in every frame.

    Parameters
    ----------
    numbers : numpy.ndarray of int, shape (n_atoms_total,)
        Atomic numbers, frame after frame.
    n_atoms : numpy.ndarray of int, shape (n_frames,)

    Returns
    -------
    numpy.ndarray, shape (n_frames, 119)
        Column z holds the number of atoms with atomic number z.
    """
    counts = np.zeros((len(n_atoms), MAX_Z))
    np.add.at(counts, (np.repeat(np.arange(len(n_atoms)), n_atoms), numbers), 1.0)
    return counts


class ReferenceSums:
    """What the fit needs of the training frames, gathered in one pass."""

    def __init__(self) -> None:
        self.n_frames, self.offset = 0, 0.0
        self.normal, self.fractions, self.moment = np.zeros((MAX_Z, MAX_Z)), np.zeros(MAX_Z), np.zeros(MAX_Z)
        self.energy = 0.0
        self.left = 0.0

    def update(self, counts: np.ndarray, energy_ev: np.ndarray, known_ev: np.ndarray | float = 0.0) -> None:
        """Take in some frames.

        Parameters
        ----------
        counts : numpy.ndarray, shape (n_frames, 119)
            Their `composition`.
        energy_ev : numpy.ndarray, shape (n_frames,)
            Total energies in eV.
        known_ev : numpy.ndarray, shape (n_frames,), or float
            What a reference other than this fit explains of them, in eV.
        """
        n_atoms = counts.sum(axis=1)
        fractions, per_atom = counts / n_atoms[:, None], energy_ev / n_atoms
        if not self.n_frames and len(per_atom):
            self.offset = float(per_atom.mean())  # energies are large beside their differences
        self.n_frames += len(counts)
        self.normal += fractions.T @ fractions
        self.fractions += fractions.sum(axis=0)
        self.moment += fractions.T @ (per_atom - self.offset)
        self.energy += float((per_atom - self.offset).sum())
        self.left += float((per_atom - known_ev / n_atoms).sum())

    @property
    def left_ev_per_atom(self) -> float:
        """Mean over frames of what the known energies leave, in eV/atom."""
        return self.left / self.n_frames


@dataclass(frozen=True)
class LinearReference:
    """Energy of a frame as a sum of one number for each atom's element.

    Fitted by least squares on energies per atom with a small ridge towards the mean energy
    per atom, so that elements which never vary independently, or never occur, get the mean
    and not an arbitrary number.

    Attributes
    ----------
    coefficients : numpy.ndarray, shape (119,)
        Reference energy of each element in eV, indexed by atomic number.
    elements : tuple of int
        Atomic numbers that occurred in the training frames.
    rank : int
        Rank of the composition matrix; below ``len(elements)`` the single energies are not
        determined by the data, only their sums are.
    ridge : float
        Ridge relative to the mean diagonal of the normal equations.
    """

    coefficients: np.ndarray
    elements: tuple[int, ...]
    rank: int
    ridge: float

    @classmethod
    def fit(cls, counts: np.ndarray, energy_ev: np.ndarray, *, ridge: float = 1e-6) -> LinearReference:
        """Fit on training frames.

        Parameters
        ----------
        counts : numpy.ndarray, shape (n_frames, 119)
            From `composition`.
        energy_ev : numpy.ndarray, shape (n_frames,)
            Total energies in eV.
        ridge : float
            Small against 1, and not negative.

        Raises
        ------
        HpoptError
            When there are fewer than two frames.
        """
        sums = ReferenceSums()
        sums.update(counts, energy_ev)
        return cls.from_sums(sums, ridge=ridge)

    @classmethod
    def from_sums(cls, sums: ReferenceSums, *, ridge: float = 1e-6) -> LinearReference:
        """The same fit for frames that were taken in one after the other.

        Raises
        ------
        HpoptError
            When there are fewer than two frames.
        """
        if sums.n_frames < 2:
            raise HpoptError(
                f"training input: {sums.n_frames} frame: references need at least 2",
                remedy="give more training frames",
            )
        elements = np.flatnonzero(sums.fractions)
        shifted = sums.energy / sums.n_frames
        normal = sums.normal[np.ix_(elements, elements)]
        penalty = ridge * np.trace(normal) / len(elements)
        right = sums.moment[elements] - shifted * sums.fractions[elements]
        shift = np.linalg.solve(normal + penalty * np.eye(len(elements)), right)
        mean = sums.offset + shifted
        coefficients = np.full(MAX_Z, mean)
        coefficients[elements] = mean + shift
        rank = int(np.linalg.matrix_rank(normal, hermitian=True))
        return cls(coefficients, tuple(int(z) for z in elements), rank, ridge)

    @property
    def kind(self) -> str:
        """Name of this kind of reference in stores and results."""
        return LINEAR

    @property
    def label(self) -> str:
        """What energies are relative to, for a person."""
        return f"{LINEAR}: {len(self.elements)} elements, rank {self.rank}"

    @property
    def source(self) -> dict[str, str] | None:
        """The file that the numbers are from: none, they are fitted."""
        return None

    @property
    def baseline(self) -> LinearReference:
        """The linear fit of the training split, which is the linear baseline: this."""
        return self

    def energy(self, counts: np.ndarray) -> np.ndarray:
        """Reference energies in eV of frames given by their `composition`."""
        return counts @ self.coefficients

    def of_frames(
        self, numbers: np.ndarray, n_atoms: np.ndarray, info: Sequence[Mapping[str, Any]]
    ) -> np.ndarray:
        """Reference energies in eV, shape (n_frames,); see `hpopt_lib.references.kinds.Reference`."""
        return self.energy(composition(numbers, n_atoms))

    def of_atoms(self, numbers: np.ndarray, info: Mapping[str, Any]) -> np.ndarray:
        """Shares of the atoms of one frame in its reference energy, in eV, shape (n_atoms,)."""
        return self.coefficients[numbers]

    def to_dict(self) -> dict[str, Any]:
        """Settings and numbers for a JSON header."""
        return {
            "kind": LINEAR,
            "unit": "eV",
            "coefficients": {str(z): float(self.coefficients[z]) for z in self.elements},
            "other_elements": float(np.delete(self.coefficients, self.elements)[0]),
            "rank": self.rank,
            "ridge": self.ridge,
        }

    @classmethod
    def from_dict(cls, data: Mapping[str, Any]) -> LinearReference:
        """Inverse of `to_dict`."""
        coefficients = np.full(MAX_Z, float(data["other_elements"]))
        for number, value in data["coefficients"].items():
            coefficients[int(number)] = value
        elements = tuple(sorted(int(z) for z in data["coefficients"]))
        return cls(coefficients, elements, int(data["rank"]), float(data["ridge"]))


def median_baseline(
    train_energy_ev: np.ndarray, train_n_atoms: np.ndarray, n_atoms: np.ndarray
) -> np.ndarray:
    """Predict the median training energy per atom for every atom of a frame.

    Parameters
    ----------
    train_energy_ev, train_n_atoms : numpy.ndarray, shape (n_train,)
    n_atoms : numpy.ndarray, shape (n_frames,)

    Returns
    -------
    numpy.ndarray, shape (n_frames,)
        Total energies in eV. For frames of one composition this is their median energy.
    """
    return np.median(train_energy_ev / train_n_atoms) * np.asarray(n_atoms, dtype=float)
