"""LMDBs of the Open Catalyst project: IS2RE and S2EF, pickled torch_geometric graphs."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
from ase import Atoms
from ase.calculators.singlepoint import SinglePointCalculator
from ase.constraints import FixAtoms

from hpopt_lib.data.lmdb_files import lmdb_content, lmdb_files, numbered_entries, open_lmdb
from hpopt_lib.data.reader_protocol import ReaderOptions
from hpopt_lib.errors import HpoptError


def is_oc20_lmdb(path: Path) -> bool:
    """Whether a file, or the first .lmdb of a folder, holds pickled entries with numbers as keys."""
    if path.is_file() and path.suffix != ".lmdb":
        return False
    files = lmdb_files(path, ".lmdb")
    return bool(files) and lmdb_content(files[0]) == "pickle"


def read_oc20_lmdb(path: Path, options: ReaderOptions) -> Iterator[Atoms]:
    """Frames of one LMDB or of all in a folder.

    An S2EF entry is one frame. An IS2RE entry is two, the initial structure with ``y_init`` and the relaxed
    one with ``y_relaxed``, both adsorption energies and without forces, under one ``system_id``; one of
    them where the other lacks its energy or positions. Whether S2EF energies are raw or adsorption energies
    depends on how the file was made, and it does not say.

    Raises
    ------
    HpoptError
        Without ``trust_pickle``; for an entry that is damaged, asks for code, or lacks a field.
    """
    if not options.trust_pickle:
        raise HpoptError(
            f"{path}: entries are pickled, and loading a pickle from a stranger can run any code",
            remedy="if you trust where the file is from, pass --trust-pickle",
        )
    from hpopt_lib.data.restricted_pickle import load_graph

    for file in lmdb_files(path, ".lmdb"):
        with open_lmdb(file) as transaction:
            for number, value in numbered_entries(transaction, file):
                where = f"{file}: entry {number}"
                try:
                    fields = load_graph(value)
                except ValueError as error:
                    raise HpoptError(
                        f"{where}: {error}", remedy="do not use this file, or make it again"
                    ) from error
                for atoms in _frames(fields, where):
                    atoms.info["source"] = file.name
                    yield atoms


def _frames(fields: dict[str, Any], where: str) -> Iterator[Atoms]:
    if fields.get("y_relaxed") is not None:
        pairs = {"initial": ("pos", "y_init"), "relaxed": ("pos_relaxed", "y_relaxed")}
        whole = {s: k for s, k in pairs.items() if all(fields.get(key) is not None for key in k)}
        if not whole:
            _need(fields, "pos_relaxed", where)
        for frame, (state, (position_key, energy_key)) in enumerate(whole.items()):
            end = {"energy": _number(fields[energy_key], where, energy_key)}
            atoms = _atoms(fields, fields[position_key], end, where)
            atoms.info |= {"frame": frame, "state": state, "energy_kind": "adsorption"}
            yield atoms
        return
    energy = next((fields[key] for key in ("y", "energy") if fields.get(key) is not None), None)
    if energy is None:
        raise HpoptError(
            f"{where}: energy: none of y_relaxed, y and energy is there", remedy="test sets have no labels"
        )
    results: dict[str, Any] = {"energy": _number(energy, where, "y")}
    forces = next((fields[key] for key in ("force", "forces") if fields.get(key) is not None), None)
    if forces is not None:
        results["forces"] = np.asarray(forces, dtype=float)
    atoms = _atoms(fields, _need(fields, "pos", where), results, where)
    if fields.get("fid") is not None:
        atoms.info["frame"] = int(_number(fields["fid"], where, "fid"))
    yield atoms


def _atoms(fields: dict[str, Any], positions: Any, results: dict[str, Any], where: str) -> Atoms:
    numbers = np.asarray(_need(fields, "atomic_numbers", where)).round().astype(int).ravel()
    arrays = {"pos": positions, "force": results.get("forces")}
    for name, array in arrays.items():
        if array is not None and np.shape(array) != (len(numbers), 3):
            raise HpoptError(
                f"{where}: {name}: shape {np.shape(array)} for {len(numbers)} atoms",
                remedy="make the file again",
            )
    natoms = fields.get("natoms")
    if natoms is not None and int(_number(natoms, where, "natoms")) != len(numbers):
        raise HpoptError(
            f"{where}: natoms: not the {len(numbers)} of atomic_numbers", remedy="make the file again"
        )
    atoms = Atoms(
        numbers,
        positions=np.asarray(positions, dtype=float),
        cell=np.asarray(_need(fields, "cell", where), dtype=float).reshape(3, 3),
        pbc=True,
    )
    for key in ("tags", "fixed"):
        if fields.get(key) is None:
            continue
        values = np.asarray(fields[key]).astype(int).ravel()
        if len(values) != len(numbers):
            raise HpoptError(
                f"{where}: {key}: {len(values)} values for {len(numbers)} atoms", remedy="make the file again"
            )
        if key == "tags":
            atoms.set_tags(values)
        elif values.any():
            atoms.set_constraint(FixAtoms(mask=values.astype(bool)))
    if fields.get("sid") is not None:
        atoms.info["system_id"] = system_name(fields["sid"])
    atoms.calc = SinglePointCalculator(atoms, **results)
    return atoms


def system_name(sid: Any) -> str:
    """System id as the S2EF .txt files write it: the LMDBs keep only the number of ``random123``."""
    text = str(np.asarray(sid).ravel()[0])
    return f"random{text}" if text.isdigit() else text


def _need(fields: dict[str, Any], key: str, where: str) -> Any:
    if fields.get(key) is None:
        raise HpoptError(f"{where}: {key}: missing", remedy="this is no IS2RE or S2EF file, or it is damaged")
    return fields[key]


def _number(value: Any, where: str, key: str) -> float:
    array = np.asarray(value, dtype=float).ravel()
    if array.size != 1:
        raise HpoptError(f"{where}: {key}: {array.size} values, not one", remedy="make the file again")
    return float(array[0])
