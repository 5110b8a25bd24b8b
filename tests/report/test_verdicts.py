"""Sentences on differences say what the numbers say, and no more."""

from __future__ import annotations

import math

import numpy as np
import pytest
from scipy.stats import ttest_rel

from hpopt_lib.report.verdicts import paired_difference, power_law


def test_interval_agrees_with_the_paired_t_test():
    rng = np.random.default_rng(0)
    a, b = rng.normal(10, 1, 8), rng.normal(11, 1, 8)
    expected = ttest_rel(a, b).confidence_interval(0.95)
    found = paired_difference(a, b)
    assert (found.low, found.high) == pytest.approx((expected.low, expected.high))
    assert found.mean == pytest.approx(np.mean(a) - np.mean(b))


@pytest.mark.parametrize(
    ("first", "second", "word"),
    [
        ([1.0, 1.1, 0.9], [2.0, 2.2, 2.1], "A is better than B"),
        ([2.0, 2.2, 2.1], [1.0, 1.1, 0.9], "A is worse than B"),
        ([1.0, 2.0, 3.0], [2.0, 1.0, 3.1], "A and B are not told apart"),
        ([1.0], [5.0], "cannot be compared"),
    ],
)
def test_sentences(first, second, word):
    sentence = paired_difference(first, second).sentence("A", "B", unit="meV/atom")
    assert word in sentence
    if len(first) > 1:
        assert f"{len(first)} seeds" in sentence and "meV/atom" in sentence


def test_one_pair_never_decides():
    found = paired_difference([1.0], [100.0])
    assert not found.resolved and math.isinf(found.high)


@pytest.mark.parametrize(("first", "second"), [([1.0, 2.0], [1.0]), ([], []), ([[1.0]], [[1.0]])])
def test_bad_shapes(first, second):
    with pytest.raises(ValueError, match="one error for each seed"):
        paired_difference(first, second)


def test_power_law_finds_the_slope_and_its_spread():
    sizes = np.array([100, 200, 400, 800])
    slope, std = power_law(sizes, np.array([3.0 * sizes**-0.5, 5.0 * sizes**-0.3]))
    assert slope == pytest.approx(-0.4)
    assert std == pytest.approx(np.std([-0.5, -0.3], ddof=1))
    assert math.isnan(power_law(sizes, 3.0 * sizes**-0.5)[1])
    with pytest.raises(ValueError, match="two sizes"):
        power_law([100], [[1.0]])
