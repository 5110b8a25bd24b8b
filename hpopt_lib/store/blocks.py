"""Read a split block after block, so that memory does not grow with the file."""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np

from hpopt_lib.errors import HpoptError
from hpopt_lib.store.arrays import SplitArrays
from hpopt_lib.store.reader import Store


class Blocks:
    """The blocks (shards) of one split.

    Pages of a mapped file that were read count as memory of the process until they are unmapped. Here the
    store is opened for one block and closed again, so that what was read is let go of; the operating system
    keeps it in its cache as long as nobody needs the room. (Another `Store` of the same file that is open in
    this process keeps the pages.)

    Parameters
    ----------
    path : str or Path
        Of the store.
    split : str

    Attributes
    ----------
    n_frames, n_atoms : int
        Of the whole split.
    """

    def __init__(self, path: str | Path, split: str) -> None:
        self.path, self.split = Path(path), split
        with Store.open(path) as store:
            entry = store.header["splits"][store.check_split(split)]
        self._first, self._n_blocks = int(entry["first_shard"]), int(entry["n_shards"])
        self.n_frames, self.n_atoms = int(entry["n_frames"]), int(entry["n_atoms"])
        self._identity = _identity(self.path)

    def __len__(self) -> int:
        return self._n_blocks

    @contextmanager
    def open(self, block: int) -> Iterator[SplitArrays]:
        """The arrays of a block, in the file's memory map; they must not be used after the ``with`` block.

        Raises
        ------
        HpoptError
            When the file is damaged, or was replaced since this object was made.
        """
        if _identity(self.path) != self._identity:
            raise HpoptError(
                f"{self.path}: the store was replaced while it was in use", remedy="start the command again"
            )
        with Store.open(self.path) as store:
            yield store.shard(self._first + block)

    def copies(self, names: Sequence[str]) -> Iterator[dict[str, np.ndarray]]:
        """Copies of some arrays of one block after the other, such as energies without features."""
        for block in range(len(self)):
            with self.open(block) as arrays:
                copied = {name: np.array(getattr(arrays, name)) for name in names}
                del arrays
            yield copied


def read_frames(path: str | Path, split: str, frames: np.ndarray) -> SplitArrays:
    """Some frames of a split, without the memory of the others.

    Parameters
    ----------
    path : str or Path
        Of the store.
    split : str
    frames : numpy.ndarray of int
        Sorted numbers of frames in the split.
    """
    blocks, parts, start = Blocks(path, split), [], 0
    for block in range(len(blocks)):
        with blocks.open(block) as arrays:
            low, high = np.searchsorted(frames, [start, start + len(arrays)])
            if high > low:
                parts.append(arrays.take(frames[low:high] - start))
            start += len(arrays)
            del arrays
    return SplitArrays.joined(parts)


def _identity(path: Path) -> tuple[Any, ...]:
    try:
        status = os.stat(path)
    except OSError as error:
        raise HpoptError(f"{path}: {error.strerror}", remedy="put the store back") from error
    return status.st_dev, status.st_ino, status.st_size, status.st_mtime_ns
