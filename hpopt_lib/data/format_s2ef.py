"""OC20 structure-to-energy-and-forces (S2EF) downloads: pairs of .extxyz and .txt files."""

from __future__ import annotations

import re
from collections.abc import Iterator
from itertools import zip_longest
from pathlib import Path
from typing import NamedTuple

from ase import Atoms

from hpopt_lib.data.containers import (
    DAMAGE,
    Container,
    Folder,
    damaged,
    is_tar,
    open_container,
    text_lines,
    uncompressed_name,
)  # fmt: skip
from hpopt_lib.data.format_extxyz import frames_of_text, is_extxyz, is_extxyz_name
from hpopt_lib.data.reader_protocol import ReaderOptions
from hpopt_lib.errors import HpoptError

LOG_LINE = re.compile(r"^(?P<system>[^,\s]+),frame(?P<frame>\d+),(?P<reference>[^,\s]+)$")


class LogEntry(NamedTuple):
    """One line of a .txt file: system id, number of the frame, reference energy in eV."""

    system_id: str
    frame: int
    reference_energy: float


def is_s2ef(path: Path) -> bool:
    """Whether `path` is a folder or .tar with .extxyz files, or one .extxyz file with its .txt beside it."""
    if path.is_dir():
        return any(is_extxyz_name(name.name) for name in path.rglob("*.extxyz*"))
    if is_tar(path):
        import tarfile

        try:
            with tarfile.open(path, "r|*") as tar:
                return any(".extxyz" in member.name for member, _ in zip(tar, range(50)))
        except DAMAGE:
            return False
    return is_extxyz(path) and _log_beside(path) is not None


def read_s2ef(path: Path, options: ReaderOptions) -> Iterator[Atoms]:
    """Frames of all pairs with raw energies, system, frame number and reference energy.

    ``0.extxyz[.xz]`` holds the frames with the raw total energies of the calculation, ``0.txt[.xz]`` a line
    ``randomNNN,frameN,REFERENCE`` for each. Raw minus reference is the adsorption energy
    (L. Chanussot et al., ACS Catal. 11, 6059 (2021)).

    Raises
    ------
    HpoptError
        When one of a pair is missing, has fewer entries than the other, or a line is malformed.
    """
    if path.is_file() and not is_tar(path):
        log = _log_beside(path)
        if log is None:
            raise HpoptError(
                f"{path}: its .txt file is missing: it holds system, frame and reference energy",
                remedy="put it beside the file, or pass --format extxyz",
            )
        yield from _pair(Folder(path.parent), path.name, log.name)
        return
    with open_container(path) as container:
        for frames, log_name in _pairs(container):
            yield from _pair(container, frames, log_name)


def _pairs(container: Container) -> list[tuple[str, str]]:
    by_stem: dict[str, dict[str, str]] = {}
    for name in container.names():
        stem, _, ending = uncompressed_name(name).rpartition(".")
        # .txt files with other names are licences and instructions
        if ending == "extxyz" or (ending == "txt" and stem.rsplit("/", 1)[-1].isdigit()):
            if ending in by_stem.setdefault(stem, {}):
                raise HpoptError(
                    f"{container.path}: {by_stem[stem][ending]} and {name} are the same file twice",
                    remedy="remove one of them",
                )
            by_stem[stem][ending] = name
    if not by_stem:
        raise HpoptError(f"{container.path}: no .extxyz file in it", remedy="check the name of the input")
    for stem, found in by_stem.items():
        for ending, other in (("txt", "extxyz"), ("extxyz", "txt")):
            if ending not in found:
                raise HpoptError(
                    f"{container.path}: {stem}.{ending}: missing beside {found[other]}",
                    remedy="download the set again, or remove the other file of the pair",
                )
    return [(found["extxyz"], found["txt"]) for found in by_stem.values()]


def _pair(container: Container, frames_name: str, log_name: str) -> Iterator[Atoms]:
    where, log_where = container.path / frames_name, container.path / log_name
    frames = _frames(container, frames_name, where)
    for number, (atoms, entry) in enumerate(zip_longest(frames, _log(container, log_name, log_where))):
        if entry is None:
            raise HpoptError(
                f"{log_where}: line {number + 1}: missing, but {frames_name} goes on with frame {number}",
                remedy="the two files do not belong together, or one is truncated; download both again",
            )
        if atoms is None:
            raise HpoptError(
                f"{log_where}: line {number + 1}: no frame for it: {frames_name} ends after {number}",
                remedy="the two files do not belong together, or one is truncated; download both again",
            )
        atoms.info |= {**entry._asdict(), "energy_kind": "raw", "source": frames_name}
        yield atoms


def _frames(container: Container, name: str, where: Path) -> Iterator[Atoms]:
    number = 0
    try:
        with text_lines(container.open(name), name) as text:
            for atoms in frames_of_text(text):
                yield atoms
                number += 1
    except (*DAMAGE, ValueError) as error:
        raise damaged(f"{where}: frame {number}", error) from error


def _log(container: Container, name: str, where: Path) -> Iterator[LogEntry]:
    number = 0
    try:
        with text_lines(container.open(name), name) as text:
            for number, line in enumerate(text, start=1):
                entry = _parsed(line)
                if entry is None:
                    raise HpoptError(
                        f"{where}: line {number}: {line.strip()[:60]!r} is not system,frameN,reference",
                        remedy="download the file again",
                    )
                yield entry
    except DAMAGE as error:
        raise damaged(f"{where}: line {number + 1}", error) from error


def _parsed(line: str) -> LogEntry | None:
    match = LOG_LINE.match(line.strip())
    if match is None:
        return None
    try:
        return LogEntry(match["system"], int(match["frame"]), float(match["reference"]))
    except ValueError:
        return None


def _log_beside(path: Path) -> Path | None:
    """The .txt of a single .extxyz file, when its first line is one of a log."""
    stem = uncompressed_name(path.name).rpartition(".")[0]
    for ending in (".txt", ".txt.xz", ".txt.gz", ".txt.bz2"):
        log = path.with_name(stem + ending)
        if log.is_file():
            try:
                with text_lines(open(log, "rb"), log.name) as text:
                    first = text.readline().strip()
            except DAMAGE:
                return log  # named like the log; reading it will say what is wrong
            return log if _parsed(first) else None
    return None
