"""From the gradient of a network with respect to its inputs to that with respect to the positions.

Two ways to the same result: a matrix for each frame, computed once and kept in memory, or compiled loops
over the neighbours at each step, which keep nothing. None of this is in a feature store: positions are, and
from them the matrices of a thousand molecules take a second.
"""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Protocol

import numpy as np
import torch
from ase import Atoms

from hpopt_lib.errors import HpoptError
from hpopt_lib.gmp.backends import have_numba
from hpopt_lib.gmp.features import GMPFeaturizer
from hpopt_lib.potential.model import Potential
from hpopt_lib.progress import progress
from hpopt_lib.store import SplitArrays

if TYPE_CHECKING:
    from hpopt_lib.gmp.differentiable import LinkedFeatures

#: Memory for the matrices of one split in MB, unless the environment variable `LIMIT` says another; a split
#: that needs more goes through the loops.
MATRIX_MB = 1024.0
LIMIT = "HPOPT_MATRIX_MB"


class Derivatives(Protocol):
    """Derivatives of the network's inputs with respect to the positions, for the frames of one split."""

    def pull(self, gradient: torch.Tensor, frames: np.ndarray) -> torch.Tensor:
        """Gradient with respect to the inputs of some frames' atoms -> with respect to their positions.

        Parameters
        ----------
        gradient : torch.Tensor, shape (n_atoms_of_frames, n_columns)
        frames : numpy.ndarray of int
            Frames of the split; their atoms lie in `gradient` one frame after another.

        Returns
        -------
        torch.Tensor, shape (n_atoms_of_frames, 3)
            Per Å; linear in `gradient`, and differentiable with respect to it.
        """
        ...


def derivatives_of(
    potential: Potential, arrays: SplitArrays, *, matrix_mb: float | None = None
) -> Derivatives:
    """The quicker way that fits into the memory.

    Parameters
    ----------
    potential : Potential
        Its features, scaler and columns count, and the type and device of its network.
    arrays : SplitArrays
        Positions, cells and raw features of the frames.
    matrix_mb : float, optional
        Largest memory in MB for matrices; by default what the environment variable ``HPOPT_MATRIX_MB`` says,
        or 1024.

    Raises
    ------
    HpoptError
        numba is not installed, or the variable holds no number.
    """
    if not have_numba():
        raise HpoptError(
            "force_weight: training on forces needs numba, which is not installed",
            remedy="pip install numba, or set force_weight to 0",
        )
    limit = memory_limit_mb() if matrix_mb is None else matrix_mb
    if matrix_megabytes(potential, arrays) <= limit:
        return MatrixDerivatives(potential, arrays)
    return LoopDerivatives(potential, arrays)


def memory_limit_mb() -> float:
    """What the matrices of one split may take, in MB."""
    text = os.environ.get(LIMIT) or str(MATRIX_MB)
    try:
        return float(text)
    except ValueError:
        raise HpoptError(f"{LIMIT}: {text!r} is not a number", remedy="give megabytes") from None


def matrix_megabytes(potential: Potential, arrays: SplitArrays) -> float:
    """Memory of the matrices of a split, which grows with the square of the atoms of a frame."""
    numbers = 3.0 * float((arrays.n_atoms.astype(float) ** 2).sum()) * len(potential.columns)
    return numbers * (8 if potential.dtype == torch.float64 else 4) / 1e6


class MatrixDerivatives:
    """One matrix for each frame, (3 n_atoms, n_atoms * n_columns), in the type of the network.

    Frames of the same number of atoms lie in one array, so that a batch is one product for each size.
    """

    def __init__(self, potential: Potential, arrays: SplitArrays) -> None:
        from hpopt_lib.gmp.jacobian import feature_jacobian

        featurizer, slope = GMPFeaturizer(potential.gmp), _slope(potential, arrays.features)
        starts, columns = _starts(arrays), potential.columns
        self._size, self._row = arrays.n_atoms.astype(int), np.zeros(len(arrays), dtype=int)
        self._matrices: dict[int, torch.Tensor] = {}
        for size in np.unique(self._size).tolist():
            members = np.flatnonzero(self._size == size)
            self._row[members] = np.arange(len(members))
            shape = (len(members), 3 * size, size * len(columns))
            self._matrices[size] = torch.empty(shape, dtype=potential.dtype)
        for frame in progress(range(len(arrays)), desc="derivatives of the features", unit="frame"):
            atoms = slice(starts[frame], starts[frame + 1])
            numbers = arrays.numbers[atoms].astype(np.int64)
            matrix = feature_jacobian(
                featurizer, arrays.positions[atoms], numbers, arrays.cells[frame], arrays.pbc[frame]
            )[..., columns]
            matrix *= slope[atoms][:, None, None]
            target = self._matrices[int(self._size[frame])][self._row[frame]]
            target.copy_(torch.from_numpy(matrix.transpose(1, 2, 0, 3).reshape(target.shape)))
        self._matrices = {size: stack.to(potential.device) for size, stack in self._matrices.items()}

    def pull(self, gradient: torch.Tensor, frames: np.ndarray) -> torch.Tensor:
        """See `Derivatives`."""
        sizes = self._size[frames]
        ends = np.cumsum(sizes)
        parts, places = [], []
        for size in np.unique(sizes).tolist():
            members = np.flatnonzero(sizes == size)
            rows = torch.from_numpy(self._row[frames[members]]).to(gradient.device)
            matrices = self._matrices[size][rows]
            place = ((ends - sizes)[members][:, None] + np.arange(size)).ravel()
            chosen = gradient if len(members) == len(frames) else gradient[_index(place, gradient)]
            product = torch.bmm(matrices, chosen.reshape(len(members), -1, 1))
            parts.append(product.reshape(-1, 3))
            places.append(place)
        if len(parts) == 1:
            return parts[0]
        return torch.cat(parts)[_index(np.argsort(np.concatenate(places)), gradient)]


class LoopDerivatives:
    """Neighbours are looked up, and sums over them taken, whenever a batch needs them; nothing is kept."""

    def __init__(self, potential: Potential, arrays: SplitArrays) -> None:
        self._featurizer, self._potential = GMPFeaturizer(potential.gmp), potential
        self._arrays, self._starts = arrays, _starts(arrays)

    def pull(self, gradient: torch.Tensor, frames: np.ndarray) -> torch.Tensor:
        """See `Derivatives`."""
        from hpopt_lib.gmp.differentiable import LinkedFeatures

        linked: LinkedFeatures = LinkedFeatures(self._featurizer, structures_of(self._arrays, frames))
        atoms = np.concatenate([np.arange(self._starts[k], self._starts[k + 1]) for k in frames])
        slope = torch.from_numpy(_slope(self._potential, self._arrays.features[atoms]))
        raw = gradient.to("cpu", torch.float64) * slope
        wide = raw.new_zeros(len(raw), self._featurizer.settings.num_features)
        wide = wide.index_copy(1, torch.from_numpy(self._potential.columns), raw)
        return linked.pull(wide).to(gradient.device, gradient.dtype)


def structures_of(arrays: SplitArrays, frames: np.ndarray) -> list[Atoms]:
    """Elements, positions and cells of some frames, without results and constraints."""
    starts = _starts(arrays)
    return [
        Atoms(
            arrays.numbers[starts[frame] : starts[frame + 1]],
            arrays.positions[starts[frame] : starts[frame + 1]],
            cell=arrays.cells[frame],
            pbc=arrays.pbc[frame],
        )
        for frame in frames
    ]


def _index(places: np.ndarray, like: torch.Tensor) -> torch.Tensor:
    return torch.from_numpy(places).to(like.device)


def _starts(arrays: SplitArrays) -> np.ndarray:
    return np.concatenate([[0], np.cumsum(arrays.n_atoms.astype(np.int64))])


def _slope(potential: Potential, features: np.ndarray) -> np.ndarray:
    """Derivative of the network's inputs with respect to the raw features, (n_atoms, n_columns)."""
    return potential.scaler.select(potential.columns).slope(features[:, potential.columns])
