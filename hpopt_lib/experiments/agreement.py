"""Intervals over repetitions, and the check that a short rerun agrees with a recorded long run."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np

from hpopt_lib.errors import HpoptError

#: Resamples of a bootstrap.
RESAMPLES = 4000
#: Intervals at this level must overlap: high, so that a build fails by chance about never.
AGREEMENT = 0.99


def bootstrap_interval(
    values: Sequence[float] | np.ndarray, *, confidence: float = 0.95, seed: int = 0
) -> tuple[float, float]:
    """Percentile bootstrap interval of a mean.

    Parameters
    ----------
    values : array_like, shape (n,)
        One for each repetition (an order of trials, a study).
    confidence : float
    seed : int
        Of the resampling, fixed so that a page is the same in every build.

    Returns
    -------
    low, high : float

    Raises
    ------
    ValueError
        For no values.
    """
    found = np.asarray(values, dtype=float)
    if found.ndim != 1 or not len(found):
        raise ValueError("an interval needs values")
    rng = np.random.default_rng(seed)
    means = found[rng.integers(0, len(found), (RESAMPLES, len(found)))].mean(axis=1)
    low, high = np.quantile(means, [(1 - confidence) / 2, (1 + confidence) / 2])
    return float(low), float(high)


def check_agreement(
    recorded: Mapping[str, Sequence[float]],
    reduced: Mapping[str, Sequence[float]],
    *,
    tolerance: float,
    where: str,
) -> int:
    """Make sure that the means of a reduced run do not contradict those recorded.

    Parameters
    ----------
    recorded, reduced : mapping of str to sequence of float
        Values over repetitions by quantity; the reduced run may have fewer quantities.
    tolerance : float
        Half width that intervals have at least: what is rare may be absent from a few repetitions, and
        an interval around zeros alone has no width.
    where : str
        Name of the record, for the message.

    Returns
    -------
    int
        Number of quantities that agree.

    Raises
    ------
    HpoptError
        For the first quantity whose 99 % intervals do not overlap, or that was not recorded.
    """
    if not reduced:
        raise HpoptError(f"{where}: nothing to compare", remedy="run at least one setting")
    for name, values in reduced.items():
        if name not in recorded:
            raise HpoptError(f"{where}: {name}: was not recorded", remedy="record the experiment again")
        (a, b), (c, d) = (_ends(one, tolerance) for one in (recorded[name], values))
        if d < a or c > b:
            raise HpoptError(
                f"{where}: {name}: recorded {a:.3g} to {b:.3g}, now {c:.3g} to {d:.3g}",
                remedy="find out what changed, and record the experiment again",
            )
    return len(reduced)


def _ends(values: Sequence[float], tolerance: float) -> tuple[float, float]:
    low, high = bootstrap_interval(values, confidence=AGREEMENT)
    mean = float(np.mean(values))
    return min(low, mean - tolerance), max(high, mean + tolerance)
