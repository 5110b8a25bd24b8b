"""Frames out of any input, one at a time: found, read, converted, checked and labelled."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
from ase import Atoms

from hpopt_lib.data.checks import check_frame
from hpopt_lib.data.containers import damaged
from hpopt_lib.data.formats import find_format
from hpopt_lib.data.frame_labels import ENERGY_KINDS, choose_energy, set_labels
from hpopt_lib.data.reader_protocol import ReaderOptions
from hpopt_lib.data.unit_checks import FIRST_CHECK_FRAMES, MagnitudeSample, check_file
from hpopt_lib.errors import HpoptError
from hpopt_lib.units import PER_ANGSTROM, PER_EV

#: What a store says where a source does not tell which energies it holds.
UNKNOWN_ENERGIES = "as in the file"
#: What a message says of a frame that does not tell it.
UNLABELLED = "unknown (neither energy_kind nor reference_energy)"


class FrameSource:
    """One input, and the record of how it was read.

    Parameters
    ----------
    path : str or Path
        A file or folder of one of the formats in `hpopt_lib.data.formats`.
    format : str
        Its name there, or ``auto``.
    energy_unit, length_unit : str, optional
        Units of the numbers in the files; by default those of the format.
    energy : {"raw", "adsorption"}, optional
        Which energy frames get where the source has both; by default what it holds: raw where it has both.
    check_units : bool
        Whether magnitudes that do not fit the declared units are errors.
    trust_pickle : bool
        Whether pickled data may be loaded.

    Raises
    ------
    HpoptError
        When the input is missing or empty, or an option is unknown. Iterating raises for input that
        is damaged and for frames that fail a check.

    Examples
    --------
    >>> source = FrameSource("s2ef_train_200K", energy="adsorption")  # doctest: +SKIP
    >>> sum(1 for atoms in source)  # doctest: +SKIP
    200000
    >>> source.record()["energy"]  # doctest: +SKIP
    'adsorption'
    """

    def __init__(
        self,
        path: str | Path,
        *,
        format: str = "auto",
        energy_unit: str | None = None,
        length_unit: str | None = None,
        energy: str | None = None,
        check_units: bool = True,
        trust_pickle: bool = False,
    ) -> None:
        self.path = Path(path)
        if not self.path.exists():
            raise HpoptError(f"{self.path}: no such file", remedy="check the name of the input")
        if self.path.is_file() and self.path.stat().st_size == 0:
            raise HpoptError(f"{self.path}: the file is empty", remedy="make or download it again")
        if energy is not None and energy not in ENERGY_KINDS:
            raise HpoptError(f"--energy: {energy!r} is unknown", remedy=f"use {' or '.join(ENERGY_KINDS)}")
        self.format = find_format(self.path, format)
        self.energy_unit, self.length_unit = (
            energy_unit or self.format.energy_unit,
            length_unit or self.format.length_unit,
        )
        for option, unit, known in (
            ("--energy-unit", self.energy_unit, PER_EV), ("--length-unit", self.length_unit, PER_ANGSTROM)
        ):  # fmt: skip
            if unit not in known:
                raise HpoptError(f"{option}: {unit!r} is unknown", remedy=f"use one of {', '.join(known)}")
        self.energy, self.check_units, self.trust_pickle = energy, check_units, trust_pickle
        self._kind: str | None = None
        self._n_frames = 0

    def record(self) -> dict[str, Any]:
        """How the input was read, for the header of a store; complete after the last frame."""
        return {
            "format": self.format.name,
            "energy_unit": self.energy_unit,
            "length_unit": self.length_unit,
            "ev_per_energy_unit": 1.0 / PER_EV[self.energy_unit],
            "angstrom_per_length_unit": 1.0 / PER_ANGSTROM[self.length_unit],
            "energy": self._kind or UNKNOWN_ENERGIES,
        }

    def __iter__(self) -> Iterator[Atoms]:
        scale_energy, scale_length = 1.0 / PER_EV[self.energy_unit], 1.0 / PER_ANGSTROM[self.length_unit]
        sample = MagnitudeSample()
        self._n_frames = 0
        for number, atoms in enumerate(self._read()):
            where = f"{self.path}: frame {number}"
            source = atoms.info.get("source")
            if isinstance(source, str) and source != self.path.name:
                where += f" (in {source})"
            convert(atoms, scale_energy=scale_energy, scale_length=scale_length)
            sample.add(check_frame(atoms, where=where))
            set_labels(atoms, where=where, default_system=f"{self.path.stem}-{number}", source=self.path.name)
            kind = choose_energy(atoms, self.energy, where=where)
            if number and kind != self._kind:
                first, now = (name or UNLABELLED for name in (self._kind, kind))
                raise HpoptError(
                    f"{where}: energy: {now}, but {first} before",
                    remedy="pass --energy raw or adsorption, or split the file",
                )
            self._kind, self._n_frames = kind, number + 1
            if self.check_units and self._n_frames == FIRST_CHECK_FRAMES:
                self._check(sample)
            yield atoms
        if not self._n_frames:
            raise HpoptError(f"{self.path}: no frame in it", remedy="make or download it again")
        if self.check_units:
            self._check(sample)

    def _check(self, sample: MagnitudeSample) -> None:
        check_file(sample, path=self.path, energy_unit=self.energy_unit, length_unit=self.length_unit)

    def _read(self) -> Iterator[Atoms]:
        """Frames as the reader of the format gives them; what it raises becomes one clear line."""
        from ase.io.formats import UnknownFileTypeError

        frames = self.format.read(self.path, ReaderOptions(trust_pickle=self.trust_pickle))
        number = 0
        while True:
            try:
                atoms = next(frames, None)
            except HpoptError:
                raise
            except UnknownFileTypeError as error:
                raise HpoptError(
                    f"{self.path}: no known structure format",
                    remedy="give a file that ASE reads, such as .traj or .extxyz",
                ) from error
            except Exception as error:  # readers of some eighty formats raise whatever they like
                raise damaged(f"{self.path}: frame {number}", error) from error
            if atoms is None:
                return
            number += 1
            yield atoms


def read_frames(path: str | Path, **options: Any) -> Iterator[Atoms]:
    """Stream the frames of an input in eV and Å; `options` are those of `FrameSource`.

    Yields
    ------
    ase.Atoms
        With energy (eV), forces (eV/Å, when the input has them) and the labels of
        `hpopt_lib.data.frame_labels.LABELS`. Where the input names no system, every frame is one of its own.

    Raises
    ------
    HpoptError
        When the input is missing, empty, truncated or unreadable, or a frame fails a check.
    """
    yield from FrameSource(path, **options)


def convert(atoms: Atoms, *, scale_energy: float, scale_length: float) -> None:
    """Bring a frame's numbers to eV and Å, in place, energies in its labels too.

    Parameters
    ----------
    atoms : ase.Atoms
    scale_energy, scale_length : float
        One unit of the file in eV, and in Å.
    """
    if scale_length != 1.0:
        atoms.positions *= scale_length
        atoms.cell *= scale_length
        if atoms.calc is not None:
            # a stored result belongs to the positions it was computed for; keep the two together
            atoms.calc.atoms.positions[:] = atoms.positions
            atoms.calc.atoms.cell[:] = atoms.cell
    if scale_energy != 1.0:
        for key in ("reference_energy", "adsorption_energy"):
            if isinstance(atoms.info.get(key), int | float | np.number):
                atoms.info[key] = atoms.info[key] * scale_energy
    if atoms.calc is not None:
        results = atoms.calc.results
        for key in ("energy", "free_energy"):
            if results.get(key) is not None:
                results[key] = results[key] * scale_energy
        if results.get("forces") is not None:
            results["forces"] = np.asarray(results["forces"]) * (scale_energy / scale_length)
