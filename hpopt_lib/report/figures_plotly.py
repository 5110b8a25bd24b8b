"""Interactive figures of a study, drawn by Optuna with Plotly and labelled with units."""

from __future__ import annotations

import math
import warnings
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from hpopt_lib.report.figures_contour import pair_to_show
from hpopt_lib.report.figures_study import state_name
from hpopt_lib.report.importances import EVALUATORS, FANOVA, Importance, importances
from hpopt_lib.report.study_data import (
    NotDrawableError,
    best_trial,
    label,
    need_completed,
    objective_view,
    parameter_names,
)
from hpopt_lib.report.style import BLUE, ORANGE, SKY, STATE_COLORS, VERMILION

if TYPE_CHECKING:
    import optuna
    from plotly.graph_objects import Figure

#: Height in pixels of figures whose size does not depend on the study.
_HEIGHT = 420
_SLICE_COLUMNS = 4
_GOOD_TO_BAD = [VERMILION, ORANGE, SKY]


def plotly_study_figures(
    study: optuna.Study, importance_rows: dict[str, list[Importance]] | None = None
) -> dict[str, Figure]:
    """Interactive figures of a study.

    Parameters
    ----------
    study : optuna.Study
    importance_rows : dict, optional
        Evaluator to `hpopt_lib.report.importances.importances`, when computed already.

    Returns
    -------
    dict of plotly.graph_objects.Figure
        Those of ``history``, ``intermediate``, ``parallel``, ``slice``, ``contour``,
        ``importances`` and ``timeline`` that the study's trials can give.
    """
    view = objective_view(study)
    makers: dict[str, Callable[[], Figure]] = {
        "history": lambda: _history(study),
        "intermediate": lambda: _intermediate(study),
        "parallel": lambda: _parallel(study),
        "slice": lambda: _slice(study),
        "contour": lambda: _contour(study),
        "importances": lambda: _importances(study, importance_rows),
        "timeline": lambda: _timeline(study),
    }
    figures: dict[str, Figure] = {}
    for name, make in makers.items():
        with warnings.catch_warnings():
            # Optuna marks some of its plots experimental; they are looked at in the tests
            import optuna

            warnings.simplefilter("ignore", optuna.exceptions.ExperimentalWarning)
            try:
                figure = make()
            except NotDrawableError:
                continue  # the static figure's place says why
        figure.update_layout(title=None, template="plotly_white", margin={"l": 60, "r": 20, "t": 40, "b": 60})
        figure.update_layout(paper_bgcolor="rgba(0,0,0,0)", plot_bgcolor="rgba(0,0,0,0)", font={"size": 12})
        if not figure.layout.height:
            figure.update_layout(height=_HEIGHT)
        _name_objective(figure, study, view.label)
        figures[name] = figure
    return figures


def _name_objective(figure: Figure, study: optuna.Study, text: str) -> None:
    """Put name and unit in the place of the bare metric name that Optuna writes."""
    written = {"Objective Value", *(study.metric_names or [])}
    for axis in [*figure.select_xaxes(), *figure.select_yaxes()]:
        if axis.title.text in written:
            axis.title.text = text
        elif axis.title.text:
            axis.title.text = label(axis.title.text)
    for trace in figure.data:
        if trace.name in written:
            trace.name = text
        for bar in (
            getattr(trace, "colorbar", None),
            getattr(getattr(trace, "marker", None), "colorbar", None),
        ):
            if bar is not None and bar.title.text in written:
                bar.title.text = text
                bar.title.side = "right"


def _history(study: optuna.Study) -> Figure:
    from optuna.visualization import plot_optimization_history

    need_completed(study, "The history")
    figure = plot_optimization_history(study)
    figure.update_traces(marker={"color": BLUE, "size": 7}, selector={"mode": "markers"})
    figure.update_traces(line={"color": VERMILION, "width": 2, "shape": "hv"}, selector={"mode": "lines"})
    figure.update_xaxes(title_text="trial")
    figure.update_layout(legend={"orientation": "h", "y": 1.08})
    return figure


def _intermediate(study: optuna.Study) -> Figure:
    from optuna.visualization import plot_intermediate_values

    view = objective_view(study)
    shown = {t.number: t for t in study.get_trials(deepcopy=False) if t.intermediate_values}
    if not shown:
        raise NotDrawableError("No trial reported intermediate values")
    done = [t for t in shown.values() if t.state.name == "COMPLETE"]
    best = best_trial(need_completed(study, "A best trial"), view).number if done else None
    figure = plot_intermediate_values(study)
    for trace in figure.data:
        number = int(str(trace.name).removeprefix("Trial"))
        pruned = shown[number].state.name == "PRUNED"
        color = VERMILION if number == best else ORANGE if pruned else BLUE
        trace.update(mode="lines", line={"color": color, "width": 3 if number == best else 1.2}, opacity=0.8)
        trace.update(name=f"trial {number}{' (pruned)' if pruned else ' (best)' if number == best else ''}")
    figure.update_xaxes(title_text=view.step_name)
    figure.update_yaxes(title_text=view.label)
    figure.update_layout(showlegend=False, hovermode="closest")
    return figure


def _parallel(study: optuna.Study) -> Figure:
    from optuna.visualization import plot_parallel_coordinate
    from plotly.colors import sample_colorscale

    trials, view = need_completed(study, "A parallel coordinates plot"), objective_view(study)
    figure = plot_parallel_coordinate(study, target_name=view.label)
    figure.update_xaxes(tickangle=-30)
    figure.update_layout(height=480, width=None)
    # Optuna's dark blue for the best trials would vanish on a dark page
    values = [float(t.value) for t in trials if t.value is not None]
    low, high = min(values), max(values)
    scale = _GOOD_TO_BAD if view.sign > 0 else _GOOD_TO_BAD[::-1]
    shares = [(value - low) / (high - low) if high > low else 0.0 for value in values]
    lines = [trace for trace in figure.data if trace.mode == "lines" and trace.showlegend is False]
    for trace, color in zip(lines, sample_colorscale(scale, shares)):
        trace.line.color = color
    for trace in figure.select_traces({"mode": "markers"}):  # the one that carries the colour bar
        trace.marker.update(colorscale=scale, reversescale=False)
        trace.marker.colorbar.update(thickness=12, title_side="right")
    return figure


def _slice(study: optuna.Study) -> Figure:
    from optuna.visualization import plot_slice

    need_completed(study, "A slice plot")
    if not parameter_names(study):
        raise NotDrawableError("No trial has drawn a parameter")
    figure = plot_slice(study)
    # Optuna puts all panels in one row, too narrow to read: tile them
    panels = max(len(list(figure.select_xaxes())), 1)
    columns = min(_SLICE_COLUMNS, panels)
    rows = math.ceil(panels / columns)
    for k, (x, y) in enumerate(zip(figure.select_xaxes(), figure.select_yaxes())):
        row, column = divmod(k, columns)
        left, top = column / columns, 1.0 - row / rows
        x.update(domain=[left, left + 0.86 / columns], title_standoff=4)
        if x.type == "log":
            x.update(dtick=1, tickformat="~g")  # labels between the decades would overlap
        y.update(domain=[top - 0.62 / rows, top], showticklabels=column == 0)
        if column == 0:
            y.update(title_text="", tickformat="~g")
    # from blue to red: both ends are seen on white and on black
    order = {"colorscale": [[0, SKY], [1, VERMILION]], "showscale": False, "line": {"width": 0}, "size": 7}
    figure.update_traces(marker=order)
    figure.add_annotation(
        text=objective_view(study).label, textangle=-90, x=0, xshift=-52, y=0.5, xref="paper", yref="paper",
        showarrow=False,
    )  # fmt: skip
    figure.update_layout(width=None, height=90 + 170 * rows)
    return figure


def _contour(study: optuna.Study) -> Figure:
    from optuna.visualization import plot_contour

    pair = pair_to_show(study)
    figure = plot_contour(study, params=[axis.name for axis in pair])
    figure.update_traces(colorscale="Viridis", reversescale=False, selector={"type": "contour"})
    return figure


def _importances(study: optuna.Study, rows: dict[str, list[Importance]] | None) -> Figure:
    import plotly.graph_objects as go

    rows = rows or {name: importances(study, name) for name in EVALUATORS}
    figure = go.Figure()
    for name, found in rows.items():
        found = sorted(found, key=lambda row: row.mean)
        figure.add_bar(
            x=[row.mean for row in found],
            y=[row.name for row in found],
            error_x={
                "type": "data",
                "array": [max(row.high - row.mean, 0.0) for row in found],
                "arrayminus": [max(row.mean - row.low, 0.0) for row in found],
            },
            orientation="h",
            name=name,
            marker_color=BLUE if name == FANOVA else ORANGE,
        )
    figure.update_yaxes(automargin=True)
    figure.update_xaxes(title_text="share of importance (mean of resamples, 10 to 90 %)")
    figure.update_layout(barmode="group", height=max(_HEIGHT, 120 + 34 * len(parameter_names(study))))
    figure.update_layout(legend={"orientation": "h", "y": 1.06})
    return figure


def _timeline(study: optuna.Study) -> Figure:
    from optuna.visualization import plot_timeline

    if not any(t.datetime_start for t in study.get_trials(deepcopy=False)):
        raise NotDrawableError("No trial has started")
    figure = plot_timeline(study)
    for trace in figure.data:
        trace.update(marker_color=STATE_COLORS.get(trace.name, BLUE), name=state_name(trace.name))
    figure.update_layout(legend={"orientation": "h", "y": 1.1})
    figure.update_xaxes(title_text="time (as stored with the study)")
    figure.update_yaxes(title_text="trial")
    return figure


def to_json(figure: Figure) -> dict[str, Any]:
    """Data and layout of a figure as plain values for JSON."""
    import json

    content = json.loads(figure.to_json())
    # the default template is large and says what plotly.js does anyway
    content["layout"].pop("template", None)
    return {"data": content["data"], "layout": content["layout"]}
