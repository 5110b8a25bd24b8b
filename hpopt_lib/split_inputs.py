"""Route the frames of input files into the splits of a split file."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from hpopt_lib.data.split_files import SplitFile
from hpopt_lib.errors import HpoptError
from hpopt_lib.files import checksum
from hpopt_lib.inputs import Input


def split_inputs(arguments: Sequence[str], path: Path, *, fold: int | None = None) -> list[Input]:
    """Inputs of `hpopt_lib.preprocess.preprocess`, one for each split, the training split first.

    Parameters
    ----------
    arguments : sequence of str
        The files that the split file was made of, in any order and folder.
    path : Path
        The split file.
    fold : int, optional
        Validate on this fold and train on all others; needed when the file holds folds.

    Raises
    ------
    HpoptError
        Naming file and field, when the files are not those that were split, or the fold is not there.
    """
    split = SplitFile.load(path)
    files = _matched(split, [Path(argument) for argument in arguments], path)
    masks = {
        name: [split.frames(name, index) for index in range(len(split.inputs))]
        for name in split.splits
        if any(split.splits[name]["frames"])
    }
    if split.folds:
        fold = _check_fold(split, fold, path)
        rest = [
            np.logical_or.reduce([found[i] for name, found in masks.items() if name != f"fold_{fold}"])
            for i in range(len(files))
        ]
        masks = {"train": rest, "val": masks[f"fold_{fold}"]}
    elif fold is not None:
        raise HpoptError(f"{path}: folds: none, so --fold cannot be", remedy="leave --fold out")
    return [
        Input(name, path, tuple((file, mask) for file, mask in zip(files, found) if mask.any()))
        for name, found in masks.items()
    ]


def _check_fold(split: SplitFile, fold: int | None, path: Path) -> int:
    if fold is None:
        raise HpoptError(
            f"{path}: folds: {split.folds}, and none is chosen",
            remedy=f"pass --fold 0 to --fold {split.folds - 1}, one store for each",
        )
    if not 0 <= fold < split.folds or f"fold_{fold}" not in split.splits:
        raise HpoptError(f"{path}: folds: no fold {fold}", remedy=f"use 0 to {split.folds - 1}")
    return fold


def _matched(split: SplitFile, paths: list[Path], where: Path) -> list[Path]:
    """The given files in the order of the split file."""
    found: dict[int, Path] = {}
    sums = [entry["sha256"] for entry in split.inputs]
    names = [entry["file"] for entry in split.inputs]
    for path in paths:
        if not path.exists():
            raise HpoptError(
                f"{path}: no such file",
                remedy="with --split, name the files that were split, without names of splits",
            )
        total = checksum(path)
        if total in sums:
            found[sums.index(total)] = path
        elif path.name in names:
            raise HpoptError(
                f"{where}: inputs[{names.index(path.name)}].sha256: {path} has changed since it was split",
                remedy="make the split file again with hpopt data split",
            )
        else:
            raise HpoptError(
                f"{where}: inputs: {path} is not among them ({', '.join(names)})",
                remedy="name only the files that were split, or split again",
            )
    for index, name in enumerate(names):
        if index not in found:
            raise HpoptError(
                f"{where}: inputs[{index}].file: {name} is not among the given files",
                remedy="name all files that were split",
            )
    return [found[index] for index in range(len(names))]


def split_record(path: Path, *, fold: int | None = None) -> dict[str, Any]:
    """What a store remembers of the split file it was made with.

    Returns
    -------
    dict
        ``file``, ``sha256``, ``by``, ``seed``, ``fractions``, ``folds``, ``fold``, ``origins`` and
        ``disjoint`` (pairs of splits that share no group of a kind).
    """
    split = SplitFile.load(path)
    disjoint = [list(entry) for entry in split.disjoint]
    if fold is not None:
        disjoint = [[kind, "train", "val"] for kind in sorted({entry[0] for entry in disjoint})]
    return {
        "file": path.name,
        "sha256": checksum(path),
        "by": split.by,
        "seed": split.seed,
        "fractions": split.fractions,
        "folds": split.folds,
        "fold": fold,
        "origins": split.origins,
        "disjoint": disjoint,
    }
