"""What a race over repeats saves and loses, on trials that had all their repeats."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from functools import partial

import numpy as np

from hpopt_lib.experiments.replay import draw_orders, trainings_used
from hpopt_lib.experiments.trial_table import TrialTable
from hpopt_lib.progress import progress
from hpopt_lib.tuning.racing import standing

#: Quantities of each rule, one value for each order.
QUANTITIES = ("regret", "lost", "trainings_saved")
#: Share of the points, best first, among which a search ends up.
CLOSE_SHARE = 0.25
Rule = Callable[[np.ndarray], np.ndarray]


def raced(repeats: np.ndarray, *, confidence: float) -> np.ndarray:
    """Trainings of each trial under the race of `hpopt_lib.tuning.racing`.

    Parameters
    ----------
    repeats : numpy.ndarray, shape (n_trials, n_repeats)
        Error of each training in meV/atom, trials in the order in which they ran.
    confidence : float

    Returns
    -------
    numpy.ndarray of int, shape (n_trials,)
        Fewer than ``n_repeats`` for a trial that was stopped.
    """
    n_repeats = repeats.shape[1]
    used = np.full(len(repeats), n_repeats)
    finished: list[list[float]] = []
    for place, errors in enumerate(repeats.tolist()):
        for done in range(1, n_repeats):
            now = standing(errors[:done], finished, repeats=n_repeats, confidence=confidence)
            if now is not None and now.cannot_win:
                used[place] = done
                break
        else:
            finished.append(errors)
    return used


def stopped_at_once(repeats: np.ndarray) -> np.ndarray:
    """Trainings of each trial that is stopped when its mean so far is above the best: no statistics."""
    n_repeats = repeats.shape[1]
    used, best = np.full(len(repeats), n_repeats), np.inf
    for place, errors in enumerate(repeats):
        means = np.cumsum(errors) / np.arange(1, n_repeats + 1)
        worse = np.flatnonzero(means[:-1] > best)
        if len(worse):
            used[place] = worse[0] + 1
        else:
            best = min(best, float(means[-1]))
    return used


def rules(confidences: Iterable[float]) -> dict[str, Rule]:
    """Rules by name: races with several confidences and what they are compared with."""
    return {
        "all repeats": lambda repeats: np.full(len(repeats), repeats.shape[1]),
        **{f"race {value:g}": partial(raced, confidence=value) for value in confidences},
        "Wilcoxon": trainings_used,
        "worse mean": stopped_at_once,
        "one training": lambda repeats: np.ones(len(repeats), dtype=int),
    }


def choice(name: str, repeats: np.ndarray, used: np.ndarray) -> int:
    """The trial that a study would name its best.

    Wilcoxon's pruner and a study without repeats tell the mean so far of every trial; a race prunes
    what it stops.
    """
    means = np.array([row[:n].mean() for row, n in zip(repeats, used)])
    if name not in ("Wilcoxon", "one training"):
        means = np.where(used == repeats.shape[1], means, np.inf)
    return int(means.argmin())


def run_racing(
    table: TrialTable,
    *,
    confidences: Iterable[float],
    n_orders: int,
    n_trials: int,
    seed: int,
    share: float = 1.0,
) -> dict[str, dict[str, list[float]]]:
    """Replay studies with repeats under every rule.

    Parameters
    ----------
    table : TrialTable
    confidences : iterable of float
    n_orders, n_trials : int
        Studies, and trials in each.
    seed : int
        Of the draws.
    share : float
        Draw from this share of the points, those with the smallest means: a search that has found the good
        region.

    Returns
    -------
    dict of str to dict of str to list of float
        For each rule (`rules`) and quantity (`QUANTITIES`) one value for each order: ``regret`` is the mean
        over all repeats of the chosen trial minus the smallest of all trials (meV/atom), ``lost`` is 1 where
        another trial than the best was chosen, ``trainings_saved`` is a share of all repeats of all trials.
    """
    errors = table.errors[table.validation]
    ranks = errors.mean(axis=1).argsort().argsort()
    orders = draw_orders(table, n_orders, len(table), seed=seed)
    results: dict[str, dict[str, list[float]]] = {}
    for name, rule in progress(list(rules(confidences).items()), desc="rules", unit="rule"):
        rows: dict[str, list[float]] = {key: [] for key in QUANTITIES}
        for order in orders:
            repeats = order.repeats(table)[ranks[order.points] < share * len(table)][:n_trials]
            repeats = repeats[np.isfinite(repeats).all(axis=1)]
            used, means = rule(repeats), repeats.mean(axis=1)
            chosen = choice(name, repeats, used)
            rows["regret"].append(round(float(means[chosen] - means.min()), 6))
            rows["lost"].append(float(chosen != means.argmin()))
            rows["trainings_saved"].append(round(float(1 - used.sum() / repeats.size), 6))
        results[name] = rows
    return results


def lost_interval(lost: Sequence[float], *, confidence: float = 0.95) -> tuple[float, float]:
    """Exact (Clopper-Pearson) interval of how often the best is lost: a bootstrap of zeros has no width."""
    from scipy.stats import binomtest

    ends = binomtest(round(sum(lost)), len(lost)).proportion_ci(confidence, method="exact")
    return float(ends.low), float(ends.high)


def run_budget(
    table: TrialTable,
    *,
    confidences: Iterable[float],
    n_orders: int,
    trainings: int,
    repeats: int,
    seed: int,
) -> dict[str, dict[str, list[float]]]:
    """The same number of trainings for every rule: many trials with few repeats, or few with many.

    The choice is made by the first seeds of each trial and judged by the others, which it never saw.

    Parameters
    ----------
    table : TrialTable
    confidences : iterable of float
    n_orders, trainings : int
        Studies, and trainings that each may spend.
    repeats : int
        Of a trial, fewer than the table's seeds.
    seed : int

    Returns
    -------
    dict of str to dict of str to list of float
        For each rule and order ``error``, the mean error over the unseen seeds of the chosen trial
        in meV/atom, and ``trials``, how many were begun.
    """
    if not 2 <= repeats < len(table.seeds):
        raise ValueError(f"{repeats} repeats leave none of {len(table.seeds)} seeds to judge by")
    orders = draw_orders(table, n_orders, min(len(table), trainings), seed=seed)
    results: dict[str, dict[str, list[float]]] = {}
    for name, rule in progress(list(rules(confidences).items()), desc="rules", unit="rule"):
        rows: dict[str, list[float]] = {"error": [], "trials": []}
        for order in orders:
            every = order.repeats(table)
            every = every[np.isfinite(every).all(axis=1)]
            used = rule(every[:, :repeats])
            # the rules look back only, so what was decided does not depend on the trials after the last
            n = max(1, int(np.searchsorted(np.cumsum(used), trainings, side="right")))
            chosen = choice(name, every[:n, :repeats], used[:n])
            rows["error"].append(round(float(every[chosen, repeats:].mean()), 6))
            rows["trials"].append(float(n))
        results[name] = rows
    return results
