"""Sentences on what matters in a search space, computed from resampled numbers."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

#: A range counts as the best one when it is that in so many of the resamples: high, because some twenty
#: hyperparameters are asked, and luck often makes one of two choices the best in nine of ten resamples.
SURE = 0.99


def interval(resampled: np.ndarray, *, confidence: float = 0.95) -> tuple[float, float]:
    """Percentiles of a quantity over resamples of the data."""
    low, high = np.quantile(resampled, [(1 - confidence) / 2, (1 + confidence) / 2])
    return float(low), float(high)


def with_range(resampled: np.ndarray, *, digits: int = 2) -> str:
    """``mean (low to high)`` of a quantity over resamples, 95 %."""
    low, high = interval(resampled)
    return f"{float(np.mean(resampled)):.{digits}f} ({low:.{digits}f} to {high:.{digits}f})"


def ranking_sentence(shares: Mapping[str, np.ndarray]) -> str:
    """Which groups or hyperparameters come first, and whether the first is told apart from the second."""
    ranked = sorted(shares, key=lambda name: -float(shares[name].mean()))
    first, second = ranked[:2]
    low, _ = interval(shares[first] - shares[second])
    numbers = f"`{first}` {with_range(shares[first])}, `{second}` {with_range(shares[second])}"
    if low > 0:
        return f"`{first}` matters most ({numbers}; their difference is above zero in 95 % of resamples)."
    return f"Whether `{first}` or `{second}` matters more is not settled ({numbers})."


def unseen_sentence(shares: Mapping[str, np.ndarray], *, explained: float, luck: float) -> str:
    """Hyperparameters of which no effect was seen, and how much could hide there.

    Parameters
    ----------
    shares : mapping of str to numpy.ndarray
        Over resamples.
    explained, luck : float
        Shares of the variance that the surrogate predicts on unseen points, and that is the seeds'.
    """
    unseen = [name for name, found in shares.items() if interval(found)[0] <= 0]
    if not unseen:
        return "An effect was seen of every hyperparameter."
    names, hidden = ", ".join(f"`{name}`" for name in unseen), max(0.0, 1 - explained - luck)
    return (
        f"No effect was seen of {len(unseen)} of {len(shares)}: {names}. That is no proof that they do not "
        f"matter: {100 * hidden:.0f} % of the variance is neither predicted nor luck of the seed."
    )


def agreement_sentence(rankings: Mapping[str, list[str]], top: int) -> str:
    """Which hyperparameters all methods put among the first few."""
    common = set.intersection(*(set(names[:top]) for names in rankings.values()))
    first = next(iter(rankings.values()))
    shared = [name for name in first if name in common]
    methods = ", ".join(rankings)
    names = ", ".join(f"`{name}`" for name in shared) or "none"
    return f"Among the first {top} of all methods ({methods}): {names}."


def interacting(gains: Mapping[tuple[str, str], np.ndarray]) -> list[tuple[str, str]]:
    """Pairs whose gain is above zero at a level that allows for the number of pairs (Bonferroni)."""
    confidence = 1 - 0.05 / len(gains)
    return [pair for pair, found in gains.items() if interval(found, confidence=confidence)[0] > 0]


def interaction_sentence(gains: Mapping[tuple[str, str], np.ndarray]) -> str:
    """Pairs whose interaction is shown, or that none is."""
    shown = interacting(gains)
    if not shown:
        return f"Of {len(gains)} pairs none is shown to interact: no gain is above zero for certain."
    names = "; ".join(
        f"`{a}` with `{b}` ({100 * float(gains[a, b].mean()):.1f} % of the variance)" for a, b in shown
    )
    return (
        f"Of {len(gains)} pairs {len(shown)} {'is' if len(shown) == 1 else 'are'} shown to interact: {names}."
    )


def edge_row(name: str, found: Mapping[str, tuple[float, float]], ordered: bool) -> dict[str, Any]:
    """A row of the table of best ranges: which range is best, how surely, and whether that is an edge.

    Parameters
    ----------
    name : str
        Of the hyperparameter.
    found : mapping of str to (float, float)
        From `hpopt_lib.experiments.sensitivity.best_ranges`, values in logarithms.
    ordered : bool
        Whether its ranges have an order, so that there is an edge.
    """
    labels = list(found)
    best = max(labels, key=lambda label: found[label][1])
    surely, worst = found[best][1], max(found.values())[0]
    ends = sum(found[label][1] for label in {labels[0], labels[-1]}) if ordered else float("nan")
    if not ordered:
        verdict = "best choice" if surely >= SURE else "not settled"
    elif surely >= SURE and best in (labels[0], labels[-1]):
        verdict = "**at the edge**"
    elif ends <= 1 - SURE:
        verdict = "inside"
    else:
        verdict = "not settled"
    return {
        "name": f"`{name}`",
        "best": best,
        "surely": f"{100 * surely:.0f} %",
        "edge": f"{100 * ends:.0f} %" if ordered else "–",
        "gain": f"{100 * (np.exp(worst - found[best][0]) - 1):.0f} %",
        "verdict": verdict,
    }


def wider_sentence(wide: str, narrow: str, a: np.ndarray, b: np.ndarray, budget: str) -> str:
    """What a wider space found against a narrower one, errors in meV/atom over resamples of both tables."""
    difference = a - b
    numbers = (
        f"{with_range(a, digits=1)} against {with_range(b, digits=1)} meV/atom, "
        f"difference {with_range(difference, digits=1)}"
    )
    low, high = interval(difference)
    if low <= 0 <= high:
        return f"With {budget}, `{wide}` and `{narrow}` are not told apart ({numbers})."
    return (
        f"With {budget}, a search of `{wide}` finds {'better' if high < 0 else 'worse'} than one of "
        f"`{narrow}` ({numbers})."
    )
