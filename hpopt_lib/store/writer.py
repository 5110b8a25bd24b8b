"""Write a feature store, shard after shard."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import lmdb
import numpy as np

from hpopt_lib.files import sync
from hpopt_lib.store.arrays import ATOM_FIELDS, FRAME_FIELDS, SplitArrays

FORMAT = "hpopt-feature-store"
VERSION = 1
PAGE = 4096


@contextmanager
def _as_os_error() -> Iterator[None]:
    """Let a full disk or a folder without write permission look as with any other file."""
    try:
        yield
    except lmdb.MapFullError:
        raise
    except lmdb.Error as error:
        raise OSError(None, f"LMDB could not write: {error}") from error


class StoreWriter:
    """Write a feature store under a temporary name, growing the map as needed.

    Parameters
    ----------
    path : Path
        Where to write; the caller renames it (`hpopt_lib.files.atomic_path`).
    initial_map_bytes : int
        First size of the map; doubled whenever it is full.
    """

    def __init__(self, path: Path, *, initial_map_bytes: int = 16 * 1024 * 1024) -> None:
        self.path = path
        self.n_shards = 0
        with _as_os_error():
            self._env = lmdb.open(
                str(path),
                subdir=False,
                map_size=initial_map_bytes,
                lock=False,
                sync=False,
                metasync=False,
                meminit=False,
            )

    def _put(self, items: dict[str, bytes]) -> None:
        padded = {key.encode(): value + bytes(-len(value) % PAGE) for key, value in items.items()}
        while True:
            try:
                with _as_os_error(), self._env.begin(write=True) as txn:
                    for key, value in padded.items():
                        txn.put(key, value, append=False)
                return
            except lmdb.MapFullError:
                self._env.set_mapsize(2 * self._env.info()["map_size"])

    def add(self, shard: SplitArrays) -> int:
        """Append a shard; returns its number."""
        arrays = {name: np.ascontiguousarray(getattr(shard, name)) for name in (*FRAME_FIELDS, *ATOM_FIELDS)}
        key = f"shard/{self.n_shards:08d}"
        index = {
            "fields": {name: {"dtype": a.dtype.str, "shape": list(a.shape)} for name, a in arrays.items()},
            "info": shard.info,
        }
        items = {f"{key}/{name}": array.tobytes() for name, array in arrays.items()}
        items[key] = json.dumps(index).encode()
        self._put(items)
        self.n_shards += 1
        return self.n_shards - 1

    def finish(self, header: dict[str, Any]) -> None:
        """Write the header and put everything on the disk."""
        self._put({"header": json.dumps({"format": FORMAT, "version": VERSION, **header}).encode()})
        with _as_os_error():
            self._env.sync(True)
        self._env.close()
        sync(self.path)

    def abandon(self) -> None:
        """Close without a header: such a file is not a store."""
        self._env.close()
