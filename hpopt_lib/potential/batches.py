"""Batches of frames for a training: frames held in memory, and the mini-batches drawn from them."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol

import numpy as np
import torch

from hpopt_lib.metrics import energy_metrics

if TYPE_CHECKING:
    from hpopt_lib.potential.dataset import Dataset
    from hpopt_lib.potential.model import Potential, Prepared
    from hpopt_lib.store import SplitArrays

#: The error that early stopping, pruning and tuning look at, on the validation split.
OBJECTIVE = "energy_mae_mev_per_atom"


@dataclass(frozen=True)
class Batch:
    """Frames of one step of the optimiser.

    Attributes
    ----------
    inputs : torch.Tensor, shape (n_atoms_total, n_columns)
        Standardised features.
    frame_of_atom : torch.Tensor of int64, shape (n_atoms_total,)
    n_atoms : torch.Tensor of int64, shape (n_frames,)
    targets : torch.Tensor, shape (n_frames,)
        Energy per atom over the references, in units of its spread.
    frames : numpy.ndarray of int, shape (n_frames,)
    atoms : torch.Tensor of int64, shape (n_atoms_total,)
        Numbers of the frames, and of their atoms, among those that are held in memory.
    """

    inputs: torch.Tensor
    frame_of_atom: torch.Tensor
    n_atoms: torch.Tensor
    targets: torch.Tensor
    frames: np.ndarray
    atoms: torch.Tensor

    def __len__(self) -> int:
        return len(self.targets)


class Batches(Protocol):
    """What a training asks of its data: `MemoryBatches`, or `StreamedBatches` of the module streaming."""

    n_frames: int

    def epoch(self, rng: np.random.Generator, batch_size: int) -> Iterator[Batch]:
        """All training frames once, in an order drawn from `rng`."""

    def validation_error(self) -> float:
        """The `OBJECTIVE` of the potential as it is now; NaN when a prediction is not finite."""


class FrameBuffer:
    """Frames held in memory.

    Parameters
    ----------
    inputs : torch.Tensor, shape (n_atoms_total, n_columns)
    targets : torch.Tensor, shape (n_frames,)
    n_atoms : numpy.ndarray of int64, shape (n_frames,)
    """

    def __init__(self, inputs: torch.Tensor, targets: torch.Tensor, n_atoms: np.ndarray) -> None:
        self.inputs, self.targets, self.n_atoms = inputs, targets, n_atoms
        self._counts = torch.from_numpy(n_atoms).to(inputs.device)
        self._offsets = np.concatenate([[0], np.cumsum(n_atoms)])

    def batches(self, order: np.ndarray, batch_size: int) -> Iterator[Batch]:
        """Batches of nearly one size, none larger than `batch_size`, of the frames in the given order."""
        device = self.inputs.device
        for part in np.array_split(order, -(-len(order) // batch_size)):
            atoms, frame_of_atom = atoms_of(part, self._offsets, self.n_atoms)
            atoms, frames = atoms.to(device), torch.from_numpy(part).to(device)
            yield Batch(
                self.inputs[atoms],
                frame_of_atom.to(device),
                self._counts[frames],
                self.targets[frames],
                frames=part,
                atoms=atoms,
            )


def atoms_of(
    frames: np.ndarray, offsets: np.ndarray, n_atoms: np.ndarray
) -> tuple[torch.Tensor, torch.Tensor]:
    """Indices of the atoms of some frames, and the place of each atom's frame in the batch.

    Parameters
    ----------
    frames : numpy.ndarray of int, shape (n_frames,)
    offsets, n_atoms : numpy.ndarray of int
        Of all frames: number of the first atom, and atoms.
    """
    counts = n_atoms[frames]
    frame = np.repeat(np.arange(len(frames)), counts)
    first = np.repeat(offsets[frames] - np.concatenate([[0], np.cumsum(counts)[:-1]]), counts)
    return torch.from_numpy(first + np.arange(len(frame))), torch.from_numpy(frame)


class MemoryBatches:
    """Batches of a data set that lies in memory as a whole.

    Parameters
    ----------
    data : Dataset
    potential : Potential
        Being trained, on the device where the training computes.
    """

    def __init__(self, data: Dataset, potential: Potential) -> None:
        self._validation, self._labels = potential.prepare(data.validation), data.validation
        self._potential = potential
        spread = potential.residual_spread_ev_per_atom
        targets = torch.from_numpy(data.residuals_ev_per_atom() / spread)
        self._buffer = FrameBuffer(
            potential.inputs(data.train.features),
            targets.to(potential.device, potential.dtype),
            data.train.n_atoms.astype(np.int64),
        )
        self.n_frames = len(data.train)

    def epoch(self, rng: np.random.Generator, batch_size: int) -> Iterator[Batch]:
        """See `Batches`."""
        return self._buffer.batches(rng.permutation(self.n_frames), batch_size)

    def validation_error(self) -> float:
        """See `Batches`."""
        return split_error(self._potential, self._validation, self._labels)


def split_error(potential: Potential, prepared: Prepared, arrays: SplitArrays) -> float:
    """Energy MAE on a split that was prepared for the potential, in meV/atom; NaN when not finite."""
    predicted = potential.predict(prepared)
    if not np.isfinite(predicted).all():
        return float("nan")
    return energy_metrics(arrays.energy, predicted, arrays.n_atoms)[OBJECTIVE]
