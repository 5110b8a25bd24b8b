"""Studies with little in them give a figure, or a sentence that says why not."""

from __future__ import annotations

import math

import optuna
import pytest
from optuna.trial import TrialState
from synthetic_studies import add, empty_study

from hpopt_lib.errors import HpoptError
from hpopt_lib.report import figures
from hpopt_lib.report.importances import importances
from hpopt_lib.report.study_data import NotDrawableError, objective_view

STUDY_FIGURES = {
    "history": figures.history_figure,
    "intermediate": figures.intermediate_figure,
    "timeline": figures.timeline_figure,
    "parallel": figures.parallel_figure,
    "slice": figures.slice_figure,
    "contour": figures.contour_figure,
}


def few(n: int, state: TrialState = TrialState.COMPLETE, **more) -> optuna.Study:
    study = empty_study(**more)
    for _ in range(n):
        add(study, 5.0 if state == TrialState.COMPLETE else None, state=state)
    return study


@pytest.mark.parametrize("name", STUDY_FIGURES)
@pytest.mark.parametrize(
    ("study", "drawable"),
    [
        (few(0), set()),
        (few(1), {"history", "timeline", "parallel", "slice"}),
        (few(2), {"history", "timeline", "parallel", "slice", "contour"}),
        (few(3, TrialState.PRUNED), {"timeline"}),
        (few(3, TrialState.FAIL), {"timeline"}),
        (few(3, foreign=True), {"history", "timeline", "parallel", "slice", "contour"}),
    ],
    ids=["empty", "one", "two-equal", "all-pruned", "all-failed", "foreign"],
)
def test_poor_studies_give_a_figure_or_a_sentence(name, study, drawable):
    if name in drawable:
        assert figures.png_bytes(STUDY_FIGURES[name](study), dpi=40).startswith(b"\x89PNG")
    else:
        with pytest.raises(NotDrawableError) as found:
            STUDY_FIGURES[name](study)
        assert len(str(found.value).split()) > 6


def test_constant_parameters_and_equal_objectives():
    study = empty_study()
    for value in (3.0, 4.0, 5.0, 6.0):
        add(study, value, params={"lr": 1e-3, "num_layers": 2})
    with pytest.raises(NotDrawableError, match="two parameters that varied"):
        figures.contour_figure(study)
    with pytest.raises(NotDrawableError, match="more than one value"):
        importances(study)
    figures.png_bytes(figures.slice_figure(study), dpi=40)
    with pytest.raises(NotDrawableError, match="same objective"):
        importances(few(6))


def test_trials_on_one_line_give_points_without_a_surface():
    study = empty_study()
    for k in range(4):
        add(study, float(k), params={"lr": 10.0 ** (-4 + k), "num_layers": 1 + k})
    axes = figures.contour_figure(study).axes[0]
    assert len(axes.collections) == 1 and len(axes.collections[0].get_offsets()) == 4


def test_infinite_values_are_left_out():
    study = few(2, foreign=True)
    add(study, math.inf)
    dots = next(
        found for found in figures.history_figure(study).axes[0].lines if found.get_label() == "complete"
    )
    assert list(dots.get_ydata()) == [5.0, 5.0]


def test_several_objectives_are_refused_in_one_line():
    study = optuna.create_study(directions=["minimize", "minimize"])
    with pytest.raises(HpoptError, match="2 objectives"):
        objective_view(study)


@pytest.mark.parametrize(
    ("study", "names"),
    [
        (few(0), []),
        (few(1), ["history", "parallel", "slice", "timeline"]),
        (few(3, TrialState.PRUNED), ["timeline"]),
        (few(2, TrialState.FAIL), ["timeline"]),
    ],
    ids=["empty", "one", "all-pruned", "all-failed"],
)
def test_interactive_figures_of_poor_studies(study, names):
    assert list(figures.plotly_study_figures(study)) == names


@pytest.mark.parametrize(("direction", "far", "arrow"), [("minimize", 90.0, "↑"), ("maximize", -90.0, "↓")])
def test_far_outliers_are_cut_and_counted(direction, far, arrow):
    study = empty_study(foreign=True, direction=direction)
    for k in range(20):
        add(study, 10.0 + k % 5)
    add(study, far)
    axes = figures.history_figure(study).axes[0]
    low, high = axes.get_ylim()
    assert (low < 10.0 and 14.0 < high < 90.0) if far > 0 else (-90.0 < low < 10.0 and high > 14.0)
    assert [text.get_text() for text in axes.texts] == [f"{arrow} 1 trial outside"]
    assert not figures.history_figure(few(5)).axes[0].texts
