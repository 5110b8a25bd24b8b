"""Figures of metrics that agree or disagree."""

from __future__ import annotations

import numpy as np

from hpopt_lib.report.figures_units import plot_rank_agreement, plot_two_metrics


def test_every_metric_has_its_row_and_the_first_is_on_top():
    groups = {"val_id": [(0.9, 0.8, 1.0), (0.5, 0.2, 0.7)], "ood": [(0.8, 0.7, 0.9), (0.4, 0.1, 0.6)]}
    axis = plot_rank_agreement(["RMSE", "EwT"], groups, xlabel="τ", mark=("luck", 0.93)).axes[0]
    assert [label.get_text() for label in axis.get_yticklabels()] == ["RMSE", "EwT"]
    first = axis.containers[0].lines[0].get_xydata()
    np.testing.assert_allclose(first[:, 0], [0.9, 0.5])
    assert first[0, 1] > first[1, 1]
    assert any(np.allclose(line.get_xdata(), 0.93) for line in axis.get_lines())


def test_the_pair_that_swaps_is_joined():
    points = {"mae": (np.array([1.0, 2.0]), np.array([5.0, 6.0])), "mse": (np.array([3.0]), np.array([4.0]))}
    axis = plot_two_metrics(points, (1, 2), xlabel="a", ylabel="b").axes[0]
    np.testing.assert_allclose(axis.get_lines()[-1].get_xydata(), [[2, 6], [3, 4]])
