"""Cheap trainings and learning curves: planted truths are found, broken promises are named."""

from __future__ import annotations

import numpy as np
import pytest

from hpopt_lib.experiments import fidelity
from hpopt_lib.experiments.compute import as_errors, budget_rows, cheap_errors, curve_errors, fidelities
from hpopt_lib.experiments.drawn_table import training_frames
from hpopt_lib.experiments.feature_cache import FeatureCache
from hpopt_lib.experiments.wide_space import draw
from hpopt_lib.report import compute_verdicts as say

SIZES = [25, 50, 100, 200, 400, 800, 1600]


def curve(offset: float, *, seeds: int = 6, noise: float = 0.02) -> np.ndarray:
    rng = np.random.default_rng(0)
    mean = offset + 200.0 * np.array(SIZES, dtype=float)[:, None] ** -0.7
    return mean * np.exp(rng.normal(0, noise, (len(SIZES), seeds)))


def test_ranks_of_the_same_order_and_of_none():
    full = np.exp(np.random.default_rng(0).normal(3, 0.5, (60, 1))) * np.ones((1, 2))
    np.testing.assert_allclose(fidelity.rank_agreement(full**2, full), 1.0)
    shuffled = np.random.default_rng(1).permutation(full)
    assert abs(fidelity.rank_agreement(shuffled, full).mean()) < 0.3


def test_cheap_trainings_help_when_they_rank_and_hurt_when_they_do_not():
    rng = np.random.default_rng(0)
    level = np.exp(rng.normal(3, 0.5, 80))[:, None]
    full, report = (level * np.exp(rng.normal(0, 0.02, (80, 2))) for _ in range(2))
    seconds = np.ones(80)
    common = {"budget_s": 8.0, "seed": 0, "resamples": 60}
    alone = fidelity.two_stage(full, seconds, full, seconds, report, finalists=0, **common)
    good = fidelity.two_stage(full * 1.5, seconds / 20, full, seconds, report, **common)
    bad = fidelity.two_stage(1 / full, seconds / 20, full, seconds, report, **common)
    rows = [
        say.fidelity_row(name, np.ones(9), 20.0, found, alone)
        for name, found in (("good", good), ("bad", bad), ("same", alone))
    ]
    assert [row["verdict"] for row in rows] == ["better", "worse", "not told apart"]
    assert "better: good; worse: bad; not told apart: same" in say.fidelity_sentence(rows)


@pytest.mark.parametrize("offset", [0.0, 10.0])
def test_a_learning_curve_is_found_again(offset):
    fit = fidelity.fit_curve(SIZES, curve(offset, noise=0.005), offset=True)
    assert fit.slope == pytest.approx(0.7, abs=0.05) and fit.offset == pytest.approx(offset, abs=0.6)
    assert fit.scatter < 0.01
    with pytest.raises(ValueError, match="2 sizes do not determine"):
        fidelity.fit_curve(SIZES[:2], curve(1.0)[:2], offset=True)


def test_an_extrapolation_is_checked_and_a_wrong_curve_is_caught():
    curves = {"a": (SIZES, curve(10.0))}
    right = fidelity.coverage(curves, 5, offset=True)
    wrong = fidelity.coverage(curves, 5, offset=False)
    assert [row["size"] for row in right] == [800, 1600]
    assert "the promise is kept" in say.coverage_sentence(right, "with offset")
    assert wrong[-1]["inside"] == 0 and wrong[-1]["predicted"] < wrong[-1]["measured"]
    assert "**not kept**" in say.coverage_sentence(wrong, "without offset")


def test_budgets():
    rows = budget_rows(1e-3, {"a": 60.0}, {"small": (100, 10), "large": (100_000, 10)})
    assert rows == [{"budget": "a", "small": 60, "large": 0}]


def test_cheap_trainings_and_curves_hold_every_seed(tmp_path):
    cache = FeatureCache(training_frames({"train": 84, "val_id": 84}), tmp_path)
    points = [{**p, "num_layers": 1, "num_nodes": 8, "dropout_rate": 0.0} for p in draw("network", 2, seed=0)]
    few, many = (cheap_errors(cache, points, {"epochs": n}, [0, 1]) for n in (2, 20))
    assert np.shape(few["report"]) == (2, 2) and min(few["cpu_s"]) > 0
    assert (as_errors(many["choose"]) <= as_errors(few["choose"]) + 5).all() and few != many
    assert as_errors([[1.0, None]]).tolist() == [[1.0, np.inf]]
    assert fidelities(20)["1/4 of the epochs"] == {"epochs": 5} and len(fidelities(20)) == 6
    found = curve_errors(cache, "1 layer of 8", [10, 20], [0, 1])
    assert found["sizes"] == [10, 20] and np.shape(found["report"]) == (2, 2)
    assert found["report"][0][0] != found["report"][0][1]
