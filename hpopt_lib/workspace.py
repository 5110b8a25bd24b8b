"""Stores of the embedded sets, made once and shared by the chapters and the tests."""

from __future__ import annotations

import hashlib
import json
import os
import tempfile
from pathlib import Path

from filelock import FileLock

import hpopt_lib
from hpopt_lib.data import embedded
from hpopt_lib.gmp.settings import GMPSettings
from hpopt_lib.inputs import Input
from hpopt_lib.preprocess import preprocess
from hpopt_lib.store import Store
from hpopt_lib.store.writer import VERSION


def work_folder() -> Path:
    """Folder for what can be made again: ``$HPOPT_WORK``, else ``_build/work`` below this folder."""
    folder = Path(os.environ.get("HPOPT_WORK", "_build/work"))
    folder.mkdir(parents=True, exist_ok=True)
    return folder


def _digest(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()


def embedded_store(
    name: str = "oc20-like", *, settings: GMPSettings | None = None, stride: int = 1, dtype: str = "float32"
) -> Store:
    """The feature store of an embedded data set, made when it is not there yet.

    Processes that ask at the same time wait for the first.

    Parameters
    ----------
    name : {"oc20-like", "ethanol-like"}
    settings : GMPSettings, optional
        The defaults when not given.
    stride : int
        Use every so many-th frame of every split only; systems stay apart.
    dtype : {"float32", "float64"}

    Returns
    -------
    Store

    Examples
    --------
    >>> embedded_store("oc20-like").splits  # doctest: +SKIP
    ['train', 'val_id', 'val_ood_ads', 'val_ood_cat', 'val_ood_both']
    """
    import ase.io

    settings = settings or GMPSettings()
    recipe = {
        "gmp": settings.to_dict(),
        "stride": stride,
        "dtype": dtype,
        "data": _digest(embedded.shipped_path(name)),
        "version": hpopt_lib.__version__,
        "store": VERSION,
    }
    key = hashlib.sha256(json.dumps(recipe, sort_keys=True).encode()).hexdigest()[:12]
    path = work_folder() / f"{name}-{key}.lmdb"
    with FileLock(path.with_suffix(".lock")):
        if not path.exists():
            with tempfile.TemporaryDirectory(dir=work_folder()) as folder:
                inputs = []
                for split in embedded.EMBEDDED_SETS[name]:
                    file = Path(folder) / f"{split}.traj"
                    ase.io.write(file, embedded.load_embedded(name, split, stride=stride))
                    inputs.append(Input(split, file))
                preprocess(inputs, path, settings=settings, dtype=dtype, overwrite=True)
    return Store.open(path)
