"""Extended XYZ, plain or compressed, one frame at a time."""

from __future__ import annotations

import io
from collections.abc import Iterator
from itertools import islice
from pathlib import Path
from typing import TextIO

from ase import Atoms

from hpopt_lib.data.containers import text_lines, uncompressed_name
from hpopt_lib.data.reader_protocol import ReaderOptions


def is_extxyz(path: Path) -> bool:
    """Whether the name ends in .extxyz or .xyz, perhaps compressed."""
    return path.is_file() and is_extxyz_name(path.name)


def is_extxyz_name(name: str) -> bool:
    """The same for the name of a member of an archive."""
    return uncompressed_name(name).endswith((".extxyz", ".xyz"))


def read_extxyz(path: Path, options: ReaderOptions) -> Iterator[Atoms]:
    """Frames of one extended XYZ file."""
    with text_lines(open(path, "rb"), path.name) as text:
        yield from frames_of_text(text)


def frames_of_text(text: TextIO) -> Iterator[Atoms]:
    """Frames of an open text, read from front to back.

    ASE's own iterator first scans the whole file and then seeks to every frame, which makes it unpack a
    compressed file again and again; it is given the lines of one frame at a time here.

    Raises
    ------
    ValueError
        With the number of the line, when the text is no extended XYZ.
    """
    from ase.io.extxyz import read_xyz

    line_number = 0
    for line in text:
        line_number += 1
        if not line.strip():
            if any(rest.strip() for rest in text):
                raise ValueError(f"line {line_number} is empty, but not the last")
            return
        try:
            n_atoms = int(line)
        except ValueError:
            raise ValueError(
                f"line {line_number}: a number of atoms was expected, not {line.strip()[:40]!r}"
            ) from None
        if n_atoms < 0:
            raise ValueError(f"line {line_number}: {n_atoms} atoms")
        block = [line, *islice(text, n_atoms + 1)]
        if len(block) < n_atoms + 2:
            raise ValueError(f"line {line_number}: the file ends within a frame of {n_atoms} atoms")
        try:
            (atoms,) = read_xyz(io.StringIO("".join(block)), slice(None))
        except Exception as error:  # ASE lets whatever a bad line caused pass
            raise ValueError(f"line {line_number}: frame of {n_atoms} atoms: {error}") from error
        line_number += n_atoms + 1
        yield atoms
