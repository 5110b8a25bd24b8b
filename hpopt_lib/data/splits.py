"""Divide frames so that what is tested was not seen in training: by system, adsorbate, composition, …"""

from __future__ import annotations

from itertools import combinations

import numpy as np

from hpopt_lib.data.allocation import allocate, merge
from hpopt_lib.data.groups import FrameGroups, Groups
from hpopt_lib.data.split_domains import divide_by_both
from hpopt_lib.data.split_request import BOTH, RANDOM, Division, SplitRequest, complete_groups
from hpopt_lib.errors import HpoptError

#: Names of the splits of two or three fractions.
NAMES = ("train", "val", "test")
#: Share of all frames by which a split may miss its wanted size before it is said.
TOLERANCE = 0.05


def divide(frames: FrameGroups, request: SplitRequest) -> Division:
    """Divide frames as asked.

    Systems are never torn apart but by `random` and `temperature`: where two adsorbates (say) occur in one
    system, they are held out together.

    Parameters
    ----------
    frames : FrameGroups
    request : SplitRequest

    Returns
    -------
    Division

    Raises
    ------
    HpoptError
        When labels that are needed are missing, or there are too few groups.
    """
    request.check()
    systems = frames.of("system")
    if request.by == BOTH:
        division = divide_by_both(frames, request)
    elif request.by == RANDOM:
        codes = np.arange(len(frames))
        division = _by_groups(codes, request, what="frame(s)")
        division.notes += _torn_note(frames, division, what=RANDOM)
        division.origins = {"system": systems.origin}
    else:
        groups = systems if request.by == "system" else complete_groups(frames, request.by)
        keep = [groups.codes] if request.by == "temperature" else [groups.codes, systems.codes]
        division = _by_groups(merge(keep), request, what=f"group(s) by {request.by}")
        kinds = {request.by} if request.by == "temperature" else {request.by, "system"}
        division.disjoint = [
            (kind, first, second)
            for kind in sorted(kinds)
            for first, second in combinations(division.names, 2)
        ]
        division.origins = {request.by: groups.origin}
        if "system" in kinds:
            division.origins["system"] = systems.origin
        else:
            division.notes += _torn_note(frames, division, what="by temperature")
    division.notes += _size_notes(division)
    return division


def _by_groups(codes: np.ndarray, request: SplitRequest, *, what: str) -> Division:
    if request.folds:
        names = [f"fold_{k}" for k in range(request.folds)]
        wanted = [1.0 / request.folds] * request.folds
    else:
        names, wanted = list(NAMES[: len(request.fractions)]), list(request.fractions)
    sizes = np.bincount(codes)
    if len(sizes) < len(names):
        raise HpoptError(
            f"--by {request.by}: {len(sizes)} {what} in all the files, and {len(names)} splits are wanted",
            remedy="give files with more groups, ask for fewer splits, or divide by something finer",
        )
    chosen = allocate(sizes, wanted, seed=request.seed)
    n_groups = np.bincount(chosen, minlength=len(names)).tolist()
    return Division(names, wanted, chosen[codes], n_groups)


def torn(groups: Groups, division: Division) -> int:
    """Number of groups that have frames in more than one split."""
    pairs = np.unique(np.stack([groups.codes, division.assignment]), axis=1)
    return int((np.bincount(pairs[0]) > 1).sum())


def _torn_note(frames: FrameGroups, division: Division, *, what: str) -> list[str]:
    """What a division that does not keep systems whole leaks."""
    known = [
        groups for kind in ("system", "adsorbate", "composition") if (groups := frames.of(kind)).complete
    ]
    counts = [f"{torn(groups, division)} of {len(groups.names)} by {groups.kind}" for groups in known]
    bad = any(torn(groups, division) for groups in known)
    end = "so errors are smaller than on new ones; use --by system" if bad else "none leaks"
    return [f"{'warning: ' * bad}{what}: groups with frames in several splits: {', '.join(counts)}; {end}"]


def _size_notes(division: Division) -> list[str]:
    return [
        f"{name}: {100 * share:.1f} % of the frames, {100 * wanted:.1f} % were wanted: groups stay whole"
        for name, share, wanted in zip(division.names, division.shares, division.wanted)
        if abs(share - wanted) > TOLERANCE
    ]
