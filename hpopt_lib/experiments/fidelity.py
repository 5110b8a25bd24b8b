"""What cheap trainings tell about dear ones: fewer epochs, fewer frames, and learning curves extrapolated."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

#: Resamples of points or seeds.
RESAMPLES = 1000


def rank_agreement(low: np.ndarray, full: np.ndarray, *, seed: int = 0) -> np.ndarray:
    """Spearman correlation of cheap and full trainings of other seeds, shape (RESAMPLES,).

    Parameters
    ----------
    low, full : numpy.ndarray, shape (n_points, n_seeds)
        Errors; of each point a cheap training with one seed is set beside a full one with another, since
        a search that trains the chosen point again starts anew.
    seed : int
        Of the resamples of the points.
    """
    from scipy.stats import rankdata

    rng, n = np.random.default_rng(seed), len(low)
    rolled = np.roll(full, 1, axis=1)
    samples = rng.integers(n, size=(RESAMPLES, n))
    found = []
    for k in range(low.shape[1]):
        a, b = (rankdata(np.asarray(some)[samples], axis=1) for some in (low[:, k], rolled[:, k]))
        a, b = a - a.mean(axis=1, keepdims=True), b - b.mean(axis=1, keepdims=True)
        found.append((a * b).sum(axis=1) / np.sqrt((a**2).sum(axis=1) * (b**2).sum(axis=1)))
    return np.mean(found, axis=0)


def two_stage(
    low: np.ndarray,
    low_s: np.ndarray,
    full: np.ndarray,
    full_s: np.ndarray,
    report: np.ndarray,
    *,
    budget_s: float,
    finalists: int = 3,
    searches: int = 20,
    resamples: int = 300,
    seed: int = 0,
) -> np.ndarray:
    """Error of a search that trains points cheaply, and the best few of them in full.

    Parameters
    ----------
    low, full : numpy.ndarray, shape (n_points, n_seeds)
        Errors that the search sees.
    low_s, full_s : numpy.ndarray, shape (n_points,)
        CPU seconds of a training.
    report : numpy.ndarray, shape (n_points, n_seeds)
        Errors of full trainings on frames that choose nothing; of another seed than the finalists'.
    budget_s : float
        CPU seconds of a search; the finalists' trainings are paid from it.
    finalists : int
        0 for a search by full trainings alone (`low` and `low_s` are then not used).
    searches, resamples : int
    seed : int
        Searches with the same seed see the same resamples of the points.

    Returns
    -------
    numpy.ndarray, shape (resamples,)
        Mean over searches, in the unit of `report`, for each bootstrap resample of the points.
    """
    n = len(full)
    seen, seconds = (low, low_s) if finalists else (full, full_s)
    n_drawn = int(np.ceil(3 * budget_s / seconds.mean())) + 5
    means = []
    for resample in range(resamples):
        # the same points for every kind of search, so that differences are paired
        rng = np.random.default_rng([seed, resample])
        known, errors = rng.choice(n, size=n), []
        for _ in range(searches):
            drawn, luck = rng.choice(known, size=n_drawn), int(rng.integers(full.shape[1]))
            spent = np.cumsum(seconds[drawn])
            reserve = finalists * float(full_s[known].mean())
            drawn = drawn[: max(1, int((spent <= budget_s - reserve).sum()))]
            order = drawn[np.argsort(seen[drawn, luck], kind="stable")]
            best = order[0]
            other = (luck + 1) % full.shape[1]
            if finalists:
                last = list(dict.fromkeys(order.tolist()))[:finalists]
                best, luck = min(last, key=lambda k: full[k, other]), other
                other = (luck + 1) % full.shape[1]
            errors.append(report[best, other])
        means.append(np.mean(errors))
    return np.array(means)


@dataclass(frozen=True)
class LearningCurve:
    """Error as a power of the number of training frames, ``offset + scale * n ** -slope``.

    Attributes
    ----------
    scale, slope, offset : float
        The offset is zero where it was not fitted.
    scatter : float
        Standard deviation of the logarithm of single trainings about the curve.
    """

    scale: float
    slope: float
    offset: float
    scatter: float

    def __call__(self, sizes: np.ndarray) -> np.ndarray:
        """Errors at some sizes, same shape."""
        return self.offset + self.scale * np.asarray(sizes, dtype=float) ** -self.slope


def fit_curve(sizes: Sequence[float], errors: np.ndarray, *, offset: bool) -> LearningCurve:
    """Fit a learning curve to the logarithms of errors.

    Parameters
    ----------
    sizes : sequence of float
    errors : numpy.ndarray, shape (n_sizes, n_seeds)
    offset : bool
        Whether the curve may end above zero. What no number of frames can learn (too few features, too small
        a network) is an offset; on few small sizes it is hardly told apart from a small slope.

    Raises
    ------
    ValueError
        For fewer sizes than numbers to be fitted.
    """
    from scipy.optimize import least_squares

    n = np.repeat(np.asarray(sizes, dtype=float), errors.shape[1])
    logs, reach = np.log(errors).ravel(), float(np.min(errors))
    if len(set(n)) < (3 if offset else 2):
        raise ValueError(f"{len(set(n))} sizes do not determine a learning curve")
    slope, start = np.polyfit(np.log(n), logs, 1)

    def curve(numbers: np.ndarray) -> np.ndarray:
        base = numbers[2] * reach if offset else 0.0
        return base + np.exp(numbers[0] - numbers[1] * np.log(n))

    # slopes above 2 are not learning but noise; the offset stays below what was reached
    low, high = [-20.0, 0.0, 0.0], [30.0, 2.0, 1.0]
    first = [np.clip(start, -19.0, 29.0), np.clip(-slope, 0.01, 1.9), 0.1]
    k = 3 if offset else 2
    fit = least_squares(
        lambda numbers: np.log(curve(numbers)) - logs, first[:k], bounds=(low[:k], high[:k]), x_scale="jac"
    )
    scatter = float(np.sqrt((fit.fun**2).sum() / max(1, len(logs) - k)))
    base = float(fit.x[2] * reach) if offset else 0.0
    return LearningCurve(float(np.exp(fit.x[0])), float(fit.x[1]), base, scatter)


def extrapolate(
    sizes: Sequence[float],
    errors: np.ndarray,
    targets: Sequence[float],
    *,
    offset: bool,
    resamples: int = 200,
    seed: int = 0,
) -> dict[str, np.ndarray]:
    """Predict errors at larger sizes, with two kinds of uncertainty.

    Parameters
    ----------
    sizes, errors, offset
        See `fit_curve`.
    targets : sequence of float
        Larger sizes.
    resamples : int
        Of the seeds at each size.
    seed : int

    Returns
    -------
    dict of str to numpy.ndarray
        ``mean``: the fitted curve, shape (n_targets,). ``curve``: curves of the resamples, shape (resamples,
        n_targets), for the mean over seeds. ``single``: the same with the scatter of a single
        training, what one more training will show.
    """
    rng = np.random.default_rng(seed)
    n_sizes, n_seeds = errors.shape
    whole = fit_curve(sizes, errors, offset=offset)
    curves, singles = [], []
    for _ in range(resamples):
        drawn = rng.integers(n_seeds, size=(n_sizes, n_seeds))
        made = fit_curve(sizes, np.take_along_axis(errors, drawn, axis=1), offset=offset)(np.array(targets))
        curves.append(made)
        singles.append(made * np.exp(rng.normal(0.0, whole.scatter, len(made))))
    return {"mean": whole(np.array(targets)), "curve": np.array(curves), "single": np.array(singles)}


def coverage(
    curves: Mapping[str, tuple[Sequence[int], np.ndarray]],
    n_fitted: int,
    *,
    offset: bool,
    level: float = 0.9,
    resamples: int = 200,
) -> list[dict[str, Any]]:
    """Extrapolate each curve from its smallest sizes, and look whether the larger ones came out as predicted.

    Parameters
    ----------
    curves : mapping of str to (sizes, errors)
        Errors of shape (n_sizes, n_seeds), sizes in ascending order.
    n_fitted : int
        Sizes that the fit sees.
    offset : bool
    level : float
        Of the intervals.
    resamples : int
        See `extrapolate`.

    Returns
    -------
    list of dict
        For each curve and larger size: ``curve``, ``size``, ``predicted``, ``low`` and ``high`` (of
        a single training), ``measured`` (mean), ``inside`` (share of the trainings in the interval) and
        ``mean_inside`` (whether the mean lies in the interval of the curve).
    """
    rows = []
    ends = [(1 - level) / 2, (1 + level) / 2]
    for name, (sizes, errors) in curves.items():
        targets = list(sizes[n_fitted:])
        found = extrapolate(sizes[:n_fitted], errors[:n_fitted], targets, offset=offset, resamples=resamples)
        low, high = np.quantile(found["single"], ends, axis=0)
        mean_low, mean_high = np.quantile(found["curve"], ends, axis=0)
        for k, size in enumerate(targets):
            measured = errors[n_fitted + k]
            rows.append(
                {
                    "curve": name,
                    "size": int(size),
                    "predicted": float(found["mean"][k]),
                    "low": float(low[k]),
                    "high": float(high[k]),
                    "measured": float(measured.mean()),
                    "inside": float(((measured >= low[k]) & (measured <= high[k])).mean()),
                    "mean_inside": bool(mean_low[k] <= measured.mean() <= mean_high[k]),
                }
            )
    return rows
