"""Training on more frames than fit into memory: blocks of a store, read in a shuffled order."""

from __future__ import annotations

from collections.abc import Iterator
from functools import cached_property
from typing import Any

import numpy as np
import torch

from hpopt_lib.errors import HpoptError
from hpopt_lib.potential.batches import OBJECTIVE, Batch, FrameBuffer
from hpopt_lib.potential.dataset import (
    LEAST_SPREAD_EV_PER_ATOM,
    Dataset,
    drawn_frames,
    dtype_of,
    validation_split,
)
from hpopt_lib.potential.memory_bound import BYTES_TO_STANDARDISE, MB, fits
from hpopt_lib.potential.model import ATOMS_AT_A_TIME, Potential
from hpopt_lib.potential.passes import RunningSpread, train_median_ev_per_atom
from hpopt_lib.potential.predictions import mean_errors
from hpopt_lib.potential.shuffling import blocks_in_memory, shuffled_groups
from hpopt_lib.store import Blocks, SplitArrays, Store

#: Counts, offsets, targets and the permutation, of a frame in the buffer.
BYTES_PER_FRAME = 48


def load_dataset(
    store: Store,
    *,
    validation: str | None = None,
    n_train: int | None = None,
    seed: int = 0,
    memory_mb: float | None = None,
) -> Dataset | StreamingDataset:
    """The data of a training: in memory when they fit, else read block after block.

    Parameters
    ----------
    store : Store
    validation, n_train, seed
        See `Dataset.from_store`.
    memory_mb : float, optional
        Most memory (in units of 2²⁰ bytes) that frames may take, above what the program and one batch take;
        everything is loaded when it is not given.

    Raises
    ------
    HpoptError
        When the store has no validation split or too few frames, or the bound does not hold two blocks.
    """
    if memory_mb is None or fits(store, memory_mb, validation=validation, n_train=n_train):
        return Dataset.from_store(store, validation=validation, n_train=n_train, seed=seed)
    return StreamingDataset(store, memory_mb=memory_mb, validation=validation, n_train=n_train, seed=seed)


class StreamingDataset:
    """What a training needs, read from the store block after block.

    Parameters
    ----------
    store : Store
    memory_mb : float
        Most memory (in units of 2²⁰ bytes) that frames take; see `load_dataset`.
    validation, n_train, seed
        See `Dataset.from_store`.

    Attributes
    ----------
    in_memory : int
        Blocks that are held, and whose frames are shuffled among each other, at a time.
    largest_frame : int
        Atoms of the largest training frame.

    Raises
    ------
    HpoptError
        When the bound is too small for one block; the message has the smallest that works.
    """

    def __init__(
        self,
        store: Store,
        *,
        memory_mb: float,
        validation: str | None = None,
        n_train: int | None = None,
        seed: int = 0,
    ) -> None:
        self.gmp, self.scaler, self.reference = store.settings, store.scaler, store.reference
        self.dtype = dtype_of(store)
        self.train = Blocks(store, store.train_split)
        self.validation = Blocks(store, validation_split(store, validation))
        self._chosen: np.ndarray | None = None
        if n_train is not None:
            self._chosen = np.zeros(self.train.n_frames, dtype=bool)
            self._chosen[drawn_frames(store, n_train, seed)] = True
        self._scan()
        self.in_memory = self._fit(memory_mb)

    def _scan(self) -> None:
        """One pass over both splits, without their features."""
        sizes, self._spread, self.largest_frame = [], RunningSpread(), 0
        starts = []
        start = 0
        for block in range(len(self.train)):
            with self.train.open(block) as arrays:
                residuals, n_atoms = self._residuals(arrays), np.array(arrays.n_atoms)
                del arrays
            starts.append(start)
            start, atoms = start + len(n_atoms), int(n_atoms.sum())
            if self._chosen is not None:
                mask = self._chosen[start - len(n_atoms) : start]
                residuals, n_atoms = residuals[mask], n_atoms[mask]
            self._spread.update(residuals)
            self.largest_frame = max(self.largest_frame, int(n_atoms.max(initial=0)))
            sizes.append((len(n_atoms), int(n_atoms.sum()), atoms))
        self._starts = np.array(starts)
        self.frames_per_block, self.atoms_per_block, whole = np.array(sizes).T
        largest = max(int(a["n_atoms"].sum()) for a in self.validation.copies(("n_atoms",)))
        self._largest_block = max(largest, int(whole.max()))

    def _fit(self, memory_mb: float) -> int:
        features, size = len(self.scaler.mean), self.dtype.itemsize
        block_bytes = self.atoms_per_block * features * size + self.frames_per_block * BYTES_PER_FRAME
        # beside the buffer: a block's pages and its inputs (for the validation), what standardises them, and
        # for every block its number, sizes and place in the permutation
        fixed = 2 * self._largest_block * features * size + len(self.train) * 64
        fixed += min(ATOMS_AT_A_TIME, self._largest_block) * features * BYTES_TO_STANDARDISE
        if self._chosen is not None:
            fixed += 9 * len(self._chosen)  # the mask, and the permutation that it was drawn with
        in_memory = blocks_in_memory(block_bytes, memory_mb * MB - fixed)
        if not in_memory:
            smallest = (fixed + int(block_bytes.max())) / MB
            raise HpoptError(
                f"--memory: {memory_mb:g} MB does not hold one block of {self.train.path}",
                remedy=f"give at least {np.ceil(10 * smallest) / 10:g}",
            )
        return min(in_memory, len(self.train))

    def residual_spread_ev_per_atom(self) -> float:
        """See `hpopt_lib.potential.dataset.Dataset`."""
        return max(self._spread.std, LEAST_SPREAD_EV_PER_ATOM)

    def _residuals(self, arrays: SplitArrays) -> np.ndarray:
        known = self.reference.of_frames(arrays.numbers, arrays.n_atoms, arrays.info)
        return (arrays.energy - known) / arrays.n_atoms.astype(np.int64)

    def batches(self, potential: Potential) -> StreamedBatches:
        """The batches of one training."""
        return StreamedBatches(self, potential)

    def labels_of(self, block: int, arrays: SplitArrays) -> tuple[np.ndarray, np.ndarray]:
        """Residuals in eV/atom of a training block's frames, and which of its frames are trained on."""
        residuals, start = self._residuals(arrays), self._starts[block]
        if self._chosen is None:
            return residuals, np.ones(len(residuals), dtype=bool)
        return residuals, self._chosen[start : start + len(residuals)]

    @cached_property
    def _median_ev_per_atom(self) -> float:
        return train_median_ev_per_atom(self.train)

    def validation_errors(self, potential: Potential) -> dict[str, Any]:
        """Mean errors of a potential and of both baselines on the validation split."""
        return mean_errors(potential, self.validation, self.reference.baseline, self._median_ev_per_atom)


class StreamedBatches:
    """Batches of one training on a `StreamingDataset`.

    The buffer is made once, for the largest group of blocks, and filled anew with every group.

    Parameters
    ----------
    data : StreamingDataset
    potential : Potential
        Being trained, on the device where the training computes.
    """

    def __init__(self, data: StreamingDataset, potential: Potential) -> None:
        self._data, self._potential = data, potential
        self.n_frames = int(data.frames_per_block.sum())
        capacity = int(np.sort(data.atoms_per_block)[::-1][: data.in_memory].sum())
        self._inputs = torch.empty(
            (capacity, len(potential.columns)), dtype=potential.dtype, device=potential.device
        )

    def epoch(self, rng: np.random.Generator, batch_size: int) -> Iterator[Batch]:
        """All training frames once; the order depends on the state of `rng` and the blocks in memory."""
        data = self._data
        for blocks, order in shuffled_groups(data.frames_per_block, data.in_memory, rng):
            if len(order):
                yield from self._filled(blocks).batches(order, batch_size)

    def _filled(self, blocks: np.ndarray) -> FrameBuffer:
        targets, counts, stop = [], [], 0
        for block in blocks:
            with self._data.train.open(block) as arrays:
                residuals, chosen = self._data.labels_of(block, arrays)
                features = arrays.features
                if not chosen.all():
                    features = features[np.repeat(chosen, arrays.n_atoms)]
                start, stop = stop, stop + len(features)
                self._potential.inputs(features, out=self._inputs[start:stop])
                targets.append(residuals[chosen] / self._potential.residual_spread_ev_per_atom)
                counts.append(np.array(arrays.n_atoms[chosen], dtype=np.int64))
                del arrays, features  # the block is let go of when nobody uses its arrays
        joined = torch.from_numpy(np.concatenate(targets))
        return FrameBuffer(
            self._inputs[:stop],
            joined.to(self._potential.device, self._potential.dtype),
            np.concatenate(counts),
        )

    def validation_error(self) -> float:
        """See `hpopt_lib.potential.batches.Batches`."""
        return mean_errors(self._potential, self._data.validation)[OBJECTIVE]
