"""An LMDB file in memory, shared by all readers of a process, and arrays that lie in it."""

from __future__ import annotations

import os
import weakref
from pathlib import Path

import lmdb
import numpy as np

from hpopt_lib.errors import HpoptError


class MappedView:
    """Memory of the map, exposed to NumPy, that keeps the environment open while in use."""

    def __init__(self, owner: MappedFile, data: memoryview, dtype: np.dtype, shape: tuple[int, ...]) -> None:
        self._owner = owner
        start = np.frombuffer(data, dtype=np.uint8).__array_interface__["data"][0]
        self.__array_interface__ = {"version": 3, "data": (start, True), "typestr": dtype.str, "shape": shape}


class MappedFile:
    """A read-only LMDB environment and one long transaction, closed with their last user.

    LMDB opens a file only once in a process, so its users share one. A forked child goes on with
    its parent's: a finished store never changes and there is no lock, so only the map is used.
    """

    _open: weakref.WeakValueDictionary[tuple[int, int], MappedFile] = weakref.WeakValueDictionary()

    @classmethod
    def of(cls, path: Path) -> MappedFile:
        """The environment of a file, that of other readers when there are some."""
        status = path.stat()
        identity = (status.st_dev, status.st_ino)
        found = cls._open.get(identity)
        if found is None:
            found = cls._open[identity] = cls(path)
        return found

    def __init__(self, path: Path) -> None:
        self.pid = os.getpid()
        # a finished store never changes, so readers need no lock file and may share a read-only folder
        self.env = lmdb.open(str(path), subdir=False, readonly=True, lock=False, readahead=True, max_dbs=0)
        self.txn = None
        needed = (self.env.info()["last_pgno"] + 1) * self.env.stat()["psize"]
        if path.stat().st_size < needed:
            # reading past the end of the file would kill the process (SIGBUS), so this comes first
            self.env.close()
            raise HpoptError(
                f"{path}: the store is truncated: {path.stat().st_size} of {needed} bytes",
                remedy="make it again with hpopt preprocess, or copy it again",
            )
        self.txn = self.env.begin(buffers=True)

    def __del__(self) -> None:
        txn = getattr(self, "txn", None)
        if txn is not None and os.getpid() == self.pid:
            txn.abort()
            self.env.close()
