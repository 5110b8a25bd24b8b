"""The data sets that come with the package: loading, writing and making them anew.

Both are synthetic: slabs with adsorbates in OC20's shape, labelled by effective-medium theory
(``oc20-like``), and ethanol on the GFN2-xTB surface (``ethanol-like``). The book's data card says
how they were made and what they cannot show.
"""

from __future__ import annotations

import json
import platform
import time
from collections.abc import Sequence
from datetime import date
from functools import cache
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np
from ase import Atoms

from hpopt_lib.data.embedded.readme import readme
from hpopt_lib.data.frames import Arrays, pack, provenance_of, read_arrays, unpack
from hpopt_lib.errors import HpoptError
from hpopt_lib.files import atomic_path, refuse_existing
from hpopt_lib.progress import progress, say

#: Splits of each embedded set; the first is for training.
EMBEDDED_SETS = {
    "oc20-like": ("train", "val_id", "val_ood_ads", "val_ood_cat", "val_ood_both"),
    "ethanol-like": ("train", "val", "test", "test_hot"),
}
#: Seed and scale of the shipped arrays.
SHIPPED_SEED, SHIPPED_SCALE = 2026, 1.0
#: At a larger scale the triples of the smallest split would run out.
MAX_SCALE = 3.0
#: Files written beside the trajectories.
_BESIDE = ("README.md", "provenance.json")


def shipped_path(name: str) -> Path:
    """Where the arrays of a set lie inside the package."""
    if name not in EMBEDDED_SETS:
        raise HpoptError(f"{name}: unknown embedded set", remedy=f"use one of {', '.join(EMBEDDED_SETS)}")
    return Path(__file__).with_name(f"{name}.npz")


@cache
def shipped_arrays(name: str) -> Arrays:
    """Arrays of a shipped set, verified; read once per process. Do not change them in place."""
    return read_arrays(shipped_path(name))


def select(
    arrays: Arrays, name: str, split: str, *, limit: int | None = None, stride: int = 1
) -> list[Atoms]:
    """Frames of one split out of arrays; parameters and errors as `load_embedded`."""
    if split not in EMBEDDED_SETS[name]:
        raise HpoptError(
            f"{name}: {split}: unknown split", remedy=f"use one of {', '.join(EMBEDDED_SETS[name])}"
        )
    if stride < 1 or (limit is not None and limit < 1):
        raise HpoptError(f"{name}: stride {stride}, limit {limit}: both must be at least 1")
    rows = np.flatnonzero(arrays["system_split"][arrays["frame_system"]] == split)
    return unpack(arrays, rows[::stride][:limit])


def load_embedded(name: str, split: str, *, limit: int | None = None, stride: int = 1) -> list[Atoms]:
    """Frames of a shipped set.

    Parameters
    ----------
    name, split : str
        A key of `EMBEDDED_SETS` and one of its splits.
    limit : int, optional
        At most this many frames, from the beginning.
    stride : int
        Every `stride`-th frame. Frames lie system by system: a stride keeps (almost) all systems,
        a limit only the first.

    Returns
    -------
    list of ase.Atoms
        With energy (eV), forces (eV/Å, constraints not applied), tags and fixed atoms as in OC20
        and, in ``info``, system_id, frame, kind and split; for ``oc20-like`` also
        adsorption_energy (eV), adsorbate, bulk and facet.

    Raises
    ------
    HpoptError
        For an unknown set or split, a limit or stride below 1, or damaged arrays.

    Examples
    --------
    >>> frames = load_embedded("ethanol-like", "train", limit=2)
    >>> len(frames), frames[0].get_chemical_formula()
    (2, 'C2H6O')
    """
    return select(shipped_arrays(name), name, split, limit=limit, stride=stride)


def generate(
    name: str, *, seed: int = SHIPPED_SEED, scale: float = SHIPPED_SCALE, processes: int = 1
) -> Arrays:
    """Make a set anew with the physics engines.

    Parameters
    ----------
    name : str
        A key of `EMBEDDED_SETS`.
    seed : int
    scale : float
        Share of the full size, at most `MAX_SCALE`. With the same seed a smaller set is a part of
        a larger one.
    processes : int
        Worker processes; they do not change the result.

    Returns
    -------
    dict of str to ndarray
        As `hpopt_lib.data.frames.pack` makes them, with provenance.

    Raises
    ------
    HpoptError
        For an unknown name, a bad seed or scale, or when tblite is missing.
    """
    shipped_path(name)
    if not 0 < scale <= MAX_SCALE:
        raise HpoptError(f"{name}: scale: {scale} is not in (0, {MAX_SCALE:g}]")
    if seed < 0:
        raise HpoptError(f"{name}: seed: {seed} is negative")
    start = time.monotonic()
    provenance: dict[str, Any] = {
        "set": name,
        "seed": seed,
        "scale": scale,
        "command": f"hpopt_lib.data.embedded.generate({name!r}, seed={seed}, scale={scale})",
        "date": date.today().isoformat(),
        "hardware": f"{platform.machine()} processor, {processes} process(es) of one thread",
        "licence": "MIT, as the repository",
        "units": {"energy": "eV", "forces": "eV/Å", "positions": "Å", "temperature": "K"},
    }
    packages = ["numpy", "ase"]
    if name == "oc20-like":
        from hpopt_lib.data import adsorption, labels

        tasks = adsorption.design(seed=seed, scale=scale)
        systems = adsorption.make_systems(tasks, seed=seed, processes=processes)
        provenance["labels"] = labels.EMT_LABELLER.name
    else:
        from hpopt_lib.data import molecules

        systems = molecules.make_walkers(molecules.walkers(), seed=seed, scale=scale, processes=processes)
        provenance["labels"] = "GFN2-xTB (tblite)"
        packages.append("tblite")
    provenance["versions"] = {
        "python": platform.python_version(),
        **{package: version(package) for package in packages},
    }
    provenance["wall_seconds"] = round(time.monotonic() - start, 1)
    return pack(systems, provenance)


def write_embedded(
    out_dir: str | Path,
    names: Sequence[str] = tuple(EMBEDDED_SETS),
    *,
    overwrite: bool = False,
    regenerate: bool = False,
    seed: int = SHIPPED_SEED,
    scale: float = SHIPPED_SCALE,
    processes: int = 1,
) -> list[Path]:
    """Write sets as ASE trajectories, one per split: ``OUT/oc20-like/train.traj`` and so on.

    A ``README.md`` and a ``provenance.json`` lie beside the trajectories of each set.

    Parameters
    ----------
    out_dir : str or Path
    names : sequence of str
        Keys of `EMBEDDED_SETS`.
    overwrite : bool
        Whether existing files may be replaced.
    regenerate : bool
        Compute the frames even when `seed` and `scale` are those of the shipped arrays.
    seed, scale, processes
        As in `generate`.

    Returns
    -------
    list of Path
        The trajectories written.

    Raises
    ------
    HpoptError
        When a file exists already, before anything is computed or written; or as `generate`.
    """
    import ase.io

    for name in names:
        shipped_path(name)
        for file_name in (*(f"{split}.traj" for split in EMBEDDED_SETS[name]), *_BESIDE):
            refuse_existing(Path(out_dir, name, file_name), overwrite=overwrite)
    written = []
    for name in names:
        if regenerate or (seed, scale) != (SHIPPED_SEED, SHIPPED_SCALE):
            arrays = generate(name, seed=seed, scale=scale, processes=processes)
        else:
            arrays = shipped_arrays(name)
            say(f"{name}: taken from the arrays shipped with the package (seed {seed}, scale {scale:g})")
        for split in progress(EMBEDDED_SETS[name], desc=f"write {name}", unit="split"):
            path = Path(out_dir, name, f"{split}.traj")
            with atomic_path(path, overwrite=overwrite) as temporary:
                ase.io.write(temporary, select(arrays, name, split), format="traj")
            written.append(path)
        provenance = provenance_of(arrays)
        texts = readme(name, provenance, arrays), json.dumps(provenance, indent=1)
        for file_name, text in zip(_BESIDE, texts):
            with atomic_path(Path(out_dir, name, file_name), overwrite=overwrite) as temporary:
                temporary.write_text(text + "\n", encoding="utf-8")
    return written
