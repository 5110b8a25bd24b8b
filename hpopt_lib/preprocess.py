"""From structure files to a feature store: read, check, featurise, write."""

from __future__ import annotations

import datetime
import hashlib
import json
import platform
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
from ase import Atoms
from ase.data import chemical_symbols

import hpopt_lib
from hpopt_lib.data.checks import frame_digest
from hpopt_lib.data.duplicates import SeenFrames
from hpopt_lib.data.readers import read_frames
from hpopt_lib.errors import HpoptError
from hpopt_lib.featurise import FeaturisePool, Shard, store_shards
from hpopt_lib.files import atomic_path, refuse_existing
from hpopt_lib.gmp.backends import Backend
from hpopt_lib.gmp.features import GMPFeaturizer
from hpopt_lib.gmp.settings import GMPSettings
from hpopt_lib.progress import progress
from hpopt_lib.references import LinearReference, ReferenceSums, composition
from hpopt_lib.scaling import FeatureScaler
from hpopt_lib.store import StoreWriter

SHARD_FRAMES = 256
DUPLICATE_CHOICES = ("error", "drop", "keep")


@dataclass(frozen=True)
class Input:
    """One input file and the name of the split it becomes."""

    split: str
    path: Path


@dataclass(frozen=True)
class ReadOptions:
    """How input files are read and checked.

    Attributes
    ----------
    energy_unit, length_unit : str
        Units of the numbers in the files.
    check_units : bool
        Whether implausible magnitudes are errors.
    duplicates : {"error", "drop", "keep"}
        What to do with a frame that occurred before, in the same file or in an earlier one.
        A frame shared by training and validation makes every error look better than it is.
    """

    energy_unit: str = "eV"
    length_unit: str = "Å"
    check_units: bool = True
    duplicates: str = "error"


def parse_inputs(arguments: Sequence[str]) -> list[Input]:
    """Turn ``FILE`` or ``SPLIT=FILE`` arguments into inputs.

    Raises
    ------
    HpoptError
        When there is none, a file is missing or a split name occurs twice.
    """
    if not arguments:
        raise HpoptError(
            "inputs: none given", remedy="name the training file first, then the validation files"
        )
    inputs = []
    for argument in arguments:
        split, equals, name = argument.partition("=")
        if not equals or Path(argument).exists():
            split, name = Path(argument).name.split(".")[0], argument
        if not split:
            raise HpoptError(f"{argument}: split: no name", remedy="write NAME=FILE")
        inputs.append(Input(split, Path(name)))
    for item in inputs:
        if not item.path.exists():
            raise HpoptError(f"{item.path}: no such file", remedy="check the name of the input")
        if sum(other.split == item.split for other in inputs) > 1:
            raise HpoptError(
                f"{item.path}: split {item.split!r} occurs twice", remedy="name splits with NAME=FILE"
            )
    return inputs


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
    if Path(out).resolve() in [item.path.resolve() for item in inputs]:
        raise HpoptError(f"{out}: output is also an input", remedy="choose another name for the store")
    backend = backend or Backend()
    featurizer = GMPFeaturizer(settings, backend=backend.name, dtype=backend.dtype, threads=backend.threads)
    scaler = FeatureScaler.empty(settings.num_features, kind=feature_transform)
    scaler(np.zeros((1, settings.num_features)))  # names an unknown transform before hours of work
    train = ReferenceSums()
    splits: dict[str, dict[str, Any]] = {}
    with (
        atomic_path(out, overwrite=overwrite, resumable=True) as temporary,
        SeenFrames(temporary.with_name(f"{temporary.name}.seen")) as seen,
        FeaturisePool(processes, featurizer) as featurise,
    ):
        writer = StoreWriter(temporary, recipe=_recipe(settings, dtype, backend))
        try:
            for index, item in enumerate(inputs):
                entry: dict[str, Any] = {"source": item.path.name, "first_shard": writer.n_shards}
                entry |= dict.fromkeys(
                    ("n_shards", "n_frames", "n_atoms", "with_forces", "dropped_duplicates"), 0
                )
                elements: set[int] = set()
                frames = _distinct(_frames(item, options), seen, options.duplicates, entry, inputs, index)
                shards = store_shards(_shards(frames, np.dtype(dtype)), featurise, writer)
                for shard in progress(shards, desc=f"featurise {item.path.name}", unit="shard"):
                    entry["n_shards"] += 1
                    entry["n_frames"] += len(shard)
                    entry["n_atoms"] += int(shard.n_atoms.sum())
                    entry["with_forces"] += int(sum(info["has_forces"] for info in shard.info))
                    elements.update(np.unique(shard.numbers).tolist())
                    if item is inputs[0]:
                        scaler.update(shard.features)
                        train.update(composition(shard.numbers, shard.n_atoms), shard.energy)
                _check_forces(entry, item)
                if item is inputs[0] and entry["n_frames"] < 2:
                    raise HpoptError(
                        f"{item.path}: frames: one only, references need at least 2",
                        remedy="give more training frames, or name the training file first",
                    )
                entry["elements"] = [chemical_symbols[z] for z in sorted(elements)]
                splits[item.split] = entry
                if item is inputs[0]:
                    reference = LinearReference.from_sums(train)
            header = {
                "created": datetime.datetime.now(datetime.timezone.utc).isoformat(timespec="seconds"),
                "hpopt_version": hpopt_lib.__version__,
                "python": platform.python_version(),
                "dtype": dtype,
                "units": {"energy": "eV", "length": "Å", "forces": "eV/Å"},
                "input_units": {"energy": options.energy_unit, "length": options.length_unit},
                "gmp": settings.to_dict(),
                "feature_names": settings.feature_names(),
                "splits": splits,
                "scaler": scaler.to_dict(),
                "constant_features": [
                    n for n, c in zip(settings.feature_names(), scaler.constant, strict=True) if c
                ],
                "reference": reference.to_dict(),
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


def _frames(item: Input, options: ReadOptions) -> Iterator[Atoms]:
    return read_frames(
        item.path,
        energy_unit=options.energy_unit,
        length_unit=options.length_unit,
        check_units=options.check_units,
    )


def _distinct(
    frames: Iterable[Atoms],
    seen: SeenFrames,
    duplicates: str,
    entry: dict[str, Any],
    inputs: Sequence[Input],
    index: int,
) -> Iterator[tuple[str, Atoms]]:
    """Apply the rule for frames that occurred before; name each frame."""
    for number, atoms in enumerate(frames):
        where = f"{inputs[index].path}: frame {number}"
        if duplicates != "keep":
            first = seen.first(bytes.fromhex(frame_digest(atoms)), (index, number))
            if first != (index, number):
                if duplicates == "error":
                    raise HpoptError(
                        f"{where}: positions: the same structure as "
                        f"{inputs[first[0]].path}: frame {first[1]}",
                        remedy="remove it, or pass --duplicates drop (or keep)",
                    )
                entry["dropped_duplicates"] += 1
                continue
        yield where, atoms


def _shards(frames: Iterable[tuple[str, Atoms]], dtype: np.dtype) -> Iterator[Shard]:
    frames = iter(frames)
    while chunk := list(islice(frames, SHARD_FRAMES)):
        yield chunk, dtype


def _check_forces(entry: dict[str, Any], item: Input) -> None:
    if entry["n_frames"] == 0:
        raise HpoptError(
            f"{item.path}: no frame left", remedy="the file holds only duplicates of earlier inputs"
        )
    if entry["with_forces"] not in (0, entry["n_frames"]):
        missing = entry["n_frames"] - entry["with_forces"]
        raise HpoptError(
            f"{item.path}: forces: missing in {missing} of {entry['n_frames']} frames",
            remedy="give forces for all frames or for none",
        )
    entry["has_forces"] = bool(entry.pop("with_forces"))
