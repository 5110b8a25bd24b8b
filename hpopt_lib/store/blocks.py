"""Read a split block after block, so that memory does not grow with the file."""

from __future__ import annotations

import copy
from collections.abc import Iterator, Sequence
from contextlib import contextmanager

import numpy as np

from hpopt_lib.store.arrays import SplitArrays
from hpopt_lib.store.reader import Store


class Blocks:
    """The blocks (shards) of one split.

    Pages of a mapped file that were read count as memory of the process until they are unmapped. Here the
    file is mapped for one block and let go of again; the operating system keeps what was read in its cache as
    long as nobody needs the room. (Arrays of the same file that are in use elsewhere in this process keep it
    mapped.)

    Parameters
    ----------
    store : Store
        Is let go of (`Store.release`).
    split : str

    Attributes
    ----------
    n_frames, n_atoms : int
        Of the whole split.
    """

    def __init__(self, store: Store, split: str) -> None:
        entry = store.header["splits"][store.check_split(split)]
        self.path = store.path
        self._first, self._n_blocks = int(entry["first_shard"]), int(entry["n_shards"])
        self.n_frames, self.n_atoms = int(entry["n_frames"]), int(entry["n_atoms"])
        self._store = copy.copy(store)  # goes on when the caller closes its own
        store.release()
        self._store.release()

    def __len__(self) -> int:
        return self._n_blocks

    @contextmanager
    def open(self, block: int) -> Iterator[SplitArrays]:
        """The arrays of a block, in the file's memory map; they must not be used after the ``with`` block.

        Raises
        ------
        HpoptError
            When the file is damaged, or was replaced since the store was opened.
        """
        try:
            yield self._store.shard(self._first + block)
        finally:
            self._store.release()

    def copies(self, names: Sequence[str]) -> Iterator[dict[str, np.ndarray]]:
        """Copies of some arrays of one block after the other, such as energies without features."""
        for block in range(len(self)):
            with self.open(block) as arrays:
                copied = {name: np.array(getattr(arrays, name)) for name in names}
                del arrays
            yield copied


def read_frames(store: Store, split: str, frames: np.ndarray) -> SplitArrays:
    """Some frames of a split, without the memory of the others.

    Parameters
    ----------
    store : Store
        Is let go of (`Store.release`).
    split : str
    frames : numpy.ndarray of int
        Sorted numbers of frames in the split.
    """
    blocks, parts, start = Blocks(store, split), [], 0
    for block in range(len(blocks)):
        with blocks.open(block) as arrays:
            low, high = np.searchsorted(frames, [start, start + len(arrays)])
            if high > low:
                parts.append(arrays.take(frames[low:high] - start))
            start += len(arrays)
            del arrays
    return SplitArrays.joined(parts)
