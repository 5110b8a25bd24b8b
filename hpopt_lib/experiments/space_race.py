"""What a wider search space buys: random searches replayed on recorded points, at equal budgets."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from hpopt_lib.errors import HpoptError
from hpopt_lib.experiments.drawn_table import HALVES, DrawnTable

#: Resamples of a table, and searches replayed on each.
TABLES, SEARCHES = 300, 20


def at_full_size(table: DrawnTable) -> DrawnTable:
    """The points that were trained on all frames, as the narrower spaces are."""
    kept = [k for k, point in enumerate(table.params) if point.get("train_share", 1.0) == 1.0]
    return DrawnTable(
        table.space,
        [table.params[k] for k in kept],
        {half: rows[kept] for half, rows in table.errors.items()},
        table.cpu_s[kept],
    )


def race_space(
    table: DrawnTable,
    *,
    trials: Sequence[int] = (),
    seconds: Sequence[float] = (),
    baseline: float,
    seed: int = 0,
) -> np.ndarray:
    """Error of what a random search finds, for budgets of trials or of seconds.

    A search draws points, trains each with one seed, and takes the one with the smallest error on the half
    ``choose``. What it found is judged by other seeds on the half ``report``, which the choice has not seen.

    Parameters
    ----------
    table : DrawnTable
    trials : sequence of int
        Budgets; or
    seconds : sequence of float
        budgets in CPU seconds of training, when no trials are given.
    baseline : float
        Error in meV/atom of a search that has completed no trial, or found none that converged.
    seed : int

    Returns
    -------
    numpy.ndarray, shape (TABLES, n_budgets)
        Mean over searches in meV/atom, for each bootstrap resample of the table's points: its spread
        tells how far the recorded points settle the result.

    Raises
    ------
    ValueError
        For a table with one seed.
    """
    choose, report = (table.errors[half] for half in HALVES)
    n_points, n_seeds = choose.shape
    if n_seeds < 2:
        raise ValueError("judging what a search found needs a second seed")
    # enough draws to spend the largest budget
    longest = max(trials) if trials else int(np.ceil(1.5 * max(seconds) / table.cpu_s.mean())) + 5
    rng, found = np.random.default_rng(seed), []
    for _ in range(TABLES):
        known = rng.choice(n_points, size=n_points)
        drawn = rng.choice(known, size=(SEARCHES, longest))
        own = rng.integers(n_seeds, size=drawn.shape)
        seen = choose[drawn, own]
        first = np.arange(longest)
        best = np.array([np.maximum.accumulate(np.where(_falls(row), first, 0)) for row in seen])
        rows = np.arange(SEARCHES)[:, None]
        chosen, luck = drawn[rows, best], own[rows, best]
        others = (report[chosen].sum(axis=2) - report[chosen, luck]) / (n_seeds - 1)
        others = np.where(np.isfinite(seen[rows, best]) & np.isfinite(others), others, baseline)
        if trials:
            found.append(others[:, np.array(trials) - 1].mean(axis=0))
            continue
        done = np.cumsum(table.cpu_s[drawn], axis=1)
        complete = (done[:, :, None] <= np.array(seconds)).sum(axis=1)
        error = others[rows, np.maximum(complete - 1, 0)]
        found.append(np.where(complete > 0, error, baseline).mean(axis=0))
    return np.array(found)


def _falls(row: np.ndarray) -> np.ndarray:
    """Where a sequence is below everything before."""
    before = np.concatenate([[np.inf], np.minimum.accumulate(row)[:-1]])
    return row < before


def check_points(
    table: DrawnTable, places: Sequence[int], now: Sequence[Mapping[str, Any]], *, where: str
) -> float:
    """Make sure that points trained again, with the same seeds, reach what was recorded.

    Rounding differs among processors, and a training amplifies it, at most until it is as good as
    another seed. So the logarithms of the errors may differ as much as those of two seeds do, not more.

    Parameters
    ----------
    table : DrawnTable
        As recorded.
    places : sequence of int
        Numbers of the points that were trained again.
    now : sequence of mapping
        Their errors by half, of `hpopt_lib.experiments.drawn_table.train_point`.
    where : str
        Name of the record, for the message.

    Returns
    -------
    float
        Root mean square difference of the logarithms.

    Raises
    ------
    HpoptError
        When they differ more, or one diverges that did not.
    """
    if not len(places):
        raise HpoptError(f"{where}: nothing to compare", remedy="train at least one point again")
    remedy = "find out what changed, and record the points again"
    differences, spreads = [], []
    for half in HALVES:
        recorded = table.errors[half]
        again = np.array([one[half] for one in now], dtype=float)
        if (np.isfinite(again) != np.isfinite(recorded[list(places)])).any():
            raise HpoptError(f"{where}: {half}: other trainings diverge than those recorded", remedy=remedy)
        both = np.isfinite(again)
        differences.append((np.log(again[both]) - np.log(recorded[list(places)][both])).ravel())
        whole = np.log(recorded[np.isfinite(recorded).all(axis=1)])
        spreads.append(whole.var(axis=1, ddof=1))
    difference = float(np.sqrt(np.mean(np.concatenate(differences) ** 2)))
    allowed = float(np.sqrt(2 * np.mean(np.concatenate(spreads))))
    if difference > allowed:
        raise HpoptError(
            f"{where}: errors of {len(places)} points differ by a factor of {np.exp(difference):.2f}, "
            f"other seeds by {np.exp(allowed):.2f}",
            remedy=remedy,
        )
    return difference
