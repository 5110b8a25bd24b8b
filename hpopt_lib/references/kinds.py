"""References other than the linear fit: none, energies of elements, and each frame's own."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Protocol

import numpy as np
from ase import Atoms
from ase.data import chemical_symbols

from hpopt_lib.errors import HpoptError
from hpopt_lib.files import checksum
from hpopt_lib.references.files import read_element_energies, read_isolated_atoms
from hpopt_lib.references.linear import LINEAR, MAX_Z, LinearReference, composition

NONE, FILE, ISOLATED, ADSORPTION = "none", "per-element file", "isolated atoms", "adsorption"
#: Key of ``atoms.info`` with the clean slab's plus the gas references' energy in eV, as in OC20's .txt files.
REFERENCE_ENERGY = "reference_energy"
CHOICES = "none, linear, FILE, isolated-atoms=FILE or adsorption"


class Reference(Protocol):
    """What all kinds of references can do."""

    @property
    def kind(self) -> str:
        """Short name in stores and results."""

    @property
    def label(self) -> str:
        """What energies are relative to, for a person; fits behind "energies relative to"."""

    @property
    def source(self) -> dict[str, str] | None:
        """``file`` and ``sha256`` of the file that the numbers are from, if any."""

    @property
    def baseline(self) -> LinearReference:
        """The per-element linear fit of the training split, which stays the baseline of every kind."""

    def of_frames(
        self, numbers: np.ndarray, n_atoms: np.ndarray, info: Sequence[Mapping[str, Any]]
    ) -> np.ndarray:
        """Reference energies of frames in eV, shape (n_frames,).

        Parameters
        ----------
        numbers : numpy.ndarray of int, shape (n_atoms_total,)
        n_atoms : numpy.ndarray of int, shape (n_frames,)
        info : sequence of dict, length n_frames

        Raises
        ------
        HpoptError
            When a frame has an element without an energy, or lacks its own reference energy.
        """

    def of_atoms(self, numbers: np.ndarray, info: Mapping[str, Any]) -> np.ndarray:
        """Shares of the atoms of one frame in its reference energy, in eV, shape (n_atoms,)."""

    def to_dict(self) -> dict[str, Any]:
        """Settings and numbers for a JSON header; `reference_from_dict` is the inverse."""


@dataclass(frozen=True)
class GivenReference:
    """No reference, one energy for each element, or each frame's own reference energy.

    What is left of the training frames is brought to a mean of zero by one number for each atom, fitted on
    the training split, since a network starts near zero and would first have to learn that offset.

    Attributes
    ----------
    kind : str
        `NONE`, `FILE`, `ISOLATED` or `ADSORPTION`.
    coefficients : numpy.ndarray, shape (119,)
        Energies of elements in eV, NaN where not known; zeros for `NONE` and `ADSORPTION`.
    source : dict or None
        ``file`` and ``sha256``.
    shift_ev_per_atom : float
        That number, in eV.
    fit : LinearReference or None
        The linear fit of the training split; None before there is one.
    """

    kind: str
    coefficients: np.ndarray
    source: dict[str, str] | None = None
    shift_ev_per_atom: float = 0.0
    fit: LinearReference | None = None

    @property
    def label(self) -> str:
        """What energies are relative to."""
        if self.kind == NONE:
            return "nothing: total energies"
        if self.kind == ADSORPTION:
            return "each frame's own reference energy: adsorption energies"
        assert self.source is not None
        what = "isolated atoms" if self.kind == ISOLATED else "energies of elements"
        known = int(np.isfinite(self.coefficients).sum())
        return f"{what} in {self.source['file']} (sha256 {self.source['sha256'][:12]}): {known} elements"

    @property
    def baseline(self) -> LinearReference:
        """The linear fit of the training split."""
        assert self.fit is not None, "a reference is complete only after the training split was read"
        return self.fit

    def fitted(self, fit: LinearReference, left_ev_per_atom: float) -> GivenReference:
        """This reference with what belongs to a training split."""
        return replace(self, fit=fit, shift_ev_per_atom=left_ev_per_atom)

    def check(self, atoms: Atoms, *, where: str) -> None:
        """Raise when a frame, at the place `where`, has no reference energy, or had it subtracted already."""
        if self.kind == ADSORPTION and atoms.info.get("energy_kind") == "adsorption":
            raise HpoptError(
                f"{where}: energy_kind: adsorption, so the reference energy was subtracted already",
                remedy="read raw energies, or use --references none or linear",
            )
        self._energies(atoms.numbers, atoms.info, where=where)

    def of_frames(
        self, numbers: np.ndarray, n_atoms: np.ndarray, info: Sequence[Mapping[str, Any]]
    ) -> np.ndarray:
        """Reference energies in eV, shape (n_frames,); see `Reference`."""
        shift = self.shift_ev_per_atom * np.asarray(n_atoms, dtype=float)
        if self.kind == ADSORPTION:
            own = [_own_energy(entry, where=_name(i, entry)) for i, entry in enumerate(info)]
            return np.array(own, dtype=float) + shift
        if np.isnan(self.coefficients[numbers]).any():
            starts = np.concatenate([[0], np.cumsum(n_atoms)])
            for i, entry in enumerate(info):
                self._energies(numbers[starts[i] : starts[i + 1]], entry, where=_name(i, entry))
        return composition(numbers, n_atoms) @ np.nan_to_num(self.coefficients) + shift

    def of_atoms(self, numbers: np.ndarray, info: Mapping[str, Any]) -> np.ndarray:
        """Shares of the atoms; a frame's own energy, which has no shares, is spread evenly."""
        return self._energies(numbers, info, where="structure") + self.shift_ev_per_atom

    def _energies(self, numbers: np.ndarray, info: Mapping[str, Any], *, where: str) -> np.ndarray:
        if self.kind == ADSORPTION:
            return np.full(len(numbers), _own_energy(info, where=where) / len(numbers))
        energies = self.coefficients[numbers]
        if np.isnan(energies).any():
            symbol = chemical_symbols[int(numbers[np.isnan(energies)][0])]
            assert self.source is not None
            raise HpoptError(
                f"{where}: element {symbol}: no energy in {self.source['file']}",
                remedy="add the element to the file, or use --references linear",
            )
        return energies

    def to_dict(self) -> dict[str, Any]:
        """Settings and numbers for a JSON header."""
        known = np.flatnonzero(np.isfinite(self.coefficients))
        by_element = self.kind in (FILE, ISOLATED)
        return {
            "kind": self.kind,
            "unit": "eV",
            "source": self.source,
            "coefficients": {str(z): float(self.coefficients[z]) for z in known} if by_element else {},
            "shift_ev_per_atom": self.shift_ev_per_atom,
            "baseline": self.baseline.to_dict(),
        }


def _own_energy(info: Mapping[str, Any], *, where: str) -> float:
    value = info.get(REFERENCE_ENERGY)
    if isinstance(value, bool) or not isinstance(value, int | float | np.number) or not math.isfinite(value):
        problem = "missing" if value is None else f"{value!r} is no finite number"
        raise HpoptError(
            f"{where}: {REFERENCE_ENERGY}: {problem}, so its adsorption energy and total energy cannot be "
            "turned into each other",
            remedy=f"set atoms.info[{REFERENCE_ENERGY!r}] (eV; the third column of OC20's .txt files), "
            "or use another --references",
        )
    return float(value)


def _name(index: int, info: Mapping[str, Any]) -> str:
    return f"frame {index} (system {info.get('system_id', 'without a name')})"


def parse_reference(text: str, *, energy_unit: str | None = None) -> GivenReference | None:
    """Turn the option ``--references`` into a reference that waits for its training split.

    Parameters
    ----------
    text : str
        ``linear``, ``none``, ``adsorption``, the name of a file, or ``isolated-atoms=FILE``.
    energy_unit : str, optional
        Of the energies in structure files, by default that of the format; tables of elements are in eV.

    Returns
    -------
    GivenReference or None
        None stands for the linear fit, which needs nothing before the training split was read.

    Raises
    ------
    HpoptError
        For an unknown kind, or a file that cannot be used.
    """
    if text == "linear":
        return None
    if text in (NONE, ADSORPTION):
        return GivenReference(text, np.zeros(MAX_Z))
    prefix, equals, name = text.partition("=")
    if equals and prefix == "isolated-atoms":
        path, kind = Path(name), ISOLATED
        energies = read_isolated_atoms(path, energy_unit=energy_unit)
    elif Path(text).suffix or Path(text).exists():
        path, kind = Path(text), FILE
        energies = read_element_energies(path)
    else:
        raise HpoptError(f"--references: {text!r} is unknown", remedy=f"use {CHOICES}")
    return GivenReference(kind, energies, {"file": path.name, "sha256": checksum(path)})


def reference_from_dict(data: Mapping[str, Any]) -> Reference:
    """Inverse of ``to_dict`` of every kind.

    Raises
    ------
    HpoptError
        For a kind that this version does not know.
    """
    kind = data["kind"]
    if kind == LINEAR:
        return LinearReference.from_dict(data)
    if kind not in (NONE, FILE, ISOLATED, ADSORPTION):
        raise HpoptError(f"reference: kind {kind!r} is unknown", remedy="use the hpopt that wrote the file")
    coefficients = np.full(MAX_Z, np.nan) if kind in (FILE, ISOLATED) else np.zeros(MAX_Z)
    for z, value in data["coefficients"].items():
        coefficients[int(z)] = value
    fit = LinearReference.from_dict(data["baseline"])
    return GivenReference(kind, coefficients, data["source"], float(data["shift_ev_per_atom"]), fit)
