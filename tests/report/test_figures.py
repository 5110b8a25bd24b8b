"""Figures show the numbers they claim to show, and say why when they cannot be drawn."""

from __future__ import annotations

import io
import math

import matplotlib
import numpy as np
import pytest
from optuna.trial import TrialState
from synthetic_studies import START, add, empty_study, final_record, usual_study

from hpopt_lib.report import figures
from hpopt_lib.report.importances import FANOVA, PED_ANOVA, Importance, importances, settled
from hpopt_lib.report.study_data import metric_label


def line(axes, name: str):
    return next(found for found in axes.lines if str(found.get_label()).startswith(name))


def labels(axes) -> list[str]:
    return [str(found.get_label()) for found in axes.lines]


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("validation_energy_mae_mev_per_atom", "validation energy MAE (meV/atom)"),
        ("force_rmse_mev_per_angstrom", "force RMSE (meV/Å)"),
        ("energy_mae_kcal_per_mol", "energy MAE (kcal/mol)"),
        ("accuracy", "accuracy"),
    ],
)
def test_metric_names_become_labels_with_units(name, text):
    assert metric_label(name) == text


def test_history_shows_the_running_minimum_and_marks_pruned_and_failed():
    study = usual_study()
    axes = figures.history_figure(study).axes[0]
    values = [t.value for t in study.trials if t.state == TrialState.COMPLETE]
    assert list(line(axes, "complete").get_ydata()) == values
    best = line(axes, "best so far")
    assert list(best.get_ydata())[:-1] == list(np.minimum.accumulate(values))
    assert best.get_xdata()[-1] == 12  # to the last trial of any state
    assert list(line(axes, "pruned").get_ydata()) == [80.0, 95.0]
    assert list(line(axes, "failed").get_xdata()) == [12]
    star = line(axes, "best: trial")
    assert star.get_ydata()[0] == min(values) and star.get_xdata()[0] == int(np.argmin(values))
    assert axes.get_ylabel() == "validation energy MAE (meV/atom)" and axes.get_xlabel() == "trial"


def test_history_of_a_maximisation_rises():
    study = empty_study(foreign=True, direction="maximize")
    for value in (1.0, 3.0, 2.0):
        add(study, value)
    axes = figures.history_figure(study).axes[0]
    assert list(line(axes, "best so far").get_ydata())[:3] == [1.0, 3.0, 3.0]
    assert axes.get_ylabel() == "objective value"


def test_intermediate_values_are_the_reports_and_pruned_ones_end_with_a_cross():
    study = usual_study()
    axes = figures.intermediate_figure(study).axes[0]
    pruned = line(axes, "pruned")
    assert list(pruned.get_xdata()) == [1, 2] and list(pruned.get_ydata()) == [90.0, 80.0]
    crosses = sorted(float(found.get_ydata()[0]) for found in axes.lines if found.get_marker() == "x")
    assert crosses == [80.0, 95.0]
    best = study.best_trial
    assert list(line(axes, "best: trial").get_ydata()) == list(best.intermediate_values.values())
    assert axes.get_xlabel() == "epoch" and "meV/atom" in axes.get_ylabel()


def test_timeline_bars_are_the_trials_times():
    study = usual_study()
    axes = figures.timeline_figure(study).axes[0]
    bars = axes.patches
    assert [round(bar.get_x(), 6) for bar in bars] == [10.0 * k for k in range(13)]
    assert all(bar.get_width() == pytest.approx(10.0) for bar in bars)
    assert "(s)" in axes.get_xlabel()
    texts = [text.get_text() for text in axes.get_legend().get_texts()]
    assert texts == ["complete", "pruned", "failed", "on average 1.0 at a time"]


def test_a_running_trial_lasts_until_the_last_event():
    study = empty_study()
    add(study, 1.0)
    add(study, None, state=TrialState.RUNNING)
    add(study, 2.0)
    bars = figures.timeline_figure(study).axes[0].patches
    assert [bar.get_width() for bar in bars] == pytest.approx([10.0, 20.0, 10.0])
    assert START.year == 2026


def test_parallel_lines_stand_at_the_share_of_the_range_with_gaps():
    study = usual_study()
    figure = figures.parallel_figure(study)
    axes = figure.axes[0]
    best = study.best_trial
    drawn = line(axes, "best: trial")
    # rows in the order of drawing: lr (log), num_layers, schedule, gamma
    assert drawn.get_xdata()[0] == pytest.approx((math.log10(best.params["lr"]) + 4) / 3)
    assert drawn.get_xdata()[1] == pytest.approx((best.params["num_layers"] - 1) / 4)
    assert math.isnan(drawn.get_xdata()[3]) == ("gamma" not in best.params)
    assert [tick.get_text() for tick in axes.get_yticklabels()] == [
        "lr, log",
        "num_layers",
        "schedule",
        "gamma",
    ]
    assert figure.axes[1].get_ylabel() == "validation energy MAE (meV/atom)"


def test_slices_and_contours_use_the_scale_that_a_parameter_was_drawn_on():
    study = usual_study()
    by_name = {axes.get_xlabel(): axes for axes in figures.slice_figure(study).axes if axes.get_visible()}
    assert by_name["lr"].get_xscale() == "log" and by_name["num_layers"].get_xscale() == "linear"
    assert [t.get_text() for t in by_name["schedule"].get_xticklabels()] == ["cosine", "step"]
    points = by_name["gamma"].collections[0].get_offsets()
    shown = [t for t in study.trials if t.state == TrialState.COMPLETE and "gamma" in t.params]
    assert np.allclose(points, [(t.params["gamma"], t.value) for t in shown])
    contour = figures.contour_figure(study).axes[0]
    assert {contour.get_xlabel(), contour.get_ylabel()} == {"lr", "num_layers"}
    scales = {contour.get_xlabel(): contour.get_xscale(), contour.get_ylabel(): contour.get_yscale()}
    assert scales == {"lr": "log", "num_layers": "linear"}
    assert len(contour.collections) >= 2  # the surface and the trials


def test_importances_find_the_parameter_that_matters_and_give_a_spread():
    study = usual_study(24)
    for evaluator in (FANOVA, PED_ANOVA):
        rows = importances(study, evaluator, resamples=5, seed=1)
        assert rows[0].name == "lr"
        assert sum(row.value for row in rows) == pytest.approx(1.0)
        assert sum(row.mean for row in rows) == pytest.approx(1.0)
        assert all(0 <= row.low <= row.high <= 1 for row in rows) and rows[0].low < rows[0].high
        assert ("gamma" in {row.name for row in rows}) == (evaluator == PED_ANOVA)
        assert rows == importances(study, evaluator, resamples=5, seed=1)
    panels = figures.importances_figure(study, {FANOVA: rows, PED_ANOVA: rows}).axes
    assert [panel.get_title(loc="left") for panel in panels] == [FANOVA, PED_ANOVA]
    assert list(panels[0].lines[0].get_xdata()) == [row.mean for row in rows]


def test_whether_importances_are_settled_depends_on_the_intervals():
    first, near, far = Importance("a", 0.6, 0.6, 0.5, 0.7), Importance("b", 0.4, 0.4, 0.3, 0.55), None
    far = Importance("b", 0.2, 0.2, 0.1, 0.3)
    assert "not settled" in settled([first, near])
    assert "told apart" in settled([first, far])
    assert "only parameter" in settled([first])


def test_error_by_split_shows_means_spreads_and_baselines():
    axes = figures.error_by_split_figure(final_record()).axes[0]
    assert list(line(axes, "linear baseline").get_xdata()) == [30.0, 40.0, 50.0]
    assert list(line(axes, "median baseline").get_xdata()) == [60.0, 80.0, 95.0]
    container = axes.containers[0]
    assert list(container[0].get_xdata()) == pytest.approx([12.0, 41.0, 91.0])
    ends = np.array([segment[:, 0] for segment in container[2][0].get_segments()])
    assert ends[:, 1] - ends[:, 0] == pytest.approx([4.0, 4.0, 2.0])
    assert "3 seeds" in container.get_label()
    assert axes.get_xlabel() == "energy MAE (meV/atom)"


def test_parity_titles_tell_the_error_and_the_baseline():
    reference = np.array([1.0, 2.0, 3.0])
    panels = {"val": {"reference": reference, "predicted": reference + 0.01, "linear": reference - 0.05}}
    axes = figures.parity_figure(panels).axes[0]
    assert axes.get_title(loc="left") == "val\nMAE 10.0 meV/atom\n(linear baseline 50.0)"
    points = axes.collections[0].get_offsets()
    assert np.allclose(points, [(50.0, 60.0)] * 3)  # meV/atom above the baseline
    whole = figures.parity_figure(panels, subtract_linear=False)
    assert np.allclose(whole.axes[0].collections[0].get_offsets()[:, 1], reference + 0.01)


def test_learning_curves_have_a_panel_and_a_unit_each():
    left, right = figures.learning_curves_figure(final_record()).axes
    assert list(left.lines[0].get_ydata()) == [1.0, 0.5, pytest.approx(1 / 3)]
    assert list(right.lines[0].get_ydata()) == [40.0, 20.0, pytest.approx(40 / 3)]
    assert "sd" in left.get_ylabel() and right.get_ylabel() == "energy MAE on val (meV/atom)"
    assert "linear baseline (30)" in labels(right)


def test_errors_by_training_size_keep_their_spread():
    curve = {"size": [10, 100], "mean": [50.0, 20.0], "std": [5.0, math.nan], "n_seeds": [3, 1]}
    axes = figures.training_size_figure({"model": curve}, ylabel="energy MAE (meV/atom)").axes[0]
    bars = [segment[:, 1] for segment in axes.containers[0][2][0].get_segments()]
    assert [list(ends) for ends in bars] == [[45.0, 55.0], [20.0, 20.0]]
    assert axes.get_xscale() == axes.get_yscale() == "log"
    assert axes.get_xlabel() == "training frames" and axes.get_ylabel() == "energy MAE (meV/atom)"


def test_drawing_leaves_no_trace_in_matplotlib():
    before = dict(matplotlib.rcParams)
    figure = figures.history_figure(usual_study(4))
    assert dict(matplotlib.rcParams) == before
    assert figure._repr_png_() == figures.png_bytes(figure)
    from matplotlib import pyplot
    from PIL import Image

    assert not pyplot.get_fignums()
    picture = Image.open(io.BytesIO(figures.png_bytes(figure))).convert("RGBA")
    assert picture.getpixel((0, 0)) == (255, 255, 255, 255)
    assert figure.get_figwidth() <= 7.0


def test_interactive_figures_have_units_and_the_same_numbers():
    study = usual_study()
    found = figures.plotly_study_figures(study, {FANOVA: importances(study, FANOVA, resamples=2)})
    assert list(found) == [
        "history",
        "intermediate",
        "parallel",
        "slice",
        "contour",
        "importances",
        "timeline",
    ]
    history = found["history"]
    assert history.layout.yaxis.title.text == "validation energy MAE (meV/atom)"
    values = [t.value for t in study.trials if t.state == TrialState.COMPLETE]
    assert list(history.data[0].y) == pytest.approx(values)
    best = dict(zip(history.data[1].x, history.data[1].y))
    assert [best[k] for k in range(10)] == pytest.approx(list(np.minimum.accumulate(values)))
    intermediate = found["intermediate"]
    assert intermediate.layout.xaxis.title.text == "epoch"
    assert {"trial 10 (pruned)", "trial 11 (pruned)"} <= {trace.name for trace in intermediate.data}
    assert found["contour"].data[0].colorbar.title.text == "validation energy MAE (meV/atom)"
    assert "log" in {found["contour"].layout.xaxis.type, found["contour"].layout.yaxis.type}
    lines = [trace for trace in found["parallel"].data if trace.mode == "lines"]
    assert lines[int(np.argmin(values))].line.color == "rgb(213, 94, 0)"  # vermilion: the best
    text = "".join(figure.to_json() for figure in found.values())
    assert "mev_per_atom" not in text and "Objective Value" not in text.replace('["Objective Value"', "")
