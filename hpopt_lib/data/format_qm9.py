"""QM9 as published: one small text file for each molecule, in a folder or in the .tar.bz2."""

from __future__ import annotations

import re
import tarfile
from collections.abc import Iterator
from pathlib import Path

import numpy as np
from ase import Atoms
from ase.calculators.singlepoint import SinglePointCalculator

from hpopt_lib.data.containers import DAMAGE, damaged, is_tar
from hpopt_lib.data.reader_protocol import ReaderOptions
from hpopt_lib.errors import HpoptError

NAME = re.compile(r"dsgdb9nsd_(\d+)\.xyz$")
LIST_NAME = "uncharacterized.txt"
#: Column of the internal energy at 0 K (zero-point energy included) in the second line.
U0_COLUMN = 12
N_PROPERTIES = 17


def is_qm9(path: Path) -> bool:
    """Whether a folder, tar archive or file holds ``dsgdb9nsd_NNNNNN.xyz``."""
    if path.is_dir():
        return any(NAME.search(file.name) for file in path.glob("dsgdb9nsd_*.xyz"))
    if is_tar(path):
        try:
            with tarfile.open(path, "r|*") as tar:
                return any(NAME.search(member.name) for member, _ in zip(tar, range(5)))
        except DAMAGE:
            return path.name.startswith("dsgdb9nsd")
    return bool(NAME.search(path.name))


def read_qm9(path: Path, options: ReaderOptions) -> Iterator[Atoms]:
    """Molecules with the internal energy at 0 K, without the uncharacterised ones.

    The structures of 3054 molecules changed into others when they were relaxed; the authors
    (R. Ramakrishnan et al., Sci. Data 1, 140022 (2014)) list them in ``uncharacterized.txt``, which must lie
    in the folder or beside it.

    Raises
    ------
    HpoptError
        When the list is missing or a file is malformed.
    """
    left_out = read_uncharacterized(_list_of(path))
    for name, text in _texts(path):
        match = NAME.search(name)
        if match is not None and int(match[1]) not in left_out:
            yield _molecule(text, f"{path}: {name}" if path.name != name else str(path), name, int(match[1]))


def _list_of(path: Path) -> Path:
    for folder in (path, path.parent) if path.is_dir() else (path.parent,):
        if (folder / LIST_NAME).is_file():
            return folder / LIST_NAME
    raise HpoptError(
        f"{path}: {LIST_NAME}: missing: it lists the molecules that QM9's authors leave out",
        remedy=f"download it from the page of the data set and put it beside {path.name}",
    )


def read_uncharacterized(path: Path) -> set[int]:
    """Numbers of the molecules in the list: the first word of its lines, where that is a number.

    Raises
    ------
    HpoptError
        When no molecule is found in it.
    """
    try:
        lines = path.read_text(encoding="utf-8").splitlines()
    except DAMAGE as error:
        raise damaged(path, error) from error
    first_words = [(line.split() or [""])[0] for line in lines]
    numbers = {int(word) for word in first_words if word.isdigit()}
    if not numbers:
        raise HpoptError(f"{path}: no molecule is listed in it", remedy="download the list again")
    return numbers


def _texts(path: Path) -> Iterator[tuple[str, str]]:
    """Name and text of each file, one at a time."""
    if path.is_dir():
        for name in sorted(file.name for file in path.glob("dsgdb9nsd_*.xyz")):
            yield name, _decoded((path / name).read_bytes(), f"{path}: {name}")
    elif is_tar(path):
        try:
            with tarfile.open(path, "r|*") as tar:
                for member in tar:
                    stream = tar.extractfile(member) if member.isfile() else None
                    if stream is not None:
                        yield (
                            member.name.rsplit("/", 1)[-1],
                            _decoded(stream.read(), f"{path}: {member.name}"),
                        )
        except DAMAGE as error:
            raise damaged(path, error) from error
    else:
        yield path.name, _decoded(path.read_bytes(), str(path))


def _decoded(data: bytes, where: str) -> str:
    try:
        return data.decode("utf-8")
    except UnicodeDecodeError as error:
        raise damaged(where, error) from error


def _molecule(text: str, where: str, name: str, number: int) -> Atoms:
    lines = text.splitlines()
    try:
        n_atoms = int(lines[0])
        properties = lines[1].split()
        if properties[0] != "gdb" or len(properties) != N_PROPERTIES or int(properties[1]) != number:
            raise ValueError(f"its second line is not that of molecule {number}")
        energy = _float(properties[U0_COLUMN])
        rows = [line.split() for line in lines[2 : 2 + n_atoms]]
        if n_atoms < 1 or len(rows) != n_atoms:
            raise ValueError(f"{len(rows)} of {n_atoms} atoms")
        atoms = Atoms(
            [row[0] for row in rows], positions=np.array([[_float(x) for x in row[1:4]] for row in rows])
        )
    except (ValueError, IndexError, KeyError) as error:
        raise damaged(where, error) from error
    atoms.calc = SinglePointCalculator(atoms, energy=energy)
    atoms.info = {"system_id": f"gdb_{number}", "frame": 0, "energy_kind": "raw", "source": name}
    return atoms


def _float(text: str) -> float:
    """A number, also in the notation of Mathematica that some files have: 6.0*^-6."""
    return float(text.replace("*^", "e"))
