"""Split files: which frame of which input belongs to which split, kept to be used again."""

from __future__ import annotations

import datetime
import json
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from ase import Atoms

import hpopt_lib
from hpopt_lib.data.groups import FrameGroups
from hpopt_lib.data.readers import read_frames
from hpopt_lib.data.split_ranges import format_ranges, parse_ranges
from hpopt_lib.data.split_request import Division, SplitRequest
from hpopt_lib.data.splits import divide
from hpopt_lib.errors import HpoptError
from hpopt_lib.files import atomic_path, checksum
from hpopt_lib.progress import progress

FORMAT, VERSION = "hpopt-split", 1
#: A file with more frames is none of ours: OC20, all of it, has 134 million.
MAX_FRAMES = 10**9


@dataclass(frozen=True)
class SplitFile:
    """A division of the frames of some files, with how it was made.

    Attributes
    ----------
    by : str
        See `hpopt_lib.data.split_request.CHOICES`.
    seed : int
    fractions : list of float or None
        Wanted shares; None for folds.
    folds : int
        Number of folds, or 0.
    inputs : list of dict
        ``file`` (its name), ``sha256`` and ``n_frames`` of every input.
    splits : dict
        Name to ``n_frames``, ``n_groups`` and ``frames``: for every input the numbers of its frames as
        ranges, such as ``"0-99,120"``.
    disjoint : list of (kind, split, split)
        Pairs of splits that share no group of a kind.
    origins : dict of str to str
        Where the groups come from.
    notes : list of str
    created, hpopt_version : str
    """

    by: str
    seed: int
    fractions: list[float] | None
    folds: int
    inputs: list[dict[str, Any]]
    splits: dict[str, dict[str, Any]]
    disjoint: list[tuple[str, str, str]] = field(default_factory=list)
    origins: dict[str, str] = field(default_factory=dict)
    notes: list[str] = field(default_factory=list)
    created: str = ""
    hpopt_version: str = hpopt_lib.__version__

    def save(self, path: str | Path, *, overwrite: bool = False) -> None:
        """Write the file as JSON, whole or not at all."""
        text = json.dumps({"format": FORMAT, "version": VERSION, **asdict(self)}, indent=1)
        with atomic_path(path, overwrite=overwrite) as temporary:
            temporary.write_text(text + "\n", encoding="utf-8")

    @classmethod
    def load(cls, path: str | Path) -> SplitFile:
        """Read and check a file that `save` wrote.

        Raises
        ------
        HpoptError
            Naming file and field, when it is missing, damaged, of another version, or contradicts itself.
        """
        path = Path(path)
        remedy = "make it again with hpopt data split"
        try:
            data = json.loads(path.read_text(encoding="utf-8"))
        except FileNotFoundError:
            raise HpoptError(f"{path}: no such file", remedy="make it with hpopt data split") from None
        except (OSError, ValueError) as error:
            raise HpoptError(f"{path}: not a readable split file: {error}", remedy=remedy) from error
        if not isinstance(data, dict) or data.pop("format", None) != FORMAT:
            raise HpoptError(f"{path}: format: not a split file of hpopt", remedy=remedy)
        if (version := data.pop("version", None)) != VERSION:
            raise HpoptError(f"{path}: version: {version}, this hpopt reads {VERSION}", remedy=remedy)
        fields = {f: data[f] for f in cls.__dataclass_fields__ if f in data}
        if missing := {"by", "seed", "fractions", "folds", "inputs", "splits"} - fields.keys():
            raise HpoptError(f"{path}: {sorted(missing)[0]}: missing", remedy=remedy)
        split = cls(**fields)
        split._check(path, remedy)
        return split

    def _check(self, path: Path, remedy: str) -> None:
        def refuse(field: str, problem: str) -> None:
            raise HpoptError(f"{path}: {field}: {problem}", remedy=remedy)

        inputs = self.inputs if isinstance(self.inputs, list) else []
        keys = {"file": str, "sha256": str, "n_frames": int}
        for i, entry in enumerate(inputs):
            for key, kind in keys.items():
                if not isinstance(entry, dict) or not isinstance(entry.get(key), kind):
                    refuse(f"inputs[{i}].{key}", "missing or of another type")
            if not 0 < entry["n_frames"] <= MAX_FRAMES:
                refuse(f"inputs[{i}].n_frames", f"{entry['n_frames']} is out of range")
        if not inputs:
            refuse("inputs", "none")
        if not isinstance(self.folds, int) or not isinstance(self.splits, dict) or len(self.splits) < 2:
            refuse("splits", "fewer than two")
        if not all(isinstance(entry, list) and len(entry) == 3 for entry in self.disjoint):
            refuse("disjoint", "not a list of kind and two splits")
        taken = [np.zeros(entry["n_frames"], dtype=bool) for entry in inputs]
        for name, entry in self.splits.items():
            ranges = entry.get("frames") if isinstance(entry, dict) else None
            if not isinstance(ranges, list) or len(ranges) != len(inputs):
                refuse(f"splits.{name}.frames", f"not one text for each of {len(inputs)} inputs")
                continue
            for i, text in enumerate(ranges):
                where = f"splits.{name}.frames[{i}]"
                try:
                    numbers = parse_ranges(text, len(taken[i]))
                except ValueError as error:
                    refuse(where, str(error))
                    continue
                if taken[i][numbers].any():
                    refuse(where, f"frame {numbers[taken[i][numbers]][0]} is in another split too")
                taken[i][numbers] = True

    def frames(self, split: str, index: int) -> np.ndarray:
        """Which frames of an input belong to a split: a mask of shape (n_frames,)."""
        mask = np.zeros(self.inputs[index]["n_frames"], dtype=bool)
        mask[parse_ranges(self.splits[split]["frames"][index], len(mask))] = True
        return mask


def make_split_file(
    paths: Sequence[Path],
    request: SplitRequest,
    *,
    frames_of: Callable[[Path], Iterator[Atoms]] | None = None,
) -> tuple[SplitFile, Division]:
    """Read files and divide their frames.

    Parameters
    ----------
    paths : sequence of Path
    request : SplitRequest
    frames_of : callable, optional
        Reads a file; `hpopt_lib.data.readers.read_frames` without its check of units by default.

    Raises
    ------
    HpoptError
        For files that cannot be read, and what `hpopt_lib.data.splits.divide` raises.
    """
    request.check()
    sums = [checksum(_existing(path)) for path in paths]
    for i, total in enumerate(sums):
        if total in sums[:i]:
            raise HpoptError(
                f"{paths[i]}: the same contents as {paths[sums.index(total)]}", remedy="name it once"
            )
    groups, inputs = FrameGroups(), []
    for path, total in zip(paths, sums):
        groups.begin(str(path))
        before = len(groups)
        frames = frames_of(path) if frames_of else read_frames(path, check_units=False)
        for number, atoms in enumerate(progress(frames, desc=f"read {path.name}", unit="frame")):
            groups.add(atoms, default_system=f"{path.stem}-{number}")
        inputs.append({"file": path.name, "sha256": total, "n_frames": len(groups) - before})
    division = divide(groups, request)
    starts = np.concatenate([[0], np.cumsum([entry["n_frames"] for entry in inputs])])
    splits = {}
    for k, name in enumerate(division.names):
        numbers = [np.flatnonzero(part == k) for part in np.split(division.assignment, starts[1:-1])]
        splits[name] = {
            "n_frames": int(sum(map(len, numbers))),
            "n_groups": int(division.n_groups[k]),
            "frames": [format_ranges(found) for found in numbers],
        }
    split = SplitFile(
        by=request.by,
        seed=request.seed,
        fractions=None if request.folds else list(request.fractions),
        folds=request.folds,
        inputs=inputs,
        splits=splits,
        disjoint=division.disjoint,
        origins=division.origins,
        notes=division.notes,
        created=datetime.datetime.now(datetime.timezone.utc).isoformat(timespec="seconds"),
    )
    return split, division


def _existing(path: Path) -> Path:
    if not path.exists():
        raise HpoptError(f"{path}: no such file", remedy="check the name of the input")
    return path
