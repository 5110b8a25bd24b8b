"""Write a feature store, shard after shard."""

from __future__ import annotations

import json
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import lmdb
import numpy as np

from hpopt_lib.files import remove, sync
from hpopt_lib.store.arrays import ATOM_FIELDS, FRAME_FIELDS, SplitArrays

FORMAT = "hpopt-feature-store"
#: Version 2 may hold any kind of reference, and what is shared between splits; version 1 only a linear fit.
VERSION = 2
READABLE = (1, 2)
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

    A shard is on the disk before the next one is written. What an earlier writer with the same `recipe` left
    behind is offered by :meth:`stored`, shard after shard; anything else in the file is thrown away.

    Parameters
    ----------
    path : Path
        Where to write; the caller renames it (`hpopt_lib.files.atomic_path`).
    recipe : str
        Digest of everything that the contents of a shard depend on, but for the frames themselves.
    initial_map_bytes : int
        First size of the map; doubled whenever it is full.

    Attributes
    ----------
    n_shards : int
        Shards that were added or kept so far.
    """

    def __init__(self, path: Path, *, recipe: str = "", initial_map_bytes: int = 16 * 1024 * 1024) -> None:
        self.path = path
        self.n_shards = 0
        try:
            self._env = self._open(initial_map_bytes)
            with self._env.begin() as txn:
                same = txn.get(b"recipe", b"").rstrip(b"\0") == recipe.encode()
        except lmdb.Error:  # not LMDB, or cut short
            same = False
        if not same:
            if hasattr(self, "_env"):
                self._env.close()
            remove(path)
            with _as_os_error():
                self._env = self._open(initial_map_bytes)
            self._put({"recipe": recipe.encode()})

    def _open(self, map_bytes: int) -> Any:
        return lmdb.open(str(self.path), subdir=False, map_size=map_bytes, lock=False, meminit=False)

    def stored(self) -> SplitArrays | None:
        """The next shard as an earlier writer left it, or None when there is none or it is damaged."""
        key = f"shard/{self.n_shards:08d}"
        with self._env.begin(buffers=True) as txn:
            data = txn.get(key.encode())
            if data is None:
                return None
            index = json.loads(bytes(data).rstrip(b"\0"))
            arrays = {}
            for name, spec in index["fields"].items():
                dtype = np.dtype(spec["dtype"])
                value = txn.get(f"{key}/{name}".encode())
                size = dtype.itemsize * int(np.prod(spec["shape"]))
                if value is None or len(value) < size or zlib.crc32(value[:size]) != spec["crc32"]:
                    return None
                arrays[name] = np.frombuffer(value[:size], dtype).reshape(spec["shape"]).copy()
        return SplitArrays(**arrays, info=index["info"])

    def keep(self) -> None:
        """Take the shard that :meth:`stored` gave as it is."""
        self.n_shards += 1

    def forget_rest(self) -> None:
        """Throw away all shards that were not kept."""
        with _as_os_error(), self._env.begin(write=True) as txn, txn.cursor() as cursor:
            found = cursor.set_range(f"shard/{self.n_shards:08d}".encode())
            while found and bytes(cursor.key()).startswith(b"shard/"):
                found = cursor.delete()

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
            "fields": {
                name: {"dtype": a.dtype.str, "shape": list(a.shape), "crc32": zlib.crc32(a.tobytes())}
                for name, a in arrays.items()
            },
            "info": shard.info,
        }
        items = {f"{key}/{name}": array.tobytes() for name, array in arrays.items()}
        items[key] = json.dumps(index).encode()
        self._put(items)
        self.n_shards += 1
        return self.n_shards - 1

    def finish(self, header: dict[str, Any]) -> None:
        """Write the header and put everything on the disk."""
        self.forget_rest()
        self._put({"header": json.dumps({"format": FORMAT, "version": VERSION, **header}).encode()})
        with _as_os_error():
            self._env.sync(True)
        self._env.close()
        sync(self.path)

    def abandon(self) -> None:
        """Close without a header: such a file is not a store, but the next writer may go on with it."""
        self._env.close()
