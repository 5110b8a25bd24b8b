"""Figures and sentences of replayed studies."""

from __future__ import annotations

import numpy as np

from hpopt_lib.report import figures_replay as draw
from hpopt_lib.report.figures_paper import plot_groups_of_sides
from hpopt_lib.report.replay_verdicts import compare_sentence, harmless_sentence


def test_regret_against_saving_shows_every_warm_up() -> None:
    families = {"median": {1: ([1.0, 2.0], [0.5, 0.7]), 5: ([0.0, 0.0], [0.3, 0.3])}}
    axis = draw.plot_regret_and_saving(families, tolerated=0.5, unit="meV/atom").axes[0]
    assert [text.get_text() for text in axis.texts] == ["1", "5"]
    np.testing.assert_allclose(axis.get_lines()[0].get_xydata(), [[60, 1.5], [30, 0]])


def test_races_and_ranks_draw_the_means() -> None:
    rows = np.array([[4.0, 2.0, 0.0], [8.0, 4.0, 0.0]])
    panels = {
        "equal trials": (np.arange(1, 4), {"tpe": rows}),
        "equal seconds": (np.arange(3), {"tpe": rows}),
    }
    figure = draw.plot_races(panels, xlabels=("trials", "s"), ylabel="regret")
    assert len(figure.axes) == 2
    np.testing.assert_allclose(figure.axes[0].get_lines()[0].get_ydata(), [6, 3, 0])
    axis = draw.plot_by_epoch({"kendall": np.array([0.1, 0.9])}, ylabel="rank", marks={"warm-up": 2}).axes[0]
    np.testing.assert_allclose(axis.get_lines()[0].get_xydata(), [[1, 0.1], [2, 0.9]])


def test_sentences_follow_the_numbers() -> None:
    found = {"regret": [0.1, 0.2, 0.1, 0.2], "seconds_saved": [0.6] * 4}
    assert "loses less than is tolerated" in harmless_sentence("m", found, 0.5)
    assert "loses more than is tolerated" in harmless_sentence("m", found, 0.05)
    assert "cannot be said" in harmless_sentence("m", found, 0.15)
    assert compare_sentence("A", "B", [1, 2, 1], [3, 4, 4], "regret").startswith("A is better than B")
    assert compare_sentence("A", "B", [3, 4, 4], [1, 2, 1], "regret").startswith("A is worse than B")
    assert "not told apart" in compare_sentence("A", "B", [1, 2, 3], [3, 2, 1], "regret")


def test_sides_of_a_comparison_show_every_seed_and_the_baseline() -> None:
    groups = {
        "one, 300 K": {"first": [1.0, 2.0, 3.0], "second": [4.0, 5.0, 6.0]},
        "two": {"first": [2.0], "second": [3.0]},
    }
    figure = plot_groups_of_sides(groups, ylabel="error", baselines={"one, 300 K": 9.0, "two": 8.0})
    axis = figure.axes[0]
    seeds = [line for line in axis.lines if line.get_marker() == "."]
    means = [float(line.get_ydata()[0]) for line in axis.lines if line.get_marker() != "."]
    assert [len(line.get_ydata()) for line in seeds] == [3, 1, 3, 1] and means == [2.0, 2.0, 5.0, 3.0]
    assert [text.get_text() for text in axis.get_xticklabels()] == ["one\n300 K", "two"]
    assert [text.get_text() for text in axis.get_legend().get_texts()] == [
        "first",
        "second",
        "median baseline",
    ]
    assert sorted({float(y) for c in axis.collections for y in c.get_segments()[0][:, 1]}) == [8.0, 9.0]
    assert axis.get_yscale() == "log"
