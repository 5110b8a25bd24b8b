"""The one vocabulary of labels that readers put on frames, and what follows from tags."""

from __future__ import annotations

import math
from collections.abc import Mapping
from functools import lru_cache
from typing import Any

import numpy as np
from ase import Atoms
from ase.data import chemical_symbols
from ase.formula import Formula

from hpopt_lib.errors import HpoptError

#: Keys of ``atoms.info`` that every reader uses in the same sense. The feature store keeps them for each
#: frame (``SplitArrays.info``); other keys of a file pass through as they are.
LABELS: dict[str, str] = {
    "system_id": "what the frame is a snapshot of (text): one relaxation, one trajectory, one molecule",
    "frame": "number of the frame within its system",
    "energy_kind": "raw (total energy), adsorption (reference subtracted), or absent if unknown",
    "reference_energy": "clean slab plus gas molecules in eV: raw minus this is the adsorption energy",
    "adsorbate": "the adsorbate; without a better source the formula of the atoms with tag 2",
    "composition": "formula of the other atoms, reduced when periodic: the catalyst, or the molecule",
    "temperature_k": "temperature in K at which the frame was sampled",
    "state": "initial or relaxed, where a source holds only the two ends of a relaxation",
    "source": "name of the file that the frame was read from",
}

#: Other names under which files hold the same thing.
ALIASES: dict[str, str] = {"sid": "system_id", "fid": "frame", "temperature": "temperature_k"}

ENERGY_KINDS = ("raw", "adsorption")
#: Tag of adsorbate atoms in OC20; 0 lies below the surface and 1 at it.
ADSORBATE_TAG = 2


def set_labels(atoms: Atoms, *, where: str, default_system: str, source: str) -> None:
    """Bring the labels of a frame to the vocabulary, in place, and add what follows from the frame itself.

    Parameters
    ----------
    atoms : ase.Atoms
        With an energy; all energies in one unit.
    where : str
        Begins the message of an error.
    default_system : str
        Used when the file names no system.
    source : str
        Used when the reader named no file.

    Raises
    ------
    HpoptError
        When a label has a value that it cannot have.
    """
    info = atoms.info
    for other, name in ALIASES.items():
        if other in info and name not in info:
            info[name] = info.pop(other)
    info["system_id"] = str(info.get("system_id", default_system))
    info.setdefault("source", source)
    _check(info, where)
    adsorption = info.get("adsorption_energy")
    if "reference_energy" not in info and _is_number(adsorption) and info.get("energy_kind") != "adsorption":
        info["reference_energy"] = float(atoms.calc.results["energy"]) - float(adsorption)  # type: ignore[arg-type]
    if "reference_energy" in info:  # beside a reference stands the total energy
        info.setdefault("energy_kind", "raw")
    numbers, adsorbed = atoms.numbers.astype(np.int64), atoms.get_tags() == ADSORBATE_TAG
    if adsorbed.any():
        info.setdefault("adsorbate", _formula(numbers[adsorbed].tobytes(), False))
    info.setdefault("composition", _formula(numbers[~adsorbed].tobytes(), bool(atoms.pbc.any())))


def choose_energy(atoms: Atoms, wanted: str | None, *, where: str) -> str | None:
    """Make the frame's energy the wanted kind, in place; returns the kind it then is, None if unknown.

    Parameters
    ----------
    atoms : ase.Atoms
        Labelled by `set_labels`.
    wanted : {"raw", "adsorption", None}
        None leaves the energy as the source has it.
    where : str
        Begins the message of an error.

    Raises
    ------
    HpoptError
        When the source does not hold what is needed.
    """
    info = atoms.info
    kind = info.get("energy_kind")
    if wanted is None or wanted == kind:
        return kind
    if "reference_energy" not in info:
        raise HpoptError(
            f"{where}: reference_energy: missing, so there is no {wanted} energy",
            remedy="leave --energy out, or give a source that holds reference energies",
        )
    sign = -1.0 if wanted == "adsorption" else 1.0
    for key in ("energy", "free_energy"):
        if atoms.calc.results.get(key) is not None:
            atoms.calc.results[key] += sign * float(info["reference_energy"])
    info["energy_kind"] = wanted
    return wanted


def _check(info: Mapping[str, Any], where: str) -> None:
    kind = info.get("energy_kind")
    if kind is not None and kind not in ENERGY_KINDS:
        raise HpoptError(
            f"{where}: energy_kind: {kind!r} is unknown", remedy=f"use {' or '.join(ENERGY_KINDS)}"
        )
    for name in ("reference_energy", "temperature_k"):
        value = info.get(name)
        if value is not None and not _is_number(value):
            raise HpoptError(
                f"{where}: {name}: {value!r} is not a finite number", remedy="correct or remove it"
            )


def _is_number(value: object) -> bool:
    return isinstance(value, int | float | np.number) and math.isfinite(float(value))


@lru_cache(maxsize=4096)
def _formula(numbers: bytes, reduced: bool) -> str:
    """Formula in Hill's order; frames of one system ask for the same one again and again."""
    formula = Formula.from_list([chemical_symbols[z] for z in np.frombuffer(numbers, np.int64)])
    return (formula.reduce()[0] if reduced else formula).format("hill")
