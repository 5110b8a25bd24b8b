"""The files that go into a store: which ones, how they are read, and their frames."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from ase import Atoms

from hpopt_lib.data.readers import UNKNOWN_ENERGIES, FrameSource
from hpopt_lib.errors import HpoptError

DUPLICATE_CHOICES = ("error", "drop", "keep")


@dataclass(frozen=True)
class Input:
    """One input file and the name of the split it becomes.

    A split of a split file has several `parts`: a file, and a mask of the frames that belong to it.
    """

    split: str
    path: Path
    parts: tuple[tuple[Path, np.ndarray | None], ...] = ()

    @property
    def files(self) -> list[tuple[Path, np.ndarray | None]]:
        """Files with the mask of the frames that are used, None for all."""
        return list(self.parts) or [(self.path, None)]

    @property
    def source(self) -> str:
        """Names of the files."""
        return ", ".join(path.name for path, _ in self.files)


@dataclass(frozen=True)
class ReadOptions:
    """How input files are read and checked.

    Attributes
    ----------
    energy_unit, length_unit : str, optional
        Units of the numbers in the files; by default those of their format.
    check_units : bool
        Whether implausible magnitudes are errors.
    duplicates : {"error", "drop", "keep"}
        What to do with a frame that occurred before, in the same file or in an earlier one.
        A frame shared by training and validation makes every error look better than it is.
    format : str
        Name in `hpopt_lib.data.formats`, or ``auto``.
    energy : {"raw", "adsorption"}, optional
        Which energy to learn where the files have both; raw by default.
    trust_pickle : bool
        Whether pickled input may be loaded, which can run code.
    """

    energy_unit: str | None = None
    length_unit: str | None = None
    check_units: bool = True
    duplicates: str = "error"
    format: str = "auto"
    energy: str | None = None
    trust_pickle: bool = False


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


class InputFrames:
    """The frames of one split, out of one file or of the parts of several.

    Parameters
    ----------
    item : Input
    options : ReadOptions

    Raises
    ------
    HpoptError
        When a file is missing or of unknown units. Iterating raises for damaged input, for files of
        one split that differ in units or in the kind of energy, and when a file has other frames than
        were split.
    """

    def __init__(self, item: Input, options: ReadOptions) -> None:
        self.item = item
        self.sources = [
            FrameSource(
                path, format=options.format, energy_unit=options.energy_unit, length_unit=options.length_unit,
                energy=options.energy, check_units=options.check_units, trust_pickle=options.trust_pickle,
            )
            for path, _ in item.files
        ]  # fmt: skip

    @property
    def energy(self) -> str:
        """Which energies the frames that were read so far hold."""
        return str(self.record()["energy"])

    def record(self) -> dict[str, Any]:
        """How the input was read, see `hpopt_lib.data.readers.FrameSource.record`."""
        formats = dict.fromkeys(source.format.name for source in self.sources)
        return self.sources[0].record() | {"format": ", ".join(formats)}

    def __iter__(self) -> Iterator[tuple[Path, int, Atoms]]:
        for source, (path, wanted) in zip(self.sources, self.item.files, strict=True):
            number = -1
            for number, atoms in enumerate(source):
                if not number:
                    self._check_like_the_first(source)
                if wanted is None or (number < len(wanted) and wanted[number]):
                    yield path, number, atoms
            if wanted is not None and number + 1 != len(wanted):
                raise HpoptError(
                    f"{self.item.path}: n_frames: {len(wanted)} in {path.name}, which gives {number + 1}",
                    remedy="make the split file again with hpopt data split",
                )

    def _check_like_the_first(self, source: FrameSource) -> None:
        first, here, other = self.record(), source.record(), str(self.sources[0].path)
        check_same_kind(here["energy"], first["energy"], where=str(source.path), other=other)
        for field in ("energy_unit", "length_unit"):
            if here[field] != first[field]:
                raise HpoptError(
                    f"{source.path}: {field}: {here[field]}, but {first[field]} in {other}",
                    remedy="put files of one unit into a split",
                )


def check_same_kind(kind: str, known: str, *, where: str, other: str) -> None:
    """Raise when one input holds raw and the other adsorption energies; unknown ones fit to all."""
    if UNKNOWN_ENERGIES not in (kind, known) and kind != known:
        raise HpoptError(
            f"{where}: energy: {kind} energies, but {known} in {other}",
            remedy="pass --energy raw or adsorption, or give files of one kind",
        )
