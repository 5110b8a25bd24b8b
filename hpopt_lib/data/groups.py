"""System, adsorbate, composition and temperature of a frame: by its labels, else by what it is."""

from __future__ import annotations

import hashlib
import math
from array import array
from dataclasses import dataclass, field

import numpy as np
from ase import Atoms
from ase.formula import Formula

#: What frames can be grouped by.
KINDS = ("system", "adsorbate", "composition", "temperature")
#: Keys of ``atoms.info`` that hold a label of each kind, the first that is there counts.
LABELS = {
    "system": ("system_id",),
    "adsorbate": ("adsorbate",),
    "composition": ("composition",),
    "temperature": ("temperature_k", "thermostat_temperature_k", "dynamics_temperature_k"),
}
#: Where a group comes from when there is no label. All are coarse rather than fine: what might be the same
#: counts as the same, so that nothing leaks.
DERIVED = {
    "system": "composition, cell and tags",
    "adsorbate": "formula of the atoms with tag 2, so isomers count as one",
    "composition": "set of elements of the slab (tags 0 and 1), or the formula of a frame without tags",
    "temperature": "",
}


def label_of(kind: str, atoms: Atoms) -> str | None:
    """The label of a frame as text, or None when it has none.

    The formula of a slab counts as its set of elements, as where OC20 holds out catalysts.
    """
    for name in LABELS[kind]:
        value = atoms.info.get(name)
        if value is None or value == "":
            continue
        if kind == "composition" and atoms.get_tags().any():
            return _elements(str(value))
        if kind != "temperature":
            return str(value)
        if isinstance(value, int | float | np.number) and math.isfinite(value):
            return f"{float(value):g} K"
    return None


def derived_group(kind: str, atoms: Atoms) -> str | None:
    """What a frame without a label is grouped by, or None when that cannot be told; see `DERIVED`."""
    tags = atoms.get_tags()
    if kind == "system":
        return _system_digest(atoms, tags)
    tagged = bool(tags.any())
    if kind == "adsorbate" and tagged:
        return atoms.symbols[tags == 2].get_chemical_formula() or "none"
    if kind == "composition":
        return "-".join(sorted(set(atoms.symbols[tags < 2]))) if tagged else atoms.get_chemical_formula()
    return None


def _elements(formula: str) -> str:
    try:
        return "-".join(sorted(Formula(formula).count()))
    except ValueError:
        return formula


def _system_digest(atoms: Atoms, tags: np.ndarray) -> str:
    """Frames of one relaxation or trajectory in a fixed cell agree in this, whatever the order of atoms."""
    order = np.lexsort((tags, atoms.numbers))
    digest = hashlib.sha256()
    for values in (atoms.numbers[order], tags[order], atoms.cell.array.round(3) + 0.0, atoms.pbc):
        digest.update(np.ascontiguousarray(values).tobytes())
    return f"{atoms.get_chemical_formula()}-{digest.hexdigest()[:10]}"


def is_labelled(kind: str, atoms: Atoms, *, default_system: str) -> bool:
    """Whether a frame has a label of a kind.

    Parameters
    ----------
    kind : str
    atoms : ase.Atoms
    default_system : str
        ``system_id`` that the reader gives to a frame whose file names no system.
    """
    label = label_of(kind, atoms)
    return label is not None and not (kind == "system" and label == default_system)


@dataclass(frozen=True)
class Groups:
    """The groups of some frames.

    Attributes
    ----------
    kind : str
        One of `KINDS`.
    codes : numpy.ndarray of int, shape (n_frames,)
        Number of each frame's group, -1 where it is not known.
    names : list of str
        Names of the groups.
    origin : str
        Where they come from, for a person.
    """

    kind: str
    codes: np.ndarray
    names: list[str]
    origin: str

    @property
    def complete(self) -> bool:
        """Whether the group of every frame is known."""
        return bool((self.codes >= 0).all())


@dataclass
class _Column:
    codes: array = field(default_factory=lambda: array("q"))
    names: dict[str, int] = field(default_factory=dict)

    def add(self, name: str | None) -> None:
        self.codes.append(-1 if name is None else self.names.setdefault(name, len(self.names)))


class FrameGroups:
    """The groups of many frames, gathered in one pass: about 64 bytes a frame."""

    def __init__(self) -> None:
        self._labels = {kind: _Column() for kind in KINDS}
        self._derived = {kind: _Column() for kind in KINDS}
        self._files: list[tuple[str, int]] = []

    def begin(self, file: str) -> None:
        """Say that the frames that follow are of another file."""
        self._files.append((file, len(self)))

    def where(self, frame: int) -> str:
        """File and number in it of a frame, for messages."""
        file, start = next(((f, s) for f, s in reversed(self._files) if s <= frame), ("", 0))
        return f"{file}: frame {frame - start}" if file else f"frame {frame}"

    def __len__(self) -> int:
        return len(self._labels["system"].codes)

    def add(self, atoms: Atoms, *, default_system: str = "") -> None:
        """Take in a frame (see `is_labelled`)."""
        for kind in KINDS:
            labelled = is_labelled(kind, atoms, default_system=default_system)
            self._labels[kind].add(label_of(kind, atoms) if labelled else None)
            self._derived[kind].add(derived_group(kind, atoms))

    def of(self, kind: str) -> Groups:
        """Groups by labels when every frame has one, else derived for all.

        Labels of some frames and derived groups of others could give one system two names.
        """
        labels = self._labels[kind]
        codes = np.array(labels.codes, dtype=np.int64)
        n_labelled = int((codes >= 0).sum())
        if n_labelled == len(codes) or not DERIVED[kind]:
            return Groups(kind, codes, list(labels.names), f"labels ({' or '.join(LABELS[kind])})")
        return Groups(
            kind,
            np.array(self._derived[kind].codes, dtype=np.int64),
            list(self._derived[kind].names),
            f"derived ({DERIVED[kind]}); {n_labelled} of {len(codes)} frames have a label",
        )
