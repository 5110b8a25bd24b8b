"""Figures of each hyperparameter by itself and of all together: parallel coordinates, slices, importances."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from hpopt_lib.report.figures_axes import (
    beyond,
    color_norm,
    colormap,
    focus,
    objective_values,
    searched_axes,
    set_scale,
    short_number,
)
from hpopt_lib.report.importances import EVALUATORS, Importance, importances
from hpopt_lib.report.study_data import best_trial, need_completed, objective_view
from hpopt_lib.report.style import (
    BLACK,
    BLUE,
    GREY,
    ORANGE,
    VERMILION,
    legend_above,
    new_figure,
    styled,
)

if TYPE_CHECKING:
    import optuna
    from matplotlib.figure import Figure


@styled
def parallel_figure(study: optuna.Study, names: Sequence[str] | None = None) -> Figure:
    """Every completed trial as a line through all its hyperparameters, one row for each.

    Parameters
    ----------
    study : optuna.Study
    names : sequence of str, optional
        Parameters to show; all by default.

    Returns
    -------
    matplotlib.figure.Figure
        Dark lines are good trials, the best one is red; a line has a gap where a conditional
        parameter was not drawn. Rows run over the search range, logarithmic where drawn so.

    Raises
    ------
    NotDrawableError
        When no trial is complete.
    """
    from matplotlib.cm import ScalarMappable

    view = objective_view(study)
    trials = need_completed(study, "A parallel coordinates plot")
    rows = searched_axes(study, names)
    values = objective_values(trials)
    colors = ScalarMappable(color_norm(values, view), colormap(view))
    best = best_trial(trials, view)
    figure = new_figure(0.9 + 0.46 * len(rows))
    axes = figure.subplots()
    y = np.arange(len(rows))
    faint = max(0.25, min(0.7, 20.0 / len(trials)))
    for place, row in enumerate(rows):
        axes.plot([0, 1], [place, place], color="#BBBBBB", linewidth=0.8, zorder=0)
        ends = {short_number(end): end for end in (row.low, row.high)}
        for text, value in (dict(zip(row.choices, row.choices)) or ends).items():
            x = row.fraction(value)
            axes.plot(x, place, "|", color=GREY, markersize=6, zorder=0)
            side = "left" if x == 0 else "right" if x == 1 else "center"
            style: dict[str, Any] = {"ha": side, "fontsize": 6.5, "color": "#444444", "zorder": 5}
            style["bbox"] = {"facecolor": "white", "edgecolor": "none", "pad": 0.4, "alpha": 0.8}
            axes.annotate(text, (x, place), (0, 5), textcoords="offset points", **style)
    for trial, value in sorted(zip(trials, values), key=lambda pair: -view.sign * pair[1]):
        line = [
            row.fraction(trial.params[row.name]) if row.name in trial.params else math.nan for row in rows
        ]
        if trial.number == best.number:
            label = f"best: trial {best.number}"
            axes.plot(line, y, ".-", color=VERMILION, linewidth=2.0, zorder=3, label=label)
        else:
            axes.plot(line, y, ".-", color=colors.to_rgba(value), linewidth=0.9, markersize=3, alpha=faint)
    axes.set_yticks(y, [f"{row.label}, log" if row.log else row.label for row in rows])
    axes.set_ylim(len(rows) - 0.6, -0.75)
    axes.set_xticks([])
    axes.set_xlim(-0.02, 1.02)
    axes.spines[["left", "bottom"]].set_visible(False)
    axes.tick_params(length=0)
    axes.grid(False)
    figure.colorbar(colors, ax=axes, label=view.label, extend=beyond(view), pad=0.02)
    legend_above(axes)
    return figure


@styled
def slice_figure(study: optuna.Study, names: Sequence[str] | None = None) -> Figure:
    """Objective of the completed trials against each parameter alone.

    Parameters
    ----------
    study : optuna.Study
    names : sequence of str, optional
        Parameters to show; all by default.

    Returns
    -------
    matplotlib.figure.Figure
        Panels over the search range; the later a trial, the darker.

    Raises
    ------
    NotDrawableError
        When no trial is complete.
    """
    view = objective_view(study)
    trials = need_completed(study, "A slice plot")
    panels = searched_axes(study, names)
    columns = min(4, len(panels))
    rows = math.ceil(len(panels) / columns)
    figure = new_figure(max(2.7, 0.5 + 1.75 * rows), width=max(3.4, 1.75 * columns))
    grid = figure.subplots(rows, columns, squeeze=False, sharey=True)
    values, best = objective_values(trials), best_trial(trials, view)
    newest = max(t.number for t in trials) or 1
    for axes, axis in zip(grid.flat, panels):
        shown = [(t, v) for t, v in zip(trials, values) if axis.name in t.params]
        x = np.array([axis.position(t.params[axis.name]) for t, _ in shown])
        if axis.choices:
            # spread points of one choice by their order in the study, the same in every run
            x = x + 0.5 * (np.array([t.number / newest for t, _ in shown]) - 0.5)
        shades = [t.number for t, _ in shown]
        axes.scatter(x, [v for _, v in shown], c=shades, cmap="Blues", vmin=-0.5 * newest, vmax=newest, s=13)
        for place, (trial, value) in zip(x, shown):
            if trial.number == best.number:
                axes.plot(place, value, "*", color=VERMILION, markersize=9)
        set_scale(axes, axis, "x")
        if axis.choices:
            axes.tick_params(axis="x", labelsize=7, labelrotation=20 if len(axis.choices) > 2 else 0)
        else:
            axes.tick_params(axis="x", labelsize=7)
        axes.set_xlabel(axis.label)
    for axes in list(grid.flat)[len(panels) :]:
        axes.set_visible(False)
    focus(grid.flat[columns - 1], values, view)
    figure.supylabel(view.label, fontsize=9)
    return figure


@styled
def importances_figure(
    study: optuna.Study, rows: Mapping[str, Sequence[Importance]] | None = None, *, seed: int = 0
) -> Figure:
    """Importances by two evaluators, each with its spread.

    Parameters
    ----------
    study : optuna.Study
    rows : dict, optional
        Name of an evaluator to its `hpopt_lib.report.importances.importances`, when they were
        computed already.
    seed : int

    Returns
    -------
    matplotlib.figure.Figure
        Dot: mean over bootstrap resamples of the trials; bar: their 10th to 90th percentile;
        tick: Optuna's value, of all trials once.

    Raises
    ------
    NotDrawableError
        When the trials cannot tell (see `importances`).
    """
    rows = rows or {name: importances(study, name, seed=seed) for name in EVALUATORS}
    longest = max(len(found) for found in rows.values())
    figure = new_figure(1.1 + 0.24 * longest)
    grid = figure.subplots(1, len(rows), squeeze=False, sharex=True)
    label = "mean of resamples of the trials, and 10 to 90 % of them"
    right = 1.05 * max(max(r.high, r.value) for found in rows.values() for r in found)
    for axes, (name, found), color in zip(grid.flat, rows.items(), (BLUE, ORANGE)):
        y = np.arange(len(found))
        axes.hlines(y, [r.low for r in found], [r.high for r in found], color=color, linewidth=4, alpha=0.45)
        axes.plot(
            [r.mean for r in found],
            y,
            "o",
            color=color,
            label=label,
        )
        axes.plot([r.value for r in found], y, "|", color=BLACK, markersize=8, label="all trials once")
        axes.set_yticks(y, [r.name for r in found])
        axes.set_ylim(longest - 0.5, -0.5)
        axes.set_xlim(0.0, right)
        axes.set_xlabel("share of importance")
        axes.set_title(name)
    handles, labels = grid.flat[0].get_legend_handles_labels()
    figure.legend(handles, labels, loc="outside upper left", ncols=2)
    return figure
