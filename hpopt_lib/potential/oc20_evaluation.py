"""Splits, names of frames and energies as the Open Catalyst evaluation of S2EF has them."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from hpopt_lib.errors import HpoptError
from hpopt_lib.store import SplitArrays, Store

#: The four splits in the order of the leaderboard, and their headings.
EVALUATION_SPLITS = {"id": "ID", "ood_ads": "OOD Ads", "ood_cat": "OOD Cat", "ood_both": "OOD Both"}
_SYSTEM = re.compile(r"(?:random)?(\d+)")
_FRAME = re.compile(r"(?:frame)?(\d+)")


def evaluation_splits(store: Store) -> dict[str, str]:
    """Name of each of the four splits in the evaluation -> its name in the store.

    A store's split counts with ``val_`` or ``test_`` before the name, or without.

    Raises
    ------
    HpoptError
        When a split is missing or there twice.
    """
    found: dict[str, list[str]] = {name: [] for name in EVALUATION_SPLITS}
    for split in store.splits:
        name = re.sub(r"^(val|test)_", "", split)
        if name in found:
            found[name].append(split)
    for name, splits in found.items():
        if len(splits) != 1:
            problem = f"{' and '.join(splits)} are the same split" if splits else "not in the store"
            raise HpoptError(
                f"{store.path}: val_{name}: {problem}",
                remedy="the evaluation takes four splits: preprocess with val_id=… val_ood_ads=… "
                "val_ood_cat=… val_ood_both=…",
            )
    return {name: splits[0] for name, splits in found.items()}


def evaluation_id(info: Mapping[str, Any], *, where: str) -> str:
    """Name of a frame in the evaluation: number of its system and number of the frame, ``SID_FID``.

    Parameters
    ----------
    info : mapping
        Labels of the frame: ``system_id`` such as ``random123456`` and ``frame``.
    where : str
        Begins the message of an error.

    Raises
    ------
    HpoptError
        When a label is missing or no such number.

    References
    ----------
    ``scripts/preprocess_ef.py`` and ``predict`` of the trainers in FAIR-Chem/fairchem, version 1.
    """
    numbers = []
    for key, pattern, example in (("system_id", _SYSTEM, "random123456"), ("frame", _FRAME, "12")):
        match = pattern.fullmatch(str(info[key])) if key in info else None
        if match is None:
            problem = f"{info[key]!r} is no number of OC20's" if key in info else "missing"
            raise HpoptError(
                f"{where}: {key}: {problem}",
                remedy=f"use frames with a {key} like {example}, as OC20's .txt files have it; "
                "other frames can be predicted without --oc20-submission",
            )
        numbers.append(match[1])
    return "_".join(numbers)


def evaluation_ids(arrays: SplitArrays, *, where: str, first: int = 0) -> list[str]:
    """`evaluation_id` of some frames of a split; `first` is the number of the first in messages."""
    return [evaluation_id(info, where=f"{where}: frame {first + k}") for k, info in enumerate(arrays.info)]


def adsorption_offset(
    store: Store, infos: Sequence[Mapping[str, Any]], *, where: str, first: int = 0
) -> np.ndarray:
    """What is subtracted from energies of a store in eV to give adsorption energies, shape (n_frames,).

    The evaluation takes adsorption energies, as in the Open Catalyst paper. A store of raw energies
    knows them when its frames have a ``reference_energy``. `first` is the number of the first frame in
    messages, which begin with `where`.

    Raises
    ------
    HpoptError
        When the store does not say which energies it holds, or a reference energy is missing.

    References
    ----------
    L. Chanussot et al., ACS Catal. 11, 6059 (2021).
    """
    remedy = "preprocess again with --energy adsorption, from files with reference energies"
    kind = store.header.get("energy_kind")
    if kind == "adsorption":
        return np.zeros(len(infos))
    if kind != "raw":
        raise HpoptError(
            f"{store.path}: energy_kind: {kind or 'not known'}, and the evaluation takes adsorption energies",
            remedy=remedy,
        )
    for number, info in enumerate(infos, start=first):
        if "reference_energy" not in info:
            raise HpoptError(f"{where}: frame {number}: reference_energy: missing", remedy=remedy)
    return np.array([float(info["reference_energy"]) for info in infos])
