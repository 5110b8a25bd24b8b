"""From structure files to a feature store: read, check, featurise, write."""

from __future__ import annotations

import datetime
import hashlib
import json
import platform
from collections.abc import Iterable, Iterator, Sequence
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
from ase import Atoms
from ase.data import chemical_symbols

import hpopt_lib
from hpopt_lib.data.checks import frame_digest
from hpopt_lib.data.duplicates import SeenFrames
from hpopt_lib.data.leaks import LeakLedger, leaks_record
from hpopt_lib.errors import HpoptError
from hpopt_lib.featurise import FeaturisePool, Shard, store_shards
from hpopt_lib.files import atomic_path, refuse_existing
from hpopt_lib.gmp.backends import Backend
from hpopt_lib.gmp.features import GMPFeaturizer
from hpopt_lib.gmp.settings import GMPSettings
from hpopt_lib.inputs import DUPLICATE_CHOICES, Input, InputFrames, ReadOptions, check_same_kind
from hpopt_lib.progress import progress
from hpopt_lib.references import LinearReference, Reference, ReferenceSums, composition
from hpopt_lib.references.kinds import GivenReference
from hpopt_lib.scaling import FeatureScaler
from hpopt_lib.store import StoreWriter

SHARD_FRAMES = 256


def preprocess(
    inputs: Sequence[Input],
    out: str | Path,
    *,
    settings: GMPSettings,
    dtype: str = "float32",
    feature_transform: str = "log",
    options: ReadOptions | None = None,
    processes: int = 1,
    backend: Backend | None = None,
    overwrite: bool = False,
    references: GivenReference | None = None,
    split: dict[str, Any] | None = None,
) -> dict[str, Any]:
    """Featurise structure files into one feature store.

    The first input is the training split: the feature scaler and the per-element reference energies are
    fitted on it alone. When this process is killed, the next call with the same settings goes on after the
    last shard that was stored; every stored frame is compared with the one that is read.

    Parameters
    ----------
    inputs : sequence of Input
        Training file first.
    out : str or Path
        The store; appears only when everything succeeded.
    settings : GMPSettings
    dtype : {"float32", "float64"}
        Of features and forces; energies and positions are always float64.
    feature_transform : {"log", "none"}
        Applied before standardising, see `hpopt_lib.scaling.transform`.
    options : ReadOptions, optional
    processes : int
        Processes that featurise; memory stays bounded by a few shards whatever the number of frames.
    backend : Backend, optional
        What computes the features.
    overwrite : bool
        Whether an existing store may be replaced.
    references : GivenReference, optional
        From `hpopt_lib.references.parse_reference`; a per-element linear fit by default.
    split : dict, optional
        How the inputs were split, for the header: from `hpopt_lib.split_inputs.split_record`.

    Returns
    -------
    dict
        The store's header.

    Raises
    ------
    HpoptError
        For bad input, an existing output, or a full disk; no partial store is left.
    """
    options = options or ReadOptions()
    if dtype not in ("float32", "float64"):
        raise HpoptError(f"--dtype: {dtype!r} is unknown", remedy="use float32 or float64")
    if options.duplicates not in DUPLICATE_CHOICES:
        raise HpoptError(
            f"--duplicates: {options.duplicates!r}", remedy=f"use one of {', '.join(DUPLICATE_CHOICES)}"
        )
    refuse_existing(out, overwrite=overwrite)
    files = [path for item in inputs for path, _ in item.files]
    if Path(out).resolve() in [path.resolve() for path in files]:
        raise HpoptError(f"{out}: output is also an input", remedy="choose another name for the store")
    backend = backend or Backend()
    featurizer = GMPFeaturizer(settings, backend=backend.name, dtype=backend.dtype, threads=backend.threads)
    scaler = FeatureScaler.empty(settings.num_features, kind=feature_transform)
    scaler(np.zeros((1, settings.num_features)))  # names an unknown transform before hours of work
    train = ReferenceSums()
    splits: dict[str, dict[str, Any]] = {}
    ledger = LeakLedger()
    with (
        atomic_path(out, overwrite=overwrite, resumable=True) as temporary,
        SeenFrames(temporary.with_name(f"{temporary.name}.seen")) as seen,
        FeaturisePool(processes, featurizer) as featurise,
    ):
        writer = StoreWriter(temporary, recipe=_recipe(settings, dtype, backend))
        try:
            for item in inputs:
                entry: dict[str, Any] = {"source": item.source, "first_shard": writer.n_shards}
                entry |= dict.fromkeys(
                    ("n_shards", "n_frames", "n_atoms", "with_forces", "dropped_duplicates"), 0
                )
                elements: set[int] = set()
                source = InputFrames(item, options)
                distinct = _distinct(source, seen, options.duplicates, entry, files)
                frames = _named(distinct, item.split, references, ledger)
                shards = store_shards(_shards(frames, np.dtype(dtype)), featurise, writer)
                for shard in progress(shards, desc=f"featurise {item.source}", unit="shard"):
                    if not entry["n_shards"]:
                        _check_energy_kind(splits, source.energy, item)
                    entry["n_shards"] += 1
                    entry["n_frames"] += len(shard)
                    entry["n_atoms"] += int(shard.n_atoms.sum())
                    entry["with_forces"] += int(sum(info["has_forces"] for info in shard.info))
                    elements.update(np.unique(shard.numbers).tolist())
                    if item is inputs[0]:
                        scaler.update(shard.features)
                        known = (
                            references.of_frames(shard.numbers, shard.n_atoms, shard.info)
                            if references
                            else 0.0
                        )
                        train.update(composition(shard.numbers, shard.n_atoms), shard.energy, known)
                _check_forces(entry, item)
                entry["input"] = source.record()
                if item is inputs[0] and entry["n_frames"] < 2:
                    raise HpoptError(
                        f"{item.path}: frames: one only, references need at least 2",
                        remedy="give more training frames, or name the training file first",
                    )
                entry["elements"] = [chemical_symbols[z] for z in sorted(elements)]
                splits[item.split] = entry
                if item is inputs[0]:
                    fit = LinearReference.from_sums(train)
                    reference: Reference = (
                        references.fitted(fit, train.left_ev_per_atom) if references else fit
                    )
            header = {
                "created": datetime.datetime.now(datetime.timezone.utc).isoformat(timespec="seconds"),
                "hpopt_version": hpopt_lib.__version__,
                "python": platform.python_version(),
                "dtype": dtype,
                "units": {"energy": "eV", "length": "Å", "forces": "eV/Å"},
                "input_units": {
                    "energy": splits[inputs[0].split]["input"]["energy_unit"],
                    "length": splits[inputs[0].split]["input"]["length_unit"],
                },
                "energy_kind": splits[inputs[0].split]["input"]["energy"],
                "gmp": settings.to_dict(),
                "feature_names": settings.feature_names(),
                "splits": splits,
                "scaler": scaler.to_dict(),
                "constant_features": [
                    n for n, c in zip(settings.feature_names(), scaler.constant, strict=True) if c
                ],
                "reference": reference.to_dict(),
                "split": split,
                "leaks": leaks_record(ledger, split),
            }
            writer.finish(header)
        except BaseException:
            writer.abandon()
            raise
    return header


def _recipe(settings: GMPSettings, dtype: str, backend: Backend) -> str:
    """Digest of what the numbers in a shard depend on, but for the frames."""
    parts = {
        "gmp": settings.to_dict(), "dtype": dtype, "backend": [backend.plain, backend.dtype],
        "version": hpopt_lib.__version__, "shard": SHARD_FRAMES,
    }  # fmt: skip
    return hashlib.sha256(json.dumps(parts, sort_keys=True).encode()).hexdigest()


def _check_energy_kind(splits: dict[str, dict[str, Any]], kind: str, item: Input) -> None:
    """Raw and adsorption energies are different quantities: one store holds one of them."""
    for split, other in splits.items():
        check_same_kind(kind, other["input"]["energy"], where=str(item.path), other=f"split {split!r}")


def _distinct(
    frames: Iterable[tuple[Path, int, Atoms]],
    seen: SeenFrames,
    duplicates: str,
    entry: dict[str, Any],
    files: Sequence[Path],
) -> Iterator[tuple[Path, int, Atoms]]:
    """Apply the rule for frames that occurred before."""
    for path, number, atoms in frames:
        index, where = files.index(path), f"{path}: frame {number}"
        if duplicates != "keep":
            first = seen.first(bytes.fromhex(frame_digest(atoms)), (index, number))
            if first != (index, number):
                if duplicates == "error":
                    raise HpoptError(
                        f"{where}: positions: the same structure as {files[first[0]]}: frame {first[1]}",
                        remedy="remove it, or pass --duplicates drop (or keep)",
                    )
                entry["dropped_duplicates"] += 1
                continue
        yield path, number, atoms


def _named(
    frames: Iterable[tuple[Path, int, Atoms]],
    split: str,
    references: GivenReference | None,
    ledger: LeakLedger,
) -> Iterator[tuple[str, Atoms]]:
    """Name each frame, refuse one without a reference energy, note the groups of the split's frames."""
    for path, number, atoms in frames:
        where = f"{path}: frame {number}"
        if references is not None:
            references.check(atoms, where=where)
        ledger.add(split, atoms, default_system=f"{path.stem}-{number}")
        yield where, atoms


def _shards(frames: Iterable[tuple[str, Atoms]], dtype: np.dtype) -> Iterator[Shard]:
    frames = iter(frames)
    while chunk := list(islice(frames, SHARD_FRAMES)):
        yield chunk, dtype


def _check_forces(entry: dict[str, Any], item: Input) -> None:
    if entry["n_frames"] == 0:
        raise HpoptError(
            f"{item.source}: no frame left", remedy="the file holds only duplicates of earlier inputs"
        )
    if entry["with_forces"] not in (0, entry["n_frames"]):
        missing = entry["n_frames"] - entry["with_forces"]
        raise HpoptError(
            f"{item.source}: forces: missing in {missing} of {entry['n_frames']} frames",
            remedy="give forces for all frames or for none",
        )
    entry["has_forces"] = bool(entry.pop("with_forces"))
