"""Figures of searches that select on one split or on several: optimism by trials, and fronts."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
from matplotlib.figure import Figure

from hpopt_lib.experiments.agreement import bootstrap_interval
from hpopt_lib.report.figures_teaching import LINES, MARKERS, canvas
from hpopt_lib.report.style import BLACK, GREY, LIGHT_GREY, PALETTE, legend_above, styled


@styled
def plot_by_size(
    panels: Mapping[str, Mapping[str, np.ndarray]], sizes: Sequence[int], *, xlabel: str, ylabel: str
) -> Figure:
    """Means with 95 % bootstrap intervals against a number of trials, a panel for each quantity.

    Parameters
    ----------
    panels : mapping of str to mapping of str to numpy.ndarray, shape (n_repetitions, n_sizes)
    sizes : sequence of int
    xlabel, ylabel : str
    """
    figure, axes = canvas(1, len(panels), height=3.3, squeeze=False)
    for axis, (title, lines) in zip(axes[0], panels.items()):
        for k, (name, rows) in enumerate(lines.items()):
            ends = np.array([bootstrap_interval(column) for column in rows.T])
            color = PALETTE[k]
            axis.plot(sizes, rows.mean(axis=0), LINES[k], marker=MARKERS[k], color=color, label=name)
            axis.fill_between(sizes, ends[:, 0], ends[:, 1], color=color, alpha=0.15, linewidth=0)
        low, high = axis.get_ylim()
        if low < 0 < high:
            axis.axhline(0, color=GREY, linewidth=0.8)
        axis.set(title=title, xlabel=xlabel, xscale="log")
        axis.set_xticks(sizes, [str(size) for size in sizes])
        axis.minorticks_off()
    axes[0, 0].set_ylabel(ylabel)
    axes[0, -1].legend(fontsize="x-small")
    return figure


@styled
def plot_front(
    values: np.ndarray,
    front: np.ndarray,
    *,
    labels: Sequence[str],
    marks: Mapping[str, int] | None = None,
) -> Figure:
    """Trials by two objectives, those of the front coloured by a third.

    Parameters
    ----------
    values : numpy.ndarray, shape (n_trials, 2 or 3)
        Objectives, smaller is better.
    front : numpy.ndarray of bool, shape (n_trials,)
    labels : sequence of str
        Name and unit of each objective.
    marks : mapping of str to int, optional
        Trials to point out, by name.
    """
    figure, axis = canvas(width=5.8, height=3.8)
    axis.scatter(*values[~front, :2].T, s=14, color=LIGHT_GREY, label="dominated")
    third = {"c": values[front, 2], "cmap": "viridis"} if values.shape[1] > 2 else {"color": PALETTE[0]}
    points = axis.scatter(
        *values[front, :2].T, s=34, edgecolors=BLACK, linewidths=0.6, label="front", **third
    )
    for k, (name, row) in enumerate((marks or {}).items()):
        axis.plot(
            *values[row, :2], MARKERS[k + 1], color="none", markeredgecolor=PALETTE[k + 1],
            markersize=11, markeredgewidth=1.6, label=name,
        )  # fmt: skip
    # a few very bad trials would hide the front
    for number, set_limit in enumerate((axis.set_xlim, axis.set_ylim)):
        low, high = values[front, number].min(), values[front, number].max()
        middle = float(np.median(values[:, number]))
        top = max(high, middle) + 0.1 * (max(high, middle) - low) + 1e-9
        set_limit(low - 0.08 * (top - low), top)
    if values.shape[1] > 2:
        figure.colorbar(points, ax=axis, label=labels[2])
    axis.set(xlabel=labels[0], ylabel=labels[1])
    legend_above(axis, columns=2)
    return figure
