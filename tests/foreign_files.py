"""Small files in the formats of published data sets, written from frames of the tests."""

from __future__ import annotations

import io
import json
import lzma
import pickle
import sys
import tarfile
import types
import zlib
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import ase.io
import lmdb
import numpy as np
from ase import Atoms
from ase.calculators.singlepoint import SinglePointCalculator
from ase.constraints import FixAtoms
from ase.db.row import AtomsRow

KCAL_PER_EV, HARTREE_IN_EV = 23.060548, 27.211386


def extxyz(frames: Sequence[Atoms]) -> str:
    """Text as OC20 has it: move_mask, tags, forces and the energy; no other info."""
    bare = []
    for atoms in frames:
        copy = atoms.copy()
        copy.info = {}
        results = dict(atoms.calc.results)
        copy.set_array("forces", np.asarray(results.pop("forces")))
        copy.calc = SinglePointCalculator(copy, **results)
        bare.append(copy)
    text = io.StringIO()
    columns = ["symbols", "positions", "tags", "forces", "move_mask"]
    ase.io.write(text, bare, format="extxyz", columns=columns)
    return text.getvalue()


def references(frames: Sequence[Atoms]) -> list[float]:
    """A reference energy for each frame; the adsorption energies are then 0.1, 0.2, ... eV."""
    return [a.get_potential_energy() - 0.1 * (k + 1) for k, a in enumerate(frames)]


def log_text(frames: Sequence[Atoms]) -> str:
    lines = (f"random{k // 2},frame{k % 2},{e:.8f}" for k, e in enumerate(references(frames)))
    return "\n".join(lines) + "\n"


def write_s2ef(folder: Path, frames: Sequence[Atoms], *, per_file: int = 3, compressed: bool = True) -> Path:
    """A folder as the tar of a download gives it: files below, and a licence beside them."""
    inner = folder / folder.name
    inner.mkdir(parents=True)
    (folder / "LICENSE.txt").write_text("a licence\n")
    logs = log_text(frames).splitlines(keepends=True)
    for number, start in enumerate(range(0, len(frames), per_file)):
        part = slice(start, start + per_file)
        for ending, text in (("extxyz", extxyz(frames[part])), ("txt", "".join(logs[part]))):
            data = text.encode()
            name = f"{number}.{ending}" + (".xz" if compressed else "")
            (inner / name).write_bytes(lzma.compress(data) if compressed else data)
    return folder


def write_tar(folder: Path, path: Path, mode: str = "w") -> Path:
    with tarfile.open(path, mode) as tar:  # type: ignore[call-overload]
        tar.add(folder, arcname=folder.name)
    return path


def write_lmdb(path: Path, entries: dict[str, bytes]) -> Path:
    with lmdb.open(str(path), subdir=False, map_size=1 << 24, lock=False) as env:
        with env.begin(write=True) as transaction:
            for key, value in entries.items():
                transaction.put(key.encode(), value)
    return path


@contextmanager
def torch_geometric(version: int) -> Iterator[types.ModuleType]:
    """A module of that name, with the classes of version 1 or 2, while files are written."""
    names = (
        "torch_geometric",
        "torch_geometric.data",
        "torch_geometric.data.data",
        "torch_geometric.data.storage",
    )
    modules = {name: types.ModuleType(name) for name in names}
    data, storage = modules[names[2]], modules[names[3]]

    def define(module: types.ModuleType, name: str, methods: dict[str, Any]) -> Any:
        made = type(name, (), {**methods, "__module__": module.__name__})
        setattr(module, name, made)
        return made

    if version == 1:
        define(data, "Data", {"__init__": lambda self, **fields: self.__dict__.update(fields)})
    else:
        kept = define(storage, "GlobalStorage", {})
        tensor_attr = define(data, "DataTensorAttr", {})

        def init(self: Any, **fields: Any) -> None:
            self._store = kept()
            self._store._mapping, self._store._parent = fields, self
            self._tensor_attr_cls = tensor_attr

        define(data, "Data", {"__init__": init})
    sys.modules.update(modules)
    try:
        yield data
    finally:
        for name in names:
            del sys.modules[name]


def graph_fields(atoms: Atoms, number: int, *, task: str) -> dict[str, Any]:
    """Fields of an Open Catalyst entry as torch tensors and numbers."""
    import torch

    fixed = np.zeros(len(atoms))
    for constraint in atoms.constraints:
        fixed[constraint.index] = 1
    energy = atoms.get_potential_energy()
    fields: dict[str, Any] = {
        "pos": torch.tensor(atoms.positions, dtype=torch.float32),
        "cell": torch.tensor(atoms.cell.array, dtype=torch.float32)[None],
        "atomic_numbers": torch.tensor(atoms.numbers, dtype=torch.float32),
        "natoms": len(atoms),
        "tags": torch.tensor(atoms.get_tags()),
        "fixed": torch.tensor(fixed),
        "force": torch.tensor(atoms.get_forces(apply_constraint=False), dtype=torch.float32),
        "edge_index": torch.zeros((2, 5), dtype=torch.int64),
        "sid": 1000 + number,
    }
    if task == "s2ef":
        return {**fields, "y": energy, "fid": torch.tensor([number])}
    moved = torch.tensor(atoms.positions + 0.1, dtype=torch.float32)
    return {**fields, "y_init": energy, "y_relaxed": energy - 1.0, "pos_relaxed": moved}


def write_oc20_lmdb(
    path: Path,
    frames: Sequence[Atoms],
    *,
    task: str = "s2ef",
    version: int = 1,
    protocol: int = -1,
    **changed: Any,
) -> Path:
    """An LMDB as the scripts of the project write it; `changed` fields replace those of every entry."""
    with torch_geometric(version) as module:
        entries = {
            str(k): pickle.dumps(
                module.Data(**{**graph_fields(atoms, k, task=task), **changed}), protocol=protocol
            )
            for k, atoms in enumerate(frames)
        }
    return write_lmdb(path, {**entries, "length": pickle.dumps(len(frames))})


def write_aselmdb(path: Path, frames: Sequence[Atoms], *, deleted: Sequence[int] = ()) -> Path:
    """As fairchem's backend writes it: plain JSON under the row's number, compressed with zlib."""

    def plain(value: Any) -> Any:
        return value.tolist() if isinstance(value, np.ndarray | np.generic) else value.todict()

    entries = {}
    for number, atoms in enumerate(frames, start=1):
        row = AtomsRow(atoms)
        fields = {k: row[k] for k in row.__dict__ if k[0] != "_" and k not in row._keys and k != "id"}
        fields |= {
            "cell": np.asarray(atoms.cell.array), "key_value_pairs": {"fid": number}, "mtime": 1.0,
            "data": {"sid": f"random{number // 2}", "list": [1, 2]},
            "constraints": [constraint.todict() for constraint in atoms.constraints],
        }  # fmt: skip
        if number not in deleted:
            entries[str(number)] = fields
    extra = {"nextid": len(frames) + 1, "metadata": {"made": "by a test"}}
    if deleted:
        extra["deleted_ids"] = list(deleted)
    packed = {
        k: zlib.compress(json.dumps(v, default=plain).encode()) for k, v in {**entries, **extra}.items()
    }
    return write_lmdb(path, packed)


def write_npz(path: Path, frames: Sequence[Atoms], *, keys: tuple[str, str, str, str]) -> Path:
    """Arrays in kcal/mol and Å under the four names."""
    arrays = (
        frames[0].numbers.astype(np.uint8),
        np.array([a.positions for a in frames]),
        np.array([a.get_potential_energy() for a in frames]) * KCAL_PER_EV,
        np.array([a.get_forces() for a in frames]) * KCAL_PER_EV,
    )
    named = dict(zip(keys, arrays))
    if keys[0] == "z":
        named[keys[2]] = named[keys[2]][:, None]  # as the original files have them
    np.savez_compressed(path, name=np.array("ethanol"), **named)
    return path


def qm9_text(atoms: Atoms, number: int) -> str:
    """One molecule; the first position and the second rotational constant in Mathematica's notation."""
    energy = atoms.get_potential_energy() / HARTREE_IN_EV
    properties = ["1.5", "2.*^-6", *["0.1"] * 7, "0.05", f"{energy:.8f}", *["-1.0"] * 3, "6.4"]
    lines = [str(len(atoms)), f"gdb {number}\t" + "\t".join(properties)]
    for k, (symbol, position) in enumerate(zip(atoms.symbols, atoms.positions)):
        numbers = [f"{x:.10f}" for x in position]
        if k == 0:
            numbers[0] = f"{position[0] * 1e6:.10f}*^-6"
        lines.append("\t".join([symbol, *numbers, "-0.5"]))
    return "\n".join([*lines, "1340.1\t3151.8", "O\tO", "InChI=1S/H2O/h1H2\tInChI=1S/H2O/h1H2"]) + "\n"


def write_qm9(folder: Path, frames: Sequence[Atoms], *, left_out: Sequence[int] = (2,)) -> Path:
    folder.mkdir()
    for number, atoms in enumerate(frames, start=1):
        (folder / f"dsgdb9nsd_{number:06d}.xyz").write_text(qm9_text(atoms, number))
    lines = ["Uncharacterized molecules", "=" * 20, "  Index  Initial SMILES"]
    lines += [f"     {number}  C#N  [C]N" for number in left_out]
    (folder / "uncharacterized.txt").write_text("\n".join([*lines, "-" * 20]) + "\n")
    return folder


def fixed_atoms(atoms: Atoms) -> list[int]:
    return [k for c in atoms.constraints if isinstance(c, FixAtoms) for k in c.index]
