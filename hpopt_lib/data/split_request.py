"""What a user asks of a division of frames, and what comes out of it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np

from hpopt_lib.data.groups import FrameGroups, Groups
from hpopt_lib.errors import HpoptError

BOTH, RANDOM = "adsorbate+composition", "random"
#: What ``--by`` may say.
CHOICES = ("system", "adsorbate", "composition", BOTH, "temperature", RANDOM)


@dataclass(frozen=True)
class SplitRequest:
    """How frames shall be divided.

    Attributes
    ----------
    by : str
        One of `CHOICES`.
    fractions : tuple of float
        Shares of the frames: training, validation and (optionally) test. By adsorbate and composition:
        training, in-domain validation, all out-of-domain validation together.
    folds : int
        Divide into so many folds of equal size instead; 0 for fractions.
    seed : int
    """

    by: str
    fractions: tuple[float, ...] = (0.8, 0.1, 0.1)
    folds: int = 0
    seed: int = 0

    def check(self) -> None:
        """Raise `HpoptError` for what cannot be."""
        if self.by not in CHOICES:
            raise HpoptError(f"--by: {self.by!r} is unknown", remedy=f"use one of {', '.join(CHOICES)}")
        if self.seed < 0:
            raise HpoptError(f"--seed: {self.seed} is negative", remedy="use 0 or more")
        if self.folds:
            if self.folds < 2:
                raise HpoptError(f"--folds: {self.folds} is too few", remedy="use 2 or more")
            if self.by == BOTH:
                raise HpoptError(
                    f"--folds: not with --by {BOTH}", remedy="fold by adsorbate or by composition"
                )
            return
        sizes = (3,) if self.by == BOTH else (2, 3)
        good = len(self.fractions) in sizes and all(0 < f < 1 for f in self.fractions)
        if not good or abs(sum(self.fractions) - 1) > 1e-6:
            count = " or ".join(map(str, sizes))
            raise HpoptError(
                f"--fractions: {', '.join(f'{f:g}' for f in self.fractions)} cannot be",
                remedy=f"give {count} numbers above 0 that sum to 1, such as 0.8,0.1,0.1",
            )


@dataclass
class Division:
    """Frames divided into splits.

    Attributes
    ----------
    names : list of str
        Of the splits.
    wanted : list of float
        Share of the frames that each was to get.
    assignment : numpy.ndarray of int, shape (n_frames,)
        Number of each frame's split.
    n_groups : list of int
        Groups in each split, of the kind that is kept whole.
    disjoint : list of (kind, split, split)
        Pairs of splits that share no group of a kind.
    origins : dict of str to str
        Where the groups that were used come from.
    notes : list of str
        What a user must know: leaks, sizes that could not be had.
    """

    names: list[str]
    wanted: list[float]
    assignment: np.ndarray
    n_groups: list[int]
    disjoint: list[tuple[str, str, str]] = field(default_factory=list)
    origins: dict[str, str] = field(default_factory=dict)
    notes: list[str] = field(default_factory=list)

    @property
    def shares(self) -> Sequence[float]:
        """Share of all frames that each split got."""
        counts = np.bincount(self.assignment, minlength=len(self.names))
        return [float(n) for n in counts / counts.sum()]


def complete_groups(frames: FrameGroups, kind: str) -> Groups:
    """The groups of all frames by a kind.

    Raises
    ------
    HpoptError
        Naming the first frame whose group is not known.
    """
    groups = frames.of(kind)
    if groups.complete:
        return groups
    where = frames.where(int(np.argmin(groups.codes)))
    remedy = {
        "temperature": 'label frames with atoms.info["temperature_k"]; where a file is one temperature, no '
        "split file is needed: hpopt preprocess train=COLD val=HOT",
        "adsorbate": 'label frames with atoms.info["adsorbate"], or tag atoms: 2 adsorbate, 0 and 1 slab',
    }
    raise HpoptError(
        f"{where}: {kind}: no label and nothing to derive one from",
        remedy=remedy.get(kind, f"label frames with atoms.info[{kind!r}]"),
    )
