"""Figures of how a study went: history, learning curves of its trials, timeline."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

import numpy as np
from matplotlib.lines import Line2D
from matplotlib.patches import Patch

from hpopt_lib.report.figures_axes import focus
from hpopt_lib.report.study_data import (
    NotDrawableError,
    best_so_far,
    best_trial,
    completed,
    objective_view,
    trials_in,
)
from hpopt_lib.report.style import (
    BLACK,
    BLUE,
    ORANGE,
    SKY,
    STATE_COLORS,
    VERMILION,
    legend_above,
    new_figure,
    styled,
)

if TYPE_CHECKING:
    import optuna
    from matplotlib.artist import Artist
    from matplotlib.figure import Figure
    from optuna.trial import FrozenTrial


def last_report(trial: FrozenTrial) -> float:
    """The last finite value a trial reported, NaN when there is none."""
    values = [v for _, v in sorted(trial.intermediate_values.items()) if math.isfinite(v)]
    return float(values[-1]) if values else float("nan")


def state_name(state: str) -> str:
    """What people call a trial's state."""
    return "failed" if state == "FAIL" else state.lower()


@styled
def history_figure(study: optuna.Study) -> Figure:
    """Objective by trial, with the best so far; pruned and failed trials are marked.

    Parameters
    ----------
    study : optuna.Study

    Returns
    -------
    matplotlib.figure.Figure
        Pruned trials stand at their last reported value, failed ones at the lower edge; a note
        counts those that lie far outside.

    Raises
    ------
    NotDrawableError
        When no trial has a value.
    """
    view = objective_view(study)
    done, pruned, failed = completed(study), trials_in(study, "PRUNED"), trials_in(study, "FAIL")
    stopped = [(t.number, last_report(t)) for t in pruned if not math.isnan(last_report(t))]
    values = [float(t.value) for t in done]  # type: ignore[arg-type]
    if not values and not stopped:
        raise NotDrawableError("The history needs a trial with a value, and the study has none")
    figure = new_figure(3.4)
    axes = figure.subplots()
    if values:
        numbers = [t.number for t in done]
        axes.plot(
            numbers, values, "o", color=SKY, markeredgecolor=BLUE, markeredgewidth=0.6, label="complete"
        )
        best = best_so_far(values, view.sign)
        edge = max(numbers[-1], *(t.number for t in [*pruned, *failed, done[-1]]))
        axes.step([*numbers, edge], [*best, best[-1]], where="post", color=BLACK, label="best so far")
        winner = best_trial(done, view).number
        axes.plot(winner, best[-1], "*", color=VERMILION, markersize=12, label=f"best: trial {winner}")
    if stopped:
        axes.plot(*zip(*stopped), "x", color=ORANGE, markeredgewidth=1.4, label="pruned (last report)")
    if failed:
        rug = axes.get_xaxis_transform()
        style: dict[str, Any] = {
            "color": VERMILION,
            "markersize": 9,
            "markeredgewidth": 1.6,
            "transform": rug,
        }
        axes.plot([t.number for t in failed], [0.02] * len(failed), "|", label="failed", **style)
    focus(axes, [*values, *(v for _, v in stopped)], view)
    _integer_axis(axes)
    axes.set_xlabel("trial")
    axes.set_ylabel(view.label)
    legend_above(axes, columns=5)
    return figure


@styled
def intermediate_figure(study: optuna.Study) -> Figure:
    """What every trial reported, step by step; pruned ones end with a cross.

    Returns
    -------
    matplotlib.figure.Figure
        For studies of hpopt: the validation error of every epoch.

    Raises
    ------
    NotDrawableError
        When no trial reported anything.
    """
    view = objective_view(study)
    trials = [t for t in study.get_trials(deepcopy=False) if not math.isnan(last_report(t))]
    if not trials:
        raise NotDrawableError("No trial reported intermediate values, so there are no curves to draw")
    done = completed(study)
    winner = best_trial(done, view).number if done else None
    figure = new_figure(3.6)
    axes = figure.subplots()
    everything: list[float] = []
    faint = max(0.15, min(0.55, 15.0 / len(trials)))
    labelled: set[str] = set()
    for trial in sorted(trials, key=lambda t: t.number == winner):
        steps, values = zip(*sorted(trial.intermediate_values.items()))
        everything += values
        state = trial.state.name
        name = "best" if trial.number == winner else state_name(state)
        color = VERMILION if name == "best" else BLUE if state == "COMPLETE" else STATE_COLORS[state]
        width, alpha = (2.0, 1.0) if name == "best" else (0.9, faint)
        shown = f"best: trial {winner}" if name == "best" else name
        style: dict[str, Any] = {
            "color": color,
            "linewidth": width,
            "alpha": alpha,
            "marker": "." if len(steps) == 1 else None,
        }
        axes.plot(steps, values, label="_" if name in labelled else shown, **style)
        if state in ("PRUNED", "FAIL"):
            axes.plot(steps[-1], values[-1], "x", color=color, markeredgewidth=1.4)
        labelled.add(name)
    focus(axes, everything, view, noun="report")
    _integer_axis(axes)
    axes.set_xlabel(view.step_name)
    axes.set_ylabel(view.label)
    legend_above(axes, columns=5)
    return figure


def _integer_axis(axes: Any) -> None:
    from matplotlib.ticker import MaxNLocator

    axes.xaxis.set_major_locator(MaxNLocator(integer=True, min_n_ticks=1))


@styled
def timeline_figure(study: optuna.Study) -> Figure:
    """When each trial ran, coloured by its state.

    Returns
    -------
    matplotlib.figure.Figure
        Time since the first start, in seconds, minutes or hours; a trial still running ends
        where the last event of the study was.

    Raises
    ------
    NotDrawableError
        When no trial has started.
    """
    from matplotlib.ticker import MaxNLocator

    trials = [t for t in study.get_trials(deepcopy=False) if t.datetime_start is not None]
    if not trials:
        raise NotDrawableError("The timeline needs a trial that started, and the study has none")
    begun = np.array([t.datetime_start.timestamp() for t in trials if t.datetime_start is not None])
    # a trial that still runs has no end
    stopped = np.array([t.datetime_complete.timestamp() if t.datetime_complete else np.nan for t in trials])
    last = float(np.nanmax([*begun, *stopped]))
    starts, ends = begun - begun.min(), np.nan_to_num(stopped, nan=last) - begun.min()
    total = max(float(ends.max()), 1e-9)
    unit, factor = ("s", 1.0) if total <= 180 else ("min", 60.0) if total <= 10800 else ("h", 3600.0)
    figure = new_figure(min(7.0, 1.4 + 0.14 * len(trials)))
    axes = figure.subplots()
    axes.barh(
        [t.number for t in trials],
        np.maximum(ends - starts, 1e-3 * total) / factor,
        left=starts / factor,
        height=0.8,
        color=[STATE_COLORS[t.state.name] for t in trials],
    )
    axes.yaxis.set_major_locator(MaxNLocator(integer=True, min_n_ticks=1))
    axes.invert_yaxis()
    axes.grid(axis="y", visible=False)
    axes.set_xlabel(f"time since the first trial began ({unit})")
    axes.set_ylabel("trial")
    handles: list[Artist] = [
        Patch(color=color, label=state_name(state))
        for state, color in STATE_COLORS.items()
        if any(t.state.name == state for t in trials)
    ]
    busy = (ends - starts).sum() / total
    handles.append(Line2D([], [], linewidth=0, label=f"on average {busy:.1f} at a time"))
    axes.legend(handles=handles, loc="lower left", bbox_to_anchor=(0.0, 1.0), ncols=6, borderaxespad=0.2)
    return figure
