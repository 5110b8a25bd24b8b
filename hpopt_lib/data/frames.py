"""Labelled frames grouped by system, and the arrays in which they are shipped."""

from __future__ import annotations

import hashlib
import json
import zipfile
import zlib
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from ase import Atoms
from ase.calculators.singlepoint import SinglePointCalculator
from ase.constraints import FixAtoms
from numpy.typing import NDArray

from hpopt_lib.errors import HpoptError
from hpopt_lib.files import atomic_path

FORMAT_VERSION = 1
Arrays = dict[str, NDArray[Any]]

#: Arrays with one row per system, per atom of a system, per frame, and per atom of a frame.
_SYSTEM = ("system_id", "system_split", "system_info", "system_atoms", "system_reference", "cells", "pbc")
_SYSTEM_ATOM = ("numbers", "tags", "fixed")
_FRAME = ("frame_system", "frame", "kind", "energy", "temperature")
_FRAME_ATOM = ("positions", "forces")
NAMES = (*_SYSTEM, *_SYSTEM_ATOM, *_FRAME, *_FRAME_ATOM)


@dataclass(frozen=True)
class Frame:
    """One labelled geometry: positions in Å, energy in eV, forces in eV/Å, temperature in K or NaN."""

    frame: int
    kind: str
    positions: NDArray[np.float64]
    energy: float
    forces: NDArray[np.float64]
    temperature: float = float("nan")


@dataclass(frozen=True)
class System:
    """Frames that share composition, cell and fixed atoms: one relaxation or one trajectory family.

    `atoms` is the template (species, tags, cell, constraint); `reference_ev` is what is subtracted
    from a frame's energy to give its adsorption energy (NaN where that means nothing).
    """

    system_id: str
    split: str
    atoms: Atoms
    reference_ev: float
    frames: list[Frame]
    info: dict[str, Any] = field(default_factory=dict)


def fixed_mask(atoms: Atoms) -> NDArray[np.bool_]:
    """True for atoms that a FixAtoms constraint holds; shape (n_atoms,)."""
    mask = np.zeros(len(atoms), bool)
    for constraint in atoms.constraints:
        if isinstance(constraint, FixAtoms):
            mask[constraint.index] = True
    return mask


def pack(systems: Sequence[System], provenance: dict[str, Any]) -> Arrays:
    """Put systems into flat arrays; positions and forces become single precision."""
    frames = [(index, frame) for index, system in enumerate(systems) for frame in system.frames]
    if not frames:
        raise HpoptError("data generation: no frame was kept", remedy="use a larger scale")
    arrays: Arrays = {
        "system_id": np.array([s.system_id for s in systems]),
        "system_split": np.array([s.split for s in systems]),
        "system_info": np.array([json.dumps(s.info, sort_keys=True) for s in systems]),
        "system_atoms": np.array([len(s.atoms) for s in systems], np.int32),
        "system_reference": np.array([s.reference_ev for s in systems]),
        "cells": np.array([s.atoms.cell.array for s in systems]),
        "pbc": np.array([s.atoms.pbc for s in systems]),
        "numbers": np.concatenate([s.atoms.numbers for s in systems]).astype(np.uint8),
        "tags": np.concatenate([s.atoms.get_tags() for s in systems]).astype(np.uint8),
        "fixed": np.concatenate([fixed_mask(s.atoms) for s in systems]),
        "frame_system": np.array([index for index, _ in frames], np.int32),
        "frame": np.array([f.frame for _, f in frames], np.int32),
        "kind": np.array([f.kind for _, f in frames]),
        "energy": np.array([f.energy for _, f in frames]),
        "temperature": np.array([f.temperature for _, f in frames], np.float32),
        "positions": np.concatenate([f.positions for _, f in frames]).astype(np.float32),
        "forces": np.concatenate([f.forces for _, f in frames]).astype(np.float32),
    }
    provenance = {"format_version": FORMAT_VERSION, **provenance, "sha256": digest(arrays)}
    arrays["provenance"] = np.array(json.dumps(provenance, sort_keys=True))
    return arrays


def digest(arrays: Arrays) -> str:
    """SHA-256 over names, types, shapes and bytes of all arrays but the provenance."""
    total = hashlib.sha256()
    for name in NAMES:
        array = np.ascontiguousarray(arrays[name])
        total.update(f"{name} {array.dtype.str} {array.shape}".encode())
        total.update(array.tobytes())
    return total.hexdigest()


def provenance_of(arrays: Arrays) -> dict[str, Any]:
    """The record of how the arrays were made."""
    return json.loads(str(arrays["provenance"]))


def save_arrays(arrays: Arrays, path: str | Path, *, overwrite: bool = False) -> None:
    """Write one compressed ``.npz`` without pickled objects; the same arrays give the same bytes."""
    with atomic_path(path, overwrite=overwrite) as temporary, open(temporary, "wb") as stream:
        np.savez_compressed(stream, **arrays)  # type: ignore[arg-type]


def read_arrays(path: str | Path) -> Arrays:
    """Read and verify arrays written by `save_arrays`.

    Raises
    ------
    HpoptError
        When the file is missing, is not of this format and version, or its checksum is wrong.
    """
    try:
        # numpy leaves a damaged file open when it opened it itself
        with open(path, "rb") as stream, np.load(stream, allow_pickle=False) as archive:
            arrays = {name: archive[name] for name in archive.files}
    except FileNotFoundError as error:
        raise HpoptError(f"{path}: no such file", remedy="install the package again") from error
    except (OSError, ValueError, EOFError, KeyError, zipfile.BadZipFile, zlib.error) as error:
        raise HpoptError(
            f"{path}: not a readable .npz file: {error}", remedy="install the package again"
        ) from error
    missing = {*NAMES, "provenance"} - arrays.keys()
    if missing:
        raise HpoptError(f"{path}: arrays are missing: {', '.join(sorted(missing))}")
    provenance = provenance_of(arrays)
    if provenance["format_version"] != FORMAT_VERSION:
        raise HpoptError(f"{path}: format_version {provenance['format_version']}, not {FORMAT_VERSION}")
    if provenance["sha256"] != digest(arrays):
        raise HpoptError(f"{path}: checksum does not match", remedy="install the package again")
    return arrays


def unpack(arrays: Arrays, selection: NDArray[np.int64]) -> list[Atoms]:
    """Make Atoms of the frames with the given row numbers (see the data contract in the data card)."""
    sizes = arrays["system_atoms"]
    atom_start = np.concatenate([[0], np.cumsum(sizes)])
    frame_start = np.concatenate([[0], np.cumsum(sizes[arrays["frame_system"]])])
    result = []
    for row in selection:
        system = arrays["frame_system"][row]
        ours = slice(atom_start[system], atom_start[system + 1])
        here = slice(frame_start[row], frame_start[row + 1])
        atoms = Atoms(
            arrays["numbers"][ours],
            positions=arrays["positions"][here].astype(np.float64),
            cell=arrays["cells"][system],
            pbc=arrays["pbc"][system],
            tags=arrays["tags"][ours].astype(int),
            constraint=FixAtoms(mask=arrays["fixed"][ours]) if arrays["fixed"][ours].any() else None,
        )
        energy = float(arrays["energy"][row])
        forces = arrays["forces"][here].astype(np.float64)
        atoms.calc = SinglePointCalculator(atoms, energy=energy, forces=forces)
        atoms.info = {
            "system_id": str(arrays["system_id"][system]),
            "frame": int(arrays["frame"][row]),
            "kind": str(arrays["kind"][row]),
            "split": str(arrays["system_split"][system]),
            **json.loads(str(arrays["system_info"][system])),
        }
        if np.isfinite(arrays["system_reference"][system]):
            reference = float(arrays["system_reference"][system])
            atoms.info |= {"reference_energy": reference, "adsorption_energy": energy - reference}
        result.append(atoms)
    return result
