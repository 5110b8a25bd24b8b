"""Is pruning right? What each pruner saves, and what it loses, on trials that were all trained in full."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import numpy as np

from hpopt_lib.experiments.agreement import bootstrap_interval
from hpopt_lib.experiments.replay import Order, draw_orders, stop_epochs, trainings_used
from hpopt_lib.experiments.trial_table import TrialTable
from hpopt_lib.progress import progress

#: Quantities of each setting, one value for each order.
QUANTITIES = ("regret", "lost", "epochs_saved", "seconds_saved", "seed_mean_regret", "random_regret")
#: Random stops that an order's `random_regret` is the mean of.
SHUFFLES = 20
#: Share of the points, best first, whose spread over seeds sets the tolerated loss.
BEST_SHARE = 0.1


def tolerated_regret(table: TrialTable) -> float:
    """Loss that a search need not mind, in meV/atom: half of what another seed changes.

    Half the median standard deviation over seeds among the best tenth of the points.
    """
    errors = table.errors[table.validation]
    best = np.argsort(errors.mean(axis=1))[: max(1, round(BEST_SHARE * len(table)))]
    return 0.5 * float(np.median(errors[best].std(axis=1, ddof=1)))


def setting_name(pruner: str, warmup_epochs: int) -> str:
    """Name of a pruner with its warm-up."""
    return f"{pruner}, {warmup_epochs}"


def run_pruning(
    table: TrialTable,
    *,
    settings: Iterable[tuple[str, int]],
    n_orders: int,
    n_trials: int,
    seed: int,
) -> dict[str, dict[str, list[float]]]:
    """Replay studies of random trials through pruners.

    Parameters
    ----------
    table : TrialTable
    settings : iterable of (str, int)
        Pruners and warm-ups in epochs.
    n_orders, n_trials : int
        Studies, and trials in each.
    seed : int
        Of the draws.

    Returns
    -------
    dict of str to dict of str to list of float
        For each setting (`setting_name`) and quantity (`QUANTITIES`) one value for each order:
        ``regret`` is the error of the best trial that was not stopped minus that of the best drawn
        (meV/atom), ``lost`` is 1 where the best was stopped, ``epochs_saved`` and ``seconds_saved`` are
        shares of what no pruning spends, ``seed_mean_regret`` compares the means over all seeds of the two
        trials (luck of one seed does not count; it can be negative), and ``random_regret`` is
        the regret of stopping as many trials in the same epochs, drawn by lot.
    """
    orders = draw_orders(table, n_orders, n_trials, seed=seed)
    results: dict[str, dict[str, list[float]]] = {}
    for pruner, warmup in progress(list(settings), desc="pruners", unit="setting"):
        rows = [
            _outcome(table, order, stop_epochs(order.curves(table), pruner, warmup, name=order.name))
            for order in orders
        ]
        results[setting_name(pruner, warmup)] = {
            key: [round(row[key], 6) for row in rows] for key in QUANTITIES
        }
    return results


def _outcome(table: TrialTable, order: Order, stops: np.ndarray) -> dict[str, float]:
    curves, seconds = order.curves(table), table.epoch_seconds[order.points]
    whole = np.isfinite(curves).all(axis=1)
    values = np.where(whole, np.nanmin(curves, axis=1), np.inf)
    completed = stops == table.n_epochs
    best, chosen = int(values.argmin()), int(np.where(completed, values, np.inf).argmin())
    means = table.errors[table.validation][order.points].mean(axis=1)
    rng = np.random.default_rng(len(stops))
    by_lot = [values[rng.permutation(completed)].min() - values[best] for _ in range(SHUFFLES)]
    return {
        "regret": float(values[chosen] - values[best]),
        "lost": float(not completed[best]),
        "epochs_saved": float(1 - stops.sum() / (len(stops) * table.n_epochs)),
        "seconds_saved": float(1 - (stops * seconds).sum() / (table.n_epochs * seconds.sum())),
        "seed_mean_regret": float(means[chosen] - means[best]),
        "random_regret": float(np.mean(by_lot)),
    }


def rank_correlations(table: TrialTable, *, n_orders: int, n_trials: int, seed: int) -> dict[str, np.ndarray]:
    """How well the error after each epoch ranks trials by their final value.

    Returns
    -------
    dict of str to numpy.ndarray, shape (n_orders, n_epochs)
        ``spearman`` and ``kendall`` over all trials of an order, and ``kendall_best`` over the quarter
        with the best values, among which the choice is made.
    """
    from scipy.stats import kendalltau, spearmanr

    found: dict[str, list[list[float]]] = {"spearman": [], "kendall": [], "kendall_best": []}
    for order in draw_orders(table, n_orders, n_trials, seed=seed):
        curves = order.curves(table)
        curves = curves[np.isfinite(curves).all(axis=1)]
        values = curves.min(axis=1)
        best = np.argsort(values)[: max(3, len(values) // 4)]
        found["spearman"].append([spearmanr(column, values).statistic for column in curves.T])
        found["kendall"].append([kendalltau(column, values).statistic for column in curves.T])
        found["kendall_best"].append([kendalltau(c[best], values[best]).statistic for c in curves.T])
    return {name: np.array(rows) for name, rows in found.items()}


def run_repeats(table: TrialTable, *, n_orders: int, n_trials: int, seed: int) -> dict[str, dict[str, list]]:
    """The Wilcoxon pruner on repeats, beside all repeats of every trial and one alone.

    Returns
    -------
    dict of str to dict of str to list of float
        For ``wilcoxon``, ``all repeats`` and ``one training`` and each order: ``trainings_saved``, a share,
        and ``seed_mean_regret``, the mean error over all seeds of the chosen trial minus
        the smallest of all trials (meV/atom).
    """
    results: dict[str, dict[str, list]] = {
        name: {"trainings_saved": [], "seed_mean_regret": []}
        for name in ("wilcoxon", "all repeats", "one training")
    }
    for order in draw_orders(table, n_orders, n_trials, seed=seed):
        repeats = order.repeats(table)
        usable = np.isfinite(repeats).all(axis=1)
        repeats = repeats[usable]
        means, n_repeats = repeats.mean(axis=1), repeats.shape[1]
        used = trainings_used(repeats)
        partial = np.array([row[:n].mean() for row, n in zip(repeats, used)])
        for name, values, spent in (
            ("wilcoxon", partial, used.sum()),
            ("all repeats", means, repeats.size),
            ("one training", repeats[:, 0], len(repeats)),
        ):
            results[name]["trainings_saved"].append(float(1 - spent / (len(repeats) * n_repeats)))
            results[name]["seed_mean_regret"].append(round(float(means[values.argmin()] - means.min()), 6))
    return results


def recommend(
    results: Mapping[str, Mapping[str, Sequence[float]]], tolerated: float
) -> tuple[str | None, dict[str, tuple[float, float]]]:
    """The setting that saves most seconds among those whose loss is small for certain.

    The rule was fixed before the numbers were seen: the upper end of the 95 % interval of the mean regret
    must lie below `tolerated`. It is applied to the first half of the orders; the second half,
    which the choice has not seen, gives the regret to expect.

    Parameters
    ----------
    results : mapping
        From `run_pruning`.
    tolerated : float
        In meV/atom, see `tolerated_regret`.

    Returns
    -------
    name : str or None
        None when no setting is good enough.
    confirmed : dict of str to (float, float)
        95 % intervals of each setting's mean regret on the second half.
    """
    half = len(next(iter(results.values()))["regret"]) // 2
    allowed = {
        name: float(np.mean(found["seconds_saved"][:half]))
        for name, found in results.items()
        if bootstrap_interval(found["regret"][:half])[1] < tolerated
    }
    confirmed = {name: bootstrap_interval(found["regret"][half:]) for name, found in results.items()}
    return (max(allowed, key=lambda name: allowed[name]) if allowed else None), confirmed


def flat(results: Mapping[str, Mapping[str, Any]]) -> dict[str, Any]:
    """Results by one name each, for `hpopt_lib.experiments.agreement.check_agreement`."""
    return {f"{name}: {key}": values for name, found in results.items() for key, values in found.items()}
