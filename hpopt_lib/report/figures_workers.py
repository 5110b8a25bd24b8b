"""The figure of how workers shared a study: who ran what when, and what was cut short."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from matplotlib.lines import Line2D
from matplotlib.patches import Patch

from hpopt_lib.report.figures_study import state_name
from hpopt_lib.report.style import BLACK, LIGHT_GREY, STATE_COLORS, new_figure, styled
from hpopt_lib.report.worker_times import (
    parallel_efficiency,
    trial_spans,
    trials_by_worker,
    worker_places,
)

if TYPE_CHECKING:
    import optuna
    from matplotlib.figure import Figure
    from optuna.trial import FrozenTrial

__all__ = ["parallel_efficiency", "timeline"]

#: Up to so many bars carry the number of their trial, where it fits.
MAX_NUMBERED = 80


def _label(workers: list[Any], row: list[FrozenTrial], *, hosts: bool) -> str:
    job = next((trial.user_attrs["job_id"] for trial in row if trial.user_attrs.get("job_id")), "")
    if len(workers) > 1:
        parts = [f"job {job}, {len(workers)} starts"]
    else:
        parts = ["no worker noted" if workers == [-1] else f"worker {workers[0]}"] + [f"job {job}"] * bool(
            job
        )
    if hosts:
        parts.append(", ".join(dict.fromkeys(t.user_attrs["host"] for t in row if t.user_attrs.get("host"))))
    return ", ".join(filter(None, parts))


@styled
def timeline(study: optuna.Study, *, outages: Sequence[tuple[float, float]] = ()) -> Figure:
    """Which worker ran which trial when, coloured by how it ended.

    Parameters
    ----------
    study : optuna.Study
    outages : sequence of (float, float)
        Intervals in which the database did not answer, in seconds since the first trial began.

    Returns
    -------
    matplotlib.figure.Figure
        A row for each worker, or for each batch job that was started several times; hosts stand there when
        the study has several. A cross marks the trial of a killed worker at the moment when another one
        noticed, and an arrow leads from a trial that was cut short to the one that continues it.

    Raises
    ------
    NotDrawableError
        When no trial has started.
    """
    spans = trial_spans(study)
    rows = worker_places(trials_by_worker(study, spans), spans)
    trials = {trial.number: trial for _, row in rows for trial in row}
    place = {trial.number: y for y, (_, row) in enumerate(rows) for trial in row}
    total = max(end for _, end in spans.values()) or 1e-9
    unit, factor = ("s", 1.0) if total <= 180 else ("min", 60.0) if total <= 10800 else ("h", 3600.0)
    figure = new_figure(min(8.0, 1.2 + 0.3 * len(rows)))
    axes = figure.subplots()
    for start, end in outages:
        axes.axvspan(start / factor, end / factor, color=LIGHT_GREY, alpha=0.6, linewidth=0)
    numbered = len(trials) <= MAX_NUMBERED
    for number, trial in trials.items():
        start, end = spans[number]
        width = max(end - start, 2e-3 * total)
        style: dict[str, Any] = {
            "color": STATE_COLORS[trial.state.name],
            "edgecolor": "white",
            "linewidth": 0.4,
        }
        axes.barh(place[number], width / factor, left=start / factor, height=0.66, **style)
        if numbered and width > 0.011 * total * len(str(number)):
            middle = (start + width / 2) / factor
            axes.text(middle, place[number], str(number), color="white", fontsize=6, ha="center", va="center")
        if trial.user_attrs.get("cause") == "lost":
            axes.plot(end / factor, place[number], "x", color=BLACK, markersize=6, markeredgewidth=1.6)
        earlier = trial.user_attrs.get("resumed_from")
        if earlier in spans:
            axes.annotate(
                "",
                xy=(start / factor, place[number]),
                xytext=(spans[earlier][1] / factor, place[earlier]),
                arrowprops={
                    "arrowstyle": "-|>",
                    "color": BLACK,
                    "linewidth": 0.9,
                    "shrinkA": 0,
                    "shrinkB": 0,
                },
            )
    hosts = len({t.user_attrs.get("host") for t in trials.values()} - {None, ""}) > 1
    axes.set_yticks(range(len(rows)), [_label(numbers, row, hosts=hosts) for numbers, row in rows])
    axes.set_ylim(len(rows) - 0.5, -0.5)
    axes.grid(axis="y", visible=False)
    axes.set_xlim(-0.01 * total / factor, 1.01 * total / factor)
    axes.set_xlabel(
        f"time since the first trial began ({unit})" + "; numbers of trials on the bars" * numbered
    )
    axes.legend(
        handles=_legend(trials, outages),
        loc="lower left",
        bbox_to_anchor=(0.0, 1.0),
        ncols=4,
        borderaxespad=0.2,
        columnspacing=1.2,
    )
    return figure


def _legend(trials: dict[int, FrozenTrial], outages: Sequence[tuple[float, float]]) -> list[Any]:
    states = {trial.state.name for trial in trials.values()}
    handles: list[Any] = [
        Patch(color=color, label="cut short or failed" if state == "FAIL" else state_name(state))
        for state, color in STATE_COLORS.items()
        if state in states
    ]
    if any(t.user_attrs.get("cause") == "lost" for t in trials.values()):
        cross = {"marker": "x", "color": BLACK, "linewidth": 0, "markeredgewidth": 1.6}
        handles.append(Line2D([], [], label="worker killed, noticed here", **cross))  # type: ignore[arg-type]
    if any(t.user_attrs.get("resumed_from") in trials for t in trials.values()):
        handles.append(
            Line2D([], [], color=BLACK, linewidth=0.9, marker=">", markersize=4, label="goes on as")
        )
    if outages:
        handles.append(Patch(color=LIGHT_GREY, alpha=0.6, label="no database"))
    return handles
