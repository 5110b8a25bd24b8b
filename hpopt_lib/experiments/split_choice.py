"""Does a random split overfit the search? Studies replayed from trainings on three kinds of splits."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from hpopt_lib.experiments.record_split_table import SELECTING, SELECTS
from hpopt_lib.experiments.split_divisions import RULES
from hpopt_lib.experiments.split_table import SplitTable

#: Trials of the replayed studies.
SIZES = (1, 5, 10, 20, 50, 100, 200)
Results = dict[str, list[float]]


def winners(errors: np.ndarray, orders: np.ndarray, n: int) -> np.ndarray:
    """Settings with the smallest error among the first so many trials of each study.

    Parameters
    ----------
    errors : numpy.ndarray, shape (n_configs,)
    orders : numpy.ndarray of int, shape (n_studies, n_configs)
    n : int
    """
    first = orders[:, :n]
    return first[np.arange(len(first)), errors[first].argmin(axis=1)]


def draw_studies(table: SplitTable, division: int, n_studies: int, *, seed: int) -> np.ndarray:
    """Random orders of all settings, the same for every rule, shape (n_studies, n_configs)."""
    rng = np.random.default_rng([seed, division])
    return np.stack([rng.permutation(len(table)) for _ in range(n_studies)])


def run_rules(
    table: SplitTable,
    *,
    n_studies: int,
    seed: int,
    sizes: Sequence[int] = SIZES,
    rules: Sequence[str] = RULES,
) -> Results:
    """Searches that select on a part held out by each rule.

    Parameters
    ----------
    table : SplitTable
    n_studies : int
        On each division; what is returned are their means.
    seed : int
        Of the draws.
    sizes : sequence of int
        Numbers of trials.
    rules : sequence of str

    Returns
    -------
    dict of str to list of float
        Under ``RULE, N: QUANTITY`` one value for each division, in meV/atom: ``promised``, the winner's
        validation error; ``nested``, its error on the outer fold, which no search saw; ``optimism``, test
        minus validation error of the winner, averaged with what comes out when the two parts change roles, so
        that it does not matter which of them happens to be the harder; and for each validation split of
        the store ``SPLIT``, the winner's error on the half kept for tests, and ``SPLIT, same frames``, the
        error of the winner's settings when trained on the frames of the division by system.
    """
    results: Results = {}
    for rule in rules:
        by_validation = table.get(rule, "validation", "validation")
        by_test = table.get(rule, "test", "test")
        other = table.get(rule, "validation", "test"), table.get(rule, "test", "validation")
        for n in sizes:
            rows: Results = {}
            for d in range(len(table.divisions)):
                orders = draw_studies(table, d, n_studies, seed=seed)
                won, swapped = winners(by_validation[d], orders, n), winners(by_test[d], orders, n)
                gaps = other[0][d][won] - by_validation[d][won], other[1][d][swapped] - by_test[d][swapped]
                found = {
                    "promised": by_validation[d][won],
                    "nested": other[0][d][won],
                    "optimism": (gaps[0] + gaps[1]) / 2,
                }
                for split in table.splits:
                    found[split] = table.get(rule, "validation", f"{split}/test")[d][won]
                    same = table.get(SELECTING, "validation", f"{split}/test")[d][won]
                    found[f"{split}, same frames"] = same
                for name, values in found.items():
                    rows.setdefault(name, []).append(_mean(values))
            results |= {f"{rule}, {n}: {name}": values for name, values in rows.items()}
    return results


def run_selects(table: SplitTable, *, n_studies: int, seed: int, sizes: Sequence[int] = SIZES) -> Results:
    """Searches on the same trainings that choose by the store's validation splits in several ways.

    Returns
    -------
    dict of str to list of float
        Under ``SELECT, N: QUANTITY`` one value for each division, in meV/atom: errors on the halves kept
        for tests: ``SPLIT``, ``mean`` and ``worst`` over splits; and ``promised``, the winner's objective.
    """
    results: Results = {}
    for select in SELECTS:
        seen = np.stack([table.get(SELECTING, select, f"{split}/select") for split in table.splits])
        kept = np.stack([table.get(SELECTING, select, f"{split}/test") for split in table.splits])
        objective = objective_of(select, seen)
        for n in sizes:
            rows: Results = {}
            for d in range(len(table.divisions)):
                won = winners(objective[d], draw_studies(table, d, n_studies, seed=seed), n)
                errors = kept[:, d, won]
                found = {
                    "promised": objective[d][won],
                    "mean": errors.mean(axis=0),
                    "worst": errors.max(axis=0),
                    **dict(zip(table.splits, errors)),
                }
                for name, values in found.items():
                    rows.setdefault(name, []).append(_mean(values))
            results |= {f"{select}, {n}: {name}": values for name, values in rows.items()}
    return results


def objective_of(select: str, errors: np.ndarray) -> np.ndarray:
    """What a way to select makes of the errors on the splits (first axis)."""
    if select == SELECTS[0]:
        return np.asarray(errors[0])
    used = errors[:-1] if "held out" in select else errors
    return np.asarray(used.mean(axis=0) if select.startswith("mean") else used.max(axis=0))


def objectives(table: SplitTable) -> np.ndarray:
    """In-domain error, worst out-of-domain error (meV/atom) and inference time (µs/atom) of all settings.

    Means over divisions of the halves kept for tests.

    Returns
    -------
    numpy.ndarray, shape (n_configs, 3)
    """
    kept = np.stack([table.get(SELECTING, "validation", f"{split}/test") for split in table.splits])
    return np.stack(
        [kept[0].mean(axis=0), kept[1:].max(axis=0).mean(axis=0), table.microseconds_per_atom], axis=1
    )


def non_dominated(values: np.ndarray) -> np.ndarray:
    """Rows that no other row beats in one objective without losing in another; smaller is better.

    Parameters
    ----------
    values : numpy.ndarray, shape (n, n_objectives)

    Returns
    -------
    numpy.ndarray of bool, shape (n,)
    """
    no_worse = (values[:, None] <= values[None]).all(axis=2)
    better = (values[:, None] < values[None]).any(axis=2)
    return np.asarray(~(no_worse & better).any(axis=0))


def _mean(values: np.ndarray) -> float:
    return round(float(np.mean(values)), 4)
