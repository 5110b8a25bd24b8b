"""Write LMDBs that the unmodified AMPtorch trains on, from a feature store."""

from __future__ import annotations

import importlib
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import lmdb
import numpy as np
import torch
from ase.data import chemical_symbols

from hpopt_lib.amptorch.compat import running
from hpopt_lib.amptorch.descriptor import SCHEME, columns_settings, densities_of, write_g
from hpopt_lib.amptorch.features import UpstreamArrays, upstream_split
from hpopt_lib.amptorch.pickles import write_pickle
from hpopt_lib.amptorch.trainer import scale_data, upstream_data
from hpopt_lib.errors import HpoptError
from hpopt_lib.files import atomic_path
from hpopt_lib.progress import progress
from hpopt_lib.store import Store

DTYPES = {"float32": torch.float32, "float64": torch.float64}
#: Bytes that a file may take at most; LMDB reserves addresses for it, no disk.
MAP_SIZE = 1 << 40


def write_amptorch_lmdbs(
    store: Store,
    out_dir: str | Path,
    *,
    splits: Sequence[str] | None = None,
    dtype: str = "float64",
    overwrite: bool = False,
) -> list[Path]:
    """Write splits of a store as LMDBs of AMPtorch, with AMPtorch's features and total energies in eV.

    Parameters
    ----------
    store : Store
    out_dir : path
        Gets ``SPLIT.lmdb`` for each split and the densities' ``.g`` files, which the LMDBs name by their
        absolute paths: leave the folder where it is.
    splits : sequence of str, optional
        All by default. Scales come from the training split, which is always read.
    dtype : {"float64", "float32"}
        For AMPtorch's ``torch.DoubleTensor`` or ``torch.FloatTensor``.
    overwrite : bool

    Returns
    -------
    list of Path

    Raises
    ------
    HpoptError
        For an unknown split or type, existing files, or when AMPtorch is not installed.
    """
    if dtype not in DTYPES:
        raise HpoptError(f"--dtype: {dtype!r} is unknown", remedy=f"use {' or '.join(DTYPES)}")
    splits = [store.check_split(split) for split in splits or store.splits]
    out_dir = Path(out_dir).absolute()
    paths = [out_dir / f"{split}.lmdb" for split in splits]
    if existing := [path for path in paths if path.exists() and not overwrite]:
        raise HpoptError(
            f"{existing[0]}: output exists already", remedy="choose another folder or pass --overwrite"
        )
    arrays = {split: upstream_split(store, split) for split in {store.train_split, *splits}}
    setup = _setup(store, out_dir / "densities", arrays)
    with running() as amptorch:
        torch.set_default_dtype(DTYPES[dtype])
        train = _frames(arrays[store.train_split], DTYPES[dtype])
        feature_scaler, target_scaler = scale_data(amptorch, train)
        for split, path in zip(splits, paths, strict=True):
            frames = train
            if split != store.train_split:
                frames = _frames(arrays[split], DTYPES[dtype])
                feature_scaler.norm(frames, disable_tqdm=True)
                target_scaler.norm(frames, disable_tqdm=True)
            meta = {
                "feature_scaler": feature_scaler,
                "target_scaler": target_scaler,
                "length": len(frames),
                "descriptor_setup": setup,
                "elements": setup[-1],
            }
            with atomic_path(path, overwrite=overwrite) as temporary:
                _write(temporary, frames, meta)
    return paths


def _setup(store: Store, folder: Path, arrays: dict[str, UpstreamArrays]) -> tuple:
    folder.mkdir(parents=True, exist_ok=True)
    numbers = sorted({int(z) for part in arrays.values() for z in np.unique(part.numbers)})
    densities = densities_of(store.settings)
    files = {chemical_symbols[z]: str(write_g(densities[z], folder)) for z in numbers}
    parameters = columns_settings(store.settings, np.arange(store.settings.num_features))
    return SCHEME, {**parameters, "atom_gaussians": files}, {}, list(files)


def _frames(arrays: UpstreamArrays, dtype: torch.dtype) -> list[Any]:
    return upstream_data(
        importlib.import_module("torch_geometric.data").Data,
        features=arrays.features,
        numbers=arrays.numbers,
        n_atoms=arrays.n_atoms,
        energy=arrays.energy,
        dtype=dtype,
    )


def _write(path: Path, frames: list[Any], meta: dict[str, Any]) -> None:
    with lmdb.open(str(path), subdir=False, map_size=MAP_SIZE, lock=False, meminit=False) as env:
        with env.begin(write=True) as txn:
            for index, frame in enumerate(progress(frames, desc=f"write {path.name}", unit="frame")):
                txn.put(str(index).encode("ascii"), write_pickle(frame))
            for key, value in meta.items():
                txn.put(key.encode("ascii"), write_pickle(value))
        env.sync(True)
