"""Sentences on replayed studies, computed from their numbers."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from hpopt_lib.experiments.agreement import bootstrap_interval

Found = Mapping[str, Sequence[float]]


def with_interval(values: Sequence[float], *, digits: int = 2, percent: bool = False) -> str:
    """``mean (low to high)`` with a 95 % bootstrap interval."""
    scale, unit = (100.0, " %") if percent else (1.0, "")
    low, high = (scale * end for end in bootstrap_interval(values))
    return f"{scale * float(np.mean(values)):.{digits}f}{unit} ({low:.{digits}f} to {high:.{digits}f})"


def pruning_row(name: str, found: Found, tolerated: float) -> dict[str, Any]:
    """A row of the table of pruners."""
    return {
        "setting": name,
        "regret": with_interval(found["regret"]),
        "lost": with_interval(found["lost"], digits=0, percent=True),
        "epochs": f"{100 * np.mean(found['epochs_saved']):.0f} %",
        "seconds": f"{100 * np.mean(found['seconds_saved']):.0f} %",
        "seed_mean": with_interval(found["seed_mean_regret"]),
        "random": with_interval(found["random_regret"], digits=1),
        "good": "yes" if bootstrap_interval(found["regret"])[1] < tolerated else "no",
    }


def harmless_sentence(name: str, found: Found, tolerated: float) -> str:
    """Whether a pruner's loss is below what is tolerated, above, or not told apart from it."""
    low, high = bootstrap_interval(found["regret"])
    numbers = (
        f"mean regret {with_interval(found['regret'])} meV/atom over {len(found['regret'])} orders, "
        f"tolerated {tolerated:.2f}; {100 * np.mean(found['seconds_saved']):.0f} % of the seconds saved"
    )
    if high < tolerated:
        return f"`{name}` loses less than is tolerated ({numbers})."
    if low > tolerated:
        return f"`{name}` loses more than is tolerated ({numbers})."
    return f"Whether `{name}` loses more than is tolerated cannot be said ({numbers})."


def compare_sentence(first: str, second: str, a: Sequence[float], b: Sequence[float], what: str) -> str:
    """Paired comparison over the same orders; smaller is better."""
    difference = np.asarray(a, dtype=float) - np.asarray(b, dtype=float)
    low, high = bootstrap_interval(difference)
    numbers = f"difference of {what} {with_interval(difference.tolist())}, {len(difference)} pairs"
    if low <= 0 <= high:
        return f"{first} and {second} are not told apart ({numbers})."
    return f"{first} is {'better' if high < 0 else 'worse'} than {second} ({numbers})."
