"""Read a feature store in place: arrays that lie in the file's memory map."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import lmdb
import numpy as np

from hpopt_lib.errors import HpoptError
from hpopt_lib.gmp.settings import GMPSettings
from hpopt_lib.references import Reference, reference_from_dict
from hpopt_lib.references.linear import LINEAR
from hpopt_lib.scaling import FeatureScaler
from hpopt_lib.store.arrays import SplitArrays
from hpopt_lib.store.mapped import MappedFile, MappedView
from hpopt_lib.store.writer import FORMAT, READABLE

HEADER_KEYS = {
    "created", "hpopt_version", "dtype", "units", "gmp", "splits", "scaler", "constant_features", "reference"
}  # fmt: skip


class Store:
    """Read a feature store.

    Opening is cheap and several processes may read at once; a store that is sent to another
    process is opened again there.

    Examples
    --------
    >>> store = Store.open("oc20-like.lmdb")  # doctest: +SKIP
    >>> store.splits  # doctest: +SKIP
    ['train', 'val_id']
    >>> store.read("val_id").features.shape  # doctest: +SKIP
    (13640, 32)
    """

    def __init__(self, path: str | Path) -> None:
        self.path = Path(path)
        if not self.path.exists():
            raise HpoptError(
                f"{self.path}: no such store", remedy="make one with hpopt preprocess INPUT --out STORE"
            )
        if self.path.is_dir():
            raise HpoptError(
                f"{self.path}: a folder, not a feature store",
                remedy="give the .lmdb file that hpopt preprocess wrote",
            )
        self._closed = False
        self._environment: MappedFile | None = None
        self._identity = self._map()
        self.header = self._read_header()

    def _map(self) -> tuple[int, int]:
        """Map the file; which file it is."""
        try:
            status = self.path.stat()
            self._environment = MappedFile.of(self.path)
        except (OSError, lmdb.Error) as error:
            raise HpoptError(
                f"{self.path}: not a readable LMDB file ({error})",
                remedy="make the store again with hpopt preprocess",
            ) from error
        return status.st_dev, status.st_ino

    @classmethod
    def open(cls, path: str | Path) -> Store:
        """Open a store.

        Raises
        ------
        HpoptError
            For a file that is missing, truncated, not LMDB, not a feature store or of
            another format version.
        """
        return cls(path)

    def __reduce__(self):
        return Store, (self.path,)

    def __enter__(self) -> Store:
        return self

    def __exit__(self, *exc: object) -> None:
        self.close()

    def close(self) -> None:
        """Let go of the file; it is unmapped when the last array that uses it is gone."""
        self._closed, self._environment = True, None

    def release(self) -> None:
        """Let go of the file until it is read again: pages that were read count as memory of the process.

        Raises
        ------
        HpoptError
            From the next reading, when the file was replaced in between.
        """
        self._environment = None

    def _get(self, key: str) -> memoryview | None:
        if self._closed:
            raise HpoptError(f"{self.path}: the store is closed", remedy="open it again")
        if self._environment is None and self._map() != self._identity:
            self.close()
            raise HpoptError(
                f"{self.path}: the store was replaced while it was in use", remedy="start the command again"
            )
        assert self._environment is not None and self._environment.txn is not None
        try:
            return self._environment.txn.get(key.encode())
        except lmdb.Error as error:
            raise self._damaged(key, error) from error

    def _damaged(self, key: str, reason: object) -> HpoptError:
        return HpoptError(f"{self.path}: {key}: {reason}", remedy="the store is damaged; make it again")

    def _json(self, key: str) -> dict[str, Any]:
        data = self._get(key)
        if data is None:
            raise self._damaged(key, "missing")
        try:
            return json.loads(bytes(data).rstrip(b"\0"))
        except ValueError as error:
            raise self._damaged(key, error) from error

    def _read_header(self) -> dict[str, Any]:
        foreign = HpoptError(
            f"{self.path}: an LMDB file, but not a feature store of hpopt",
            remedy="make a store with hpopt preprocess INPUT --out STORE",
        )
        data = self._get("header")
        if data is None:
            raise foreign
        try:
            header = json.loads(bytes(data).rstrip(b"\0"))
        except (UnicodeDecodeError, json.JSONDecodeError):
            raise foreign from None
        if not isinstance(header, dict) or header.get("format") != FORMAT:
            raise foreign
        if header.get("version") not in READABLE:
            raise HpoptError(
                f"{self.path}: format version {header.get('version')}, "
                f"this hpopt reads versions {' and '.join(map(str, READABLE))}",
                remedy="make the store again with hpopt preprocess, or install the hpopt that wrote it",
            )
        if missing := HEADER_KEYS - header.keys():
            raise self._damaged("header", f"lacks {', '.join(sorted(missing))}")
        return header

    @property
    def splits(self) -> list[str]:
        """Names of the splits; the first is the training split."""
        return list(self.header["splits"])

    @property
    def train_split(self) -> str:
        """The split that scalers and references were fitted on."""
        return self.splits[0]

    @property
    def fingerprint(self) -> str:
        """Digest of what the store holds, the same for copies and for stores made again.

        Frames are represented by their number, elements and fitted reference energies; the
        last digits of computed numbers, which differ between machines, do not count.
        """
        header = self.header
        kept = ("n_frames", "n_atoms", "elements")
        content = {
            "splits": {split: {key: entry[key] for key in kept} for split, entry in header["splits"].items()},
            "reference": {z: f"{e:.6g}" for z, e in header["reference"]["coefficients"].items()},
            **{key: header[key] for key in ("gmp", "dtype")},
        }
        if (kind := header["reference"]["kind"]) != LINEAR:  # so that fingerprints of older stores stay
            content["reference_kind"] = kind
        return hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()[:16]

    @property
    def settings(self) -> GMPSettings:
        """Featurisation settings."""
        return GMPSettings.from_dict(self.header["gmp"])

    @property
    def scaler(self) -> FeatureScaler:
        """Feature scaler of the training split."""
        return FeatureScaler.from_dict(self.header["scaler"])

    @property
    def reference(self) -> Reference:
        """What energies are relative to while a potential is trained."""
        return reference_from_dict(self.header["reference"])

    def validation_splits(self) -> list[str]:
        """All splits but the training split."""
        return self.splits[1:]

    def check_split(self, split: str) -> str:
        """Return `split`, or raise when the store has no such split."""
        if split not in self.header["splits"]:
            raise HpoptError(f"{self.path}: no split {split!r}", remedy=f"it has {', '.join(self.splits)}")
        return split

    def shards(self, split: str) -> Iterator[SplitArrays]:
        """Give the shards of a split, with read-only arrays that lie in the file's map.

        Nothing is copied; memory is the system's page cache.
        """
        entry = self.header["splits"][self.check_split(split)]
        for number in range(entry["first_shard"], entry["first_shard"] + entry["n_shards"]):
            yield self.shard(number)

    def shard(self, number: int) -> SplitArrays:
        """One shard by its number in the file, with read-only arrays that lie in the file's map."""
        key = f"shard/{number:08d}"
        index = self._json(key)
        arrays = {name: self._array(f"{key}/{name}", spec) for name, spec in index["fields"].items()}
        return SplitArrays(**arrays, info=index["info"])

    def _array(self, key: str, spec: dict[str, Any]) -> np.ndarray:
        dtype, shape = np.dtype(spec["dtype"]), tuple(spec["shape"])
        data = self._get(key)
        if data is None or len(data) < dtype.itemsize * int(np.prod(shape)):
            raise self._damaged(key, "missing or short")
        assert self._environment is not None
        return np.asarray(MappedView(self._environment, data, dtype, shape))

    def read(self, split: str) -> SplitArrays:
        """A whole split in memory."""
        return SplitArrays.joined(list(self.shards(split)))
