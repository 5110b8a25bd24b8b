"""A store's frames with AMPtorch's features in place of ours, computed once and kept beside the store."""

from __future__ import annotations

import hashlib
import json
from dataclasses import replace
from pathlib import Path

import numpy as np
from ase import Atoms
from filelock import FileLock

from hpopt_lib.amptorch.compat import COMMIT
from hpopt_lib.amptorch.descriptor import upstream_features
from hpopt_lib.errors import HpoptError
from hpopt_lib.files import atomic_path
from hpopt_lib.potential.dataset import Dataset
from hpopt_lib.progress import progress, say
from hpopt_lib.store import SplitArrays, Store


class UpstreamArrays(SplitArrays):
    """Frames whose `features` are AMPtorch's: squared order norms with a sharp cutoff, float64."""


def frames_of(arrays: SplitArrays) -> list[Atoms]:
    """The structures of some frames, without labels."""
    ends = np.cumsum(arrays.n_atoms)
    parts = [slice(int(end - n), int(end)) for end, n in zip(ends, arrays.n_atoms, strict=True)]
    return [
        Atoms(arrays.numbers[part], positions=arrays.positions[part], cell=cell, pbc=pbc)
        for part, cell, pbc in zip(parts, arrays.cells, arrays.pbc, strict=True)
    ]


def upstream_split(store: Store, split: str) -> UpstreamArrays:
    """A split of a store with AMPtorch's features.

    They are read from a file beside the store when it has been made for the same data and settings; else they
    are computed, at some thousand atoms in a second, and kept there.

    Parameters
    ----------
    store : Store
    split : str

    Returns
    -------
    UpstreamArrays

    Raises
    ------
    HpoptError
        When AMPtorch is not installed, or the kept file is damaged.
    """
    arrays = store.read(store.check_split(split))
    path = cache_path(store, split)
    if path.exists():
        return _with(arrays, _read(path, arrays))
    try:
        with FileLock(path.with_suffix(".lock")):  # workers that start together
            if not path.exists():
                features = compute(store, arrays, desc=f"AMPtorch features of {split}")
                with atomic_path(path, overwrite=True) as temporary, open(temporary, "wb") as stream:
                    np.savez(stream, features=features)
            return _with(arrays, _read(path, arrays))
    except OSError as error:
        say(f"{path.parent}: {error.strerror or error}: AMPtorch's features are not kept")
        return _with(arrays, compute(store, arrays, desc=f"AMPtorch features of {split}"))


def compute(store: Store, arrays: SplitArrays, *, desc: str) -> np.ndarray:
    """AMPtorch's features of a split, shape (n_atoms_total, n_features), float64."""
    frames = frames_of(arrays)
    elements = np.unique(arrays.numbers)
    chunks = [frames[start : start + 64] for start in range(0, len(frames), 64)]
    blocks = [upstream_features(chunk, store.settings, elements) for chunk in progress(chunks, desc=desc)]
    return np.concatenate([block for part in blocks for block in part])


def cache_path(store: Store, split: str) -> Path:
    """File beside a store that keeps the features of one split."""
    recipe = {
        "store": store.fingerprint,
        "gmp": store.settings.to_dict(),
        "split": split,
        "entry": store.header["splits"][split],
        "upstream": COMMIT,
    }
    digest = hashlib.sha256(json.dumps(recipe, sort_keys=True).encode()).hexdigest()[:12]
    return store.path.with_name(f"{store.path.name}.amptorch-{digest}.npz")


def upstream_dataset(data: Dataset, store: Store, validation: str) -> Dataset:
    """The same training and validation frames with AMPtorch's features.

    Parameters
    ----------
    data : Dataset
        From `hpopt_lib.potential.dataset.Dataset.from_store`, of all or of some training frames.
    store : Store
        Where it came from.
    validation : str
        Name of its validation split.

    Returns
    -------
    Dataset
    """
    train = upstream_split(store, store.train_split)
    if len(data.train) != len(train):
        train = _with(train.take(_rows(train, data.train)), None)
    return replace(data, train=train, validation=upstream_split(store, validation))


def _rows(whole: SplitArrays, part: SplitArrays) -> np.ndarray:
    """Indices of the frames of `part` among those of `whole`, of which they are an ordered selection."""
    keys = {key: row for row, key in enumerate(_keys(whole))}
    return np.array([keys[key] for key in _keys(part)], dtype=int)


def _keys(arrays: SplitArrays) -> list[bytes]:
    bounds = np.concatenate([[0], np.cumsum(arrays.n_atoms)])
    return [
        arrays.positions[a:b].tobytes() + arrays.numbers[a:b].tobytes() + energy.tobytes()
        for a, b, energy in zip(bounds[:-1], bounds[1:], arrays.energy, strict=True)
    ]


def _read(path: Path, arrays: SplitArrays) -> np.ndarray:
    try:
        with open(path, "rb") as stream, np.load(stream, allow_pickle=False) as archive:
            features = archive["features"]
    except OSError:
        raise
    except Exception as error:  # a damaged archive fails in zipfile, zlib or NumPy
        raise HpoptError(
            f"{path}: features: damaged ({error})", remedy="remove it; it is made again"
        ) from error
    if len(features) != len(arrays.numbers):
        raise HpoptError(
            f"{path}: features: of {len(features)} atoms, not {len(arrays.numbers)}",
            remedy="remove it; it is made again",
        )
    return features


def _with(arrays: SplitArrays, features: np.ndarray | None) -> UpstreamArrays:
    fields = vars(arrays) if features is None else {**vars(arrays), "features": features}
    return UpstreamArrays(**fields)
