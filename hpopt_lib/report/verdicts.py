"""Sentences that numbers decide: is a difference between two settings more than the luck of the seed?"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np


@dataclass(frozen=True)
class Difference:
    """Mean of paired differences with its confidence interval.

    Attributes
    ----------
    mean, low, high : float
        First minus second, and the ends of the interval, in the unit of the data.
    n : int
        Number of pairs (seeds).
    """

    mean: float
    low: float
    high: float
    n: int

    @property
    def resolved(self) -> bool:
        """Whether the interval leaves out zero."""
        return self.low > 0 or self.high < 0

    def sentence(self, first: str, second: str, *, unit: str) -> str:
        """A sentence on errors, where smaller is better, that claims no more than the numbers say."""
        if self.n < 2:
            return f"{first} and {second} cannot be compared: one seed says nothing about the spread."
        interval = f"95 % interval {self.low:+.2f} to {self.high:+.2f}"
        numbers = f"difference {self.mean:+.2f} {unit}, {interval}, {self.n} seeds"
        if not self.resolved:
            return f"{first} and {second} are not told apart ({numbers})."
        return f"{first} is {'better' if self.mean < 0 else 'worse'} than {second} ({numbers})."


def paired_difference(first, second, *, confidence: float = 0.95) -> Difference:
    """Compare two settings that were run with the same seeds.

    The interval is Student's for the mean of the differences: pairing removes what both runs
    of a seed share (the data drawn, the starting weights).

    Parameters
    ----------
    first, second : array_like, shape (n_seeds,)
        Errors in the same unit, one for each seed, in the same order.
    confidence : float

    Returns
    -------
    Difference
        With an infinite interval for a single seed.

    Raises
    ------
    ValueError
        When the lengths differ or are zero.

    Examples
    --------
    >>> print(paired_difference([10.1, 9.9], [12.0, 12.0]).sentence("A", "B", unit="meV/atom"))
    A is better than B (difference -2.00 meV/atom, 95 % interval -3.27 to -0.73, 2 seeds).
    """
    from scipy.stats import t

    a, b = np.asarray(first, dtype=float), np.asarray(second, dtype=float)
    if a.shape != b.shape or a.ndim != 1 or not len(a):
        raise ValueError(
            f"one error for each seed is needed on both sides, not shapes {a.shape} and {b.shape}"
        )
    differences, n = a - b, len(a)
    mean = float(differences.mean())
    if n == 1:
        return Difference(mean, -np.inf, np.inf, 1)
    half = float(t.ppf(0.5 + confidence / 2, n - 1) * differences.std(ddof=1) / np.sqrt(n))
    return Difference(mean, mean - half, mean + half, n)


def power_law(sizes, errors) -> tuple[float, float]:
    """Slope of log(error) against log(size) for each seed: mean and sample standard deviation.

    Parameters
    ----------
    sizes : array_like, shape (n_sizes,)
        Numbers of training frames.
    errors : array_like, shape (n_seeds, n_sizes)

    Returns
    -------
    slope, std : float
        A slope of -0.5 means that four times the data halve the error; `std` is NaN for one seed.

    Raises
    ------
    ValueError
        For fewer than two sizes.
    """
    x = np.log(np.asarray(sizes, dtype=float))
    if len(x) < 2:
        raise ValueError("a slope needs at least two sizes")
    slopes = np.array([np.polyfit(x, np.log(row), 1)[0] for row in np.atleast_2d(errors)])
    return float(slopes.mean()), float(slopes.std(ddof=1)) if len(slopes) > 1 else float("nan")
