"""What matters among random points: shares of variance by permutation, gains of interactions, best ranges."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import pairwise
from typing import TYPE_CHECKING, Any

import numpy as np

from hpopt_lib.experiments.drawn_table import HALVES, DrawnTable
from hpopt_lib.experiments.wide_space import space

if TYPE_CHECKING:
    import optuna

#: Errors above so many times the median baseline count as that: a hopeless point is a hopeless point.
CAP = 2.0
#: Resamples of the points.
RESAMPLES = 1000
#: Share of the points of a range, best first, that stands for what can be reached there.
NEAR_TOP = 1 / 3
_FOLDS = 5

#: Hyperparameters of the widest space by what they belong to.
GROUPS = {
    "features": ("sigma_min", "sigma_max", "num_sigmas", "max_order", "cutoff", "densities", "transform"),
    "data": ("references", "train_share"),
    "network": ("num_layers", "num_nodes", "activation", "normalization", "dropout_rate"),
    "training": ("lr", "schedule", "gamma", "batch_size", "weight_decay", "loss"),
}


def log_errors(table: DrawnTable, median_baseline: float, half: str = HALVES[0]) -> np.ndarray:
    """Natural logarithm of each training's error, capped, shape (n_points, n_seeds).

    Logarithms, because a factor of 1.1 matters as much at 20 as at 60 meV/atom.
    """
    return np.log(np.minimum(table.errors[half], CAP * median_baseline))


def as_study(table: DrawnTable, values: np.ndarray) -> optuna.Study:
    """The points as completed trials of a study, for Optuna's own importances.

    Parameters
    ----------
    table : DrawnTable
    values : numpy.ndarray, shape (n_points,)
        Objectives, smaller is better.
    """
    import optuna

    from hpopt_lib.experiments.replay import quiet_optuna

    with quiet_optuna():
        study = optuna.create_study()
        study.add_trials(
            [
                optuna.trial.create_trial(params=point, distributions=space(table.space), value=float(value))
                for point, value in zip(table.params, values)
            ]
        )
    return study


def encode(table: DrawnTable) -> tuple[np.ndarray, list[str]]:
    """Points as numbers: logarithms where drawn so, places of choices that are no numbers.

    No choice has more than three texts, so trees single out any of them whatever their order.

    Returns
    -------
    inputs : numpy.ndarray, shape (n_points, n_parameters)
    names : list of str
    """
    columns = []
    for name, kind in space(table.space).items():
        values = [point[name] for point in table.params]
        texts = any(isinstance(choice, str) for choice in getattr(kind, "choices", ()))
        numbers = np.array([kind.to_internal_repr(v) for v in values] if texts else values, dtype=float)
        columns.append(np.log(numbers) if getattr(kind, "log", False) else numbers)
    return np.stack(columns, axis=1), list(space(table.space))


def surrogate(interactions: Any = None) -> Any:
    """Boosted trees that predict the logarithm of the error of a point.

    `interactions` are groups of columns that a tree may combine; all by default.
    """
    from sklearn.ensemble import HistGradientBoostingRegressor

    return HistGradientBoostingRegressor(
        max_iter=120, learning_rate=0.08, max_leaf_nodes=8, min_samples_leaf=6, l2_regularization=1.0,
        interaction_cst=interactions, early_stopping=False, random_state=0,
    )  # fmt: skip


def permutation_shares(
    table: DrawnTable,
    values: np.ndarray,
    groups: Mapping[str, Sequence[str]],
    *,
    repeats: int = 2,
    permutations: int = 8,
    seed: int = 0,
) -> tuple[dict[str, np.ndarray], float]:
    """Share of the variance that goes with some hyperparameters, alone and through others.

    On points that a surrogate has not seen, the values of a hyperparameter are shuffled. Half
    of what that adds to the mean squared error is its total Sobol index times the variance, when the
    hyperparameters were drawn independently and the surrogate is right (Gregorutti, Michel and Saint-Pierre
    2017). Total indices of interacting hyperparameters add up to more than 1.

    Parameters
    ----------
    table : DrawnTable
    values : numpy.ndarray, shape (n_points,)
        What is explained.
    groups : mapping of str to sequence of str
        Hyperparameters that are shuffled together.
    repeats, permutations : int
        Divisions into folds, and shuffles in each.
    seed : int

    Returns
    -------
    shares : dict of str to numpy.ndarray, shape (RESAMPLES,)
        One for each bootstrap resample of the points; the surrogates are not fitted anew.
    explained : float
        Share of the variance that the surrogate predicts on points it has not seen.
    """
    inputs, names = encode(table)
    columns = {group: [names.index(name) for name in chosen] for group, chosen in groups.items()}
    rng = np.random.default_rng(seed)
    added = {group: np.zeros(len(values)) for group in groups}
    squared = np.zeros(len(values))
    for _ in range(repeats):
        for fold in np.array_split(rng.permutation(len(values)), _FOLDS):
            others = np.setdiff1d(np.arange(len(values)), fold)
            model = surrogate().fit(inputs[others], values[others])
            right = (model.predict(inputs[fold]) - values[fold]) ** 2
            squared[fold] += right / repeats
            for group, chosen in columns.items():
                shuffled = np.tile(inputs[fold], (permutations, 1))
                # values of any points: a fold alone is too small to shuffle within
                donors = rng.integers(len(values), size=len(shuffled))
                shuffled[:, chosen] = inputs[donors][:, chosen]
                wrong = (model.predict(shuffled) - np.tile(values[fold], permutations)) ** 2
                added[group][fold] += (wrong.reshape(permutations, -1).mean(axis=0) - right) / repeats
    samples = rng.integers(len(values), size=(RESAMPLES, len(values)))
    variance = values[samples].var(axis=1)
    shares = {group: found[samples].mean(axis=1) / (2 * variance) for group, found in added.items()}
    return shares, float(1 - squared.mean() / values.var())


def interaction_gains(
    table: DrawnTable, values: np.ndarray, names: Sequence[str], *, seed: int = 0
) -> dict[tuple[str, str], np.ndarray]:
    """What a surrogate gains when two hyperparameters may act together.

    Trees that may combine no hyperparameters give a sum of one curve for each. Let two of them be combined:
    when the error on points that were not seen falls, the effect of one depends on the other.

    Parameters
    ----------
    table : DrawnTable
    values : numpy.ndarray, shape (n_points,)
    names : sequence of str
        Hyperparameters whose pairs are tried.
    seed : int

    Returns
    -------
    dict of (str, str) to numpy.ndarray, shape (RESAMPLES,)
        Fall of the mean squared error as a share of the variance, for each resample of the points;
        largest mean first.
    """
    inputs, known = encode(table)
    places = [known.index(name) for name in names]
    pairs = [(a, b) for i, a in enumerate(places) for b in places[i + 1 :]]
    rng = np.random.default_rng(seed)
    alone, together = np.zeros(len(values)), {pair: np.zeros(len(values)) for pair in pairs}
    for fold in np.array_split(rng.permutation(len(values)), _FOLDS):
        others = np.setdiff1d(np.arange(len(values)), fold)

        def squared(groups: list[set[int]], fold=fold, others=others) -> np.ndarray:
            model = surrogate(groups).fit(inputs[others], values[others])
            return (model.predict(inputs[fold]) - values[fold]) ** 2

        singles = [{k} for k in range(len(known))]
        alone[fold] = squared(singles)
        for pair in pairs:
            together[pair][fold] = squared([set(pair), *singles])
    samples = rng.integers(len(values), size=(RESAMPLES, len(values)))
    variance = values[samples].var(axis=1)
    gains = {
        (known[a], known[b]): (alone - found)[samples].mean(axis=1) / variance
        for (a, b), found in together.items()
    }
    return dict(sorted(gains.items(), key=lambda item: -item[1].mean()))


def seed_share(logs: np.ndarray) -> float:
    """Share of the variance of single trainings that is the luck of the seed, from logarithms of errors."""
    return float(logs.var(axis=1, ddof=1).mean() / logs.var(ddof=1))


def ranges(table: DrawnTable, name: str, *, bins: int = 4) -> list[tuple[str, np.ndarray]]:
    """Levels of a hyperparameter in ascending order, each with a mask of its points.

    Values of a number with many of them are put into quarters of its search range.
    """
    values, kind = [point[name] for point in table.params], space(table.space)[name]
    levels = list(getattr(kind, "choices", ())) or sorted(set(values))
    if len(levels) <= 5:
        return [(f"{level}", np.array([value == level for value in values])) for level in levels]
    low, high = float(getattr(kind, "low")), float(getattr(kind, "high"))  # noqa: B009
    ends = (np.geomspace if getattr(kind, "log", False) else np.linspace)(low, high, bins + 1)
    place = np.clip(np.searchsorted(ends, np.array(values, dtype=float), side="right") - 1, 0, bins - 1)
    masks = [place == k for k in range(bins)]
    if isinstance(values[0], int):  # name the whole numbers that fall into the range
        held = [[v for v, inside in zip(values, mask) if inside] for mask in masks]
        return [
            (f"{min(own)} to {max(own)}" if min(own) < max(own) else f"{min(own)}", mask)
            for own, mask in zip(held, masks)
            if own
        ]
    labels = [f"{a:.2g} to {b:.2g}" for a, b in pairwise(ends.tolist())]
    return list(zip(labels, masks))


def best_ranges(
    table: DrawnTable, values: np.ndarray, name: str, *, seed: int = 0
) -> dict[str, tuple[float, float]]:
    """What each range of a hyperparameter can reach, and how often it is the best one.

    Returns
    -------
    dict of str to (float, float)
        By label of `ranges`: mean of the best third (`NEAR_TOP`) of its points, and the share of bootstrap
        resamples in which that is the smallest.
    """
    rng = np.random.default_rng(seed)
    reached = []
    for _, mask in (levels := ranges(table, name)):
        own = values[mask]
        best = max(1, round(NEAR_TOP * len(own)))
        drawn = np.sort(own[rng.integers(len(own), size=(RESAMPLES, len(own)))], axis=1)
        reached.append((float(np.sort(own)[:best].mean()), drawn[:, :best].mean(axis=1)))
    winner = np.argmin([drawn for _, drawn in reached], axis=0)
    return {
        label: (mean, float((winner == k).mean()))
        for k, ((label, _), (mean, _)) in enumerate(zip(levels, reached))
    }
