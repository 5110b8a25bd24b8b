"""Sentences on what more compute buys, computed from recorded trainings."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from hpopt_lib.report.sensitivity_verdicts import interval, with_range


def fidelity_row(
    name: str, ranks: np.ndarray, speedup: float, found: np.ndarray, control: np.ndarray
) -> dict[str, Any]:
    """A row of the table of cheap trainings.

    Parameters
    ----------
    name : str
    ranks : numpy.ndarray
        Rank correlations over resamples.
    speedup : float
        CPU seconds of a full training over those of a cheap one.
    found, control : numpy.ndarray
        Errors of the searches with and without cheap trainings at equal seconds, over resamples.
    """
    difference = found - control
    low, high = interval(difference)
    return {
        "name": name,
        "ranks": with_range(ranks),
        "speedup": f"{speedup:.1f}",
        "found": with_range(found, digits=1),
        "difference": with_range(difference, digits=1),
        "verdict": "not told apart" if low <= 0 <= high else "better" if high < 0 else "worse",
    }


def fidelity_sentence(rows: Sequence[Mapping[str, Any]]) -> str:
    """How many kinds of cheap trainings help a search at equal seconds."""
    by = {
        verdict: [row["name"] for row in rows if row["verdict"] == verdict]
        for verdict in ("better", "worse", "not told apart")
    }
    parts = [f"{verdict}: {', '.join(names)}" for verdict, names in by.items() if names]
    return (
        "Beside full trainings whose best three are trained again, at equal seconds, cheap trainings first "
        f"are {'; '.join(parts)}."
    )


def coverage_sentence(rows: Sequence[Mapping[str, Any]], kind: str, level: float = 0.9) -> str:
    """Whether extrapolated intervals held as many of the measured trainings as they promised.

    Parameters
    ----------
    rows : sequence of mapping
        From `hpopt_lib.experiments.fidelity.coverage`.
    kind : str
        Of the curve.
    level : float
        Promised.
    """
    inside, means = float(np.mean([row["inside"] for row in rows])), [row["mean_inside"] for row in rows]
    off = [row["measured"] / row["predicted"] - 1 for row in rows]
    worst = max(off, key=abs)
    kept = "kept" if inside >= level - 0.1 else "**not kept**"
    return (
        f"{kind}: of the trainings at larger sizes {100 * inside:.0f} % lie in the {100 * level:.0f} % "
        f"interval, the promise is {kept}; of {len(means)} means {sum(means)} lie in the narrower interval "
        f"of the curve; the largest miss is {100 * worst:+.0f} % of the predicted error."
    )
