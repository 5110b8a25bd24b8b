"""Teaching figures show what they are given: positions, counts and marks are read back from the axes."""

from __future__ import annotations

import numpy as np
import pytest
from matplotlib.patches import Ellipse

from hpopt_lib.report import figures_charts as charts
from hpopt_lib.report import figures_pruning as cuts
from hpopt_lib.report import figures_teaching as draw
from hpopt_lib.report.style import ORANGE, VERMILION, WIDTH, png_bytes

X, Y = np.linspace(0, 1, 12), np.linspace(0, 2, 9)
LANDSCAPE = (X, Y, X[None, :] ** 2 + Y[:, None])


def check(figure) -> None:
    assert figure.get_figwidth() <= WIDTH
    assert png_bytes(figure).startswith(b"\x89PNG")


def test_point_sets_show_the_values_of_one_parameter():
    points = np.random.default_rng(0).random((16, 2))
    figure = draw.plot_point_sets({"a": points, "b": points}, xlabel="x", ylabel="y")
    assert [axis.get_title(loc="left") for axis in figure.axes] == ["a", "b"]
    (ticks,) = figure.axes[0].lines
    np.testing.assert_allclose(ticks.get_xdata(), points[:, 0])
    check(figure)


def test_gaussian_process_marks_the_next_trial():
    step = {
        "seen_x": [0.1, 0.9],
        "seen_y": [1.0, 2.0],
        "mean": X,
        "std": 0.1 + X,
        "acquisition": X,
        "next_x": 0.7,
    }
    figure = draw.plot_gaussian_process([step, step], X, X**2, xlabel="x", ylabel="error")
    assert len(figure.axes) == 4
    for axis in figure.axes:
        assert any(list(line.get_xdata()) == [0.7, 0.7] for line in axis.lines)
    check(figure)


def test_parzen_draws_both_groups_and_their_ratio():
    step = {
        "good_x": [0.2], "good_y": [1.0], "bad_x": [0.5, 0.9], "bad_y": [2.0, 3.0], "l": X + 1, "g": X + 2, "next_x": 0.3,
    }  # fmt: skip
    figure = draw.plot_parzen([step], X, xlabel="x", ylabel="error")
    assert figure.axes[0].get_title(loc="left") == "after 3 trials"
    check(figure)


def test_evolution_draws_the_ellipse_of_the_covariance():
    covariance = np.array([[4.0, 0.0], [0.0, 1.0]])
    generation = {"number": 3, "mean": [0.5, 1.0], "covariance": covariance, "points": [[0.1, 0.2]]}
    figure = draw.plot_evolution([generation], LANDSCAPE, best=(0, 0), xlabel="x", ylabel="y")
    first, second = (patch for patch in figure.axes[0].patches if isinstance(patch, Ellipse))
    # one standard deviation: full axes of 2 sqrt(4) along x and 2 sqrt(1) along y
    assert (first.width, first.height) == pytest.approx((4.0, 2.0))
    assert first.angle % 180 == pytest.approx(0.0)
    assert second.width == pytest.approx(8.0)
    check(figure)


def test_best_so_far_shows_mean_and_the_middle_half():
    curves = np.array([[4.0, 2.0], [2.0, 1.0], [3.0, 3.0]])
    figure = draw.plot_best_so_far({"a": curves}, ylabel="error", log=True)
    np.testing.assert_allclose(figure.axes[0].lines[0].get_ydata(), [3.0, 2.0])
    assert figure.axes[0].get_yscale() == "log"
    check(figure)


def test_asked_points_and_landscape():
    figure = draw.plot_asked_points(
        {"a": np.array([[0.5, 0.5]])}, np.array([[0.1, 0.1]]), LANDSCAPE, best=(0, 0), xlabel="x", ylabel="y"
    )
    check(figure)
    check(draw.plot_landscape(*LANDSCAPE, best=(0, 0), xlabel="x", ylabel="y", unit="meV/atom"))


def test_cut_curves_end_where_they_were_stopped():
    curves = np.arange(18, dtype=float).reshape(2, 9)
    figure = cuts.plot_cut_curves({"rule": (curves, [3, 9])}, ylabel="error", rungs={"rule": (3,)})
    lines = [line for line in figure.axes[0].lines if len(line.get_xdata()) > 2]
    assert [len(line.get_xdata()) for line in lines] == [3, 9]
    assert lines[0].get_color() == ORANGE
    assert any(line.get_color() == VERMILION and line.get_marker() == "x" for line in figure.axes[0].lines)
    check(figure)


def test_epochs_of_a_bracket_count_only_what_survivors_add():
    rungs = [(27, 1), (9, 3), (3, 9), (1, 27)]
    assert cuts.epochs_spent(rungs) == 27 + 9 * 2 + 3 * 6 + 18
    assert cuts.epochs_spent([(4, 27)]) == 108
    check(cuts.plot_brackets([rungs, [(4, 27)]]))


def test_cost_shows_the_mean():
    figure = cuts.plot_cost(
        {"none": (np.array([1.0, 3.0]), np.array([5.0, 7.0]))}, xlabel="epochs", ylabel="error"
    )
    large = next(line for line in figure.axes[0].lines if line.get_label() == "none")
    assert (large.get_xdata()[0], large.get_ydata()[0]) == (2.0, 6.0)
    check(figure)


@pytest.mark.parametrize("seeds", [1, 3])
def test_charts_of_errors(seeds):
    errors = np.ones((2, seeds)) * [[4.0], [2.0]]
    figure = charts.plot_effect([0.1, 1.0], errors, xlabel="lr", ylabel="error", baseline=("linear", 9.0))
    assert figure.axes[0].get_ylim()[0] == 0
    check(figure)
    check(
        charts.plot_families([0, 1], {"a": errors}, xlabel="order", ylabel="error", baseline=("median", 9.0))
    )


def test_charts_of_points():
    groups = {"a": (X + 0.1, X + 0.2), "b": (X + 0.3, X + 0.1)}
    figure = charts.plot_groups(groups, xlabel="x", ylabel="y")
    assert [line.get_label() for line in figure.axes[0].lines] == ["a", "b"]
    check(figure)
    check(charts.plot_colored(X, X, X, xlabel="x", ylabel="y", color_label="error"))
