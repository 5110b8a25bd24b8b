"""Figures and sentences of searches on several splits."""

from __future__ import annotations

import numpy as np

from hpopt_lib.report import figures_splits as draw
from hpopt_lib.report.split_verdicts import estimate_sentence, growth_sentence, sure_sign


def test_means_are_drawn_at_their_sizes() -> None:
    rows = np.array([[1.0, 2.0, -4.0], [3.0, 4.0, -6.0]])
    figure = draw.plot_by_size(
        {"a": {"x": rows}, "b": {"x": rows}}, [1, 5, 200], xlabel="trials", ylabel="MAE"
    )
    assert len(figure.axes) == 2
    np.testing.assert_allclose(figure.axes[0].get_lines()[0].get_xydata(), [[1, 2], [5, 3], [200, -5]])


def test_the_front_is_told_from_the_rest() -> None:
    values = np.array([[1.0, 3.0, 1.0], [2.0, 1.0, 2.0], [3.0, 4.0, 3.0]])
    front = np.array([True, True, False])
    figure = draw.plot_front(values, front, labels=("id", "ood", "time"), marks={"best": 1})
    rest, best = figure.axes[0].collections[:2]
    np.testing.assert_allclose(rest.get_offsets(), values[2:, :2])
    np.testing.assert_allclose(best.get_offsets(), values[:2, :2])
    assert figure.axes[1].get_ylabel() == "time"
    assert len(draw.plot_front(values[:, :2], front, labels=("id", "ood")).axes) == 1


def test_sentences_follow_the_numbers() -> None:
    assert [sure_sign(v) for v in ([1, 2, 1], [-1, -2, -1], [-1, 1, 0.1])] == [1, -1, 0]
    assert "grows from 5 to 200" in growth_sentence("It", [1, 1, 2], [3, 4, 3], (5, 200))
    assert "shrinks" in growth_sentence("It", [3, 4, 3], [1, 1, 2], (5, 200))
    assert "does not grow for certain" in growth_sentence("It", [1, 2, 3], [3, 2, 1], (5, 200))
    assert "too low for `a`" in estimate_sentence("CV", [1, 1, 2], [3, 4, 3], "`a`")
    assert "too high for `a`" in estimate_sentence("CV", [3, 4, 3], [1, 1, 2], "`a`")
    assert "not told apart" in estimate_sentence("CV", [1, 2, 3], [3, 2, 1], "`a`")
