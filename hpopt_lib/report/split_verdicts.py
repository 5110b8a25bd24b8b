"""Sentences on what a search promises and what it delivers, computed from their numbers."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from hpopt_lib.experiments.agreement import bootstrap_interval
from hpopt_lib.report.replay_verdicts import with_interval


def sure_sign(values: Sequence[float]) -> int:
    """1 or -1 when the 95 % interval of the mean leaves out zero, else 0."""
    low, high = bootstrap_interval(values)
    return int(low > 0) - int(high < 0)


def growth_sentence(what: str, few: Sequence[float], many: Sequence[float], sizes: tuple[int, int]) -> str:
    """Whether a quantity grows between two numbers of trials, paired."""
    change = np.asarray(many, dtype=float) - np.asarray(few, dtype=float)
    verb = {1: "grows", -1: "shrinks", 0: "does not grow for certain"}[sure_sign(change.tolist())]
    return (
        f"{what} {verb} from {sizes[0]} to {sizes[1]} trials: from {np.mean(few):.2f} to {np.mean(many):.2f} "
        f"meV/atom, difference {with_interval(change.tolist())}, {len(change)} pairs."
    )


def estimate_sentence(what: str, estimate: Sequence[float], truth: Sequence[float], where: str) -> str:
    """Whether an estimate of an error is too low, too high or not told apart from what came out, paired."""
    difference = np.asarray(estimate, dtype=float) - np.asarray(truth, dtype=float)
    verdict = {1: "too high for", -1: "too low for", 0: "not told apart from the error on"}[
        sure_sign(difference.tolist())
    ]
    return (
        f"{what} is {verdict} {where}: {np.mean(estimate):.1f} against {np.mean(truth):.1f} meV/atom, "
        f"difference {with_interval(difference.tolist())}, {len(difference)} pairs."
    )
