"""What a reader is: a function from a path to labelled frames, with the units its files are in."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from ase import Atoms


@dataclass(frozen=True)
class ReaderOptions:
    """What a reader may do.

    Attributes
    ----------
    trust_pickle : bool
        Whether the user said that pickled data may be loaded.
    """

    trust_pickle: bool = False


class Reader(Protocol):
    """Anything that streams the frames of one input.

    Numbers stay in the units of the files; `hpopt_lib.data.readers.FrameSource` converts and checks them.
    The energy and forces are in ``atoms.calc.results``, fixed atoms are a ``FixAtoms`` constraint, tags are
    ASE's, and labels stand in ``atoms.info`` under the names in `hpopt_lib.data.frame_labels.LABELS`. Memory
    must not grow with the number of frames. Damaged input raises `hpopt_lib.errors.HpoptError` naming file
    and place; any other exception is reported with the number of the frame.
    """

    def __call__(self, path: Path, options: ReaderOptions) -> Iterator[Atoms]:
        """Frames in their order."""


@dataclass(frozen=True)
class Format:
    """One file format.

    Attributes
    ----------
    name : str
        Value of ``--format``.
    files : str
        What the files look like, for people.
    detect : callable
        Whether a path holds this format; must not raise for files of other formats.
    read : Reader
    energy_unit, length_unit : str
        Units of the files unless the user says otherwise; forces are in their ratio.
    energies : str
        Which energies the files hold, for people.
    sets_labels : tuple of str
        Labels beyond ``composition``, ``source`` and, with tags, ``adsorbate``, which all frames have.
    """

    name: str
    files: str
    detect: Callable[[Path], bool]
    read: Reader
    energy_unit: str = "eV"
    length_unit: str = "Å"
    energies: str = "as the file holds them"
    sets_labels: tuple[str, ...] = ()
