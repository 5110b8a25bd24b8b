"""Figures of metrics that agree or disagree on the order of models."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
from matplotlib.figure import Figure

from hpopt_lib.report.figures_teaching import MARKERS, canvas
from hpopt_lib.report.style import GREY, PALETTE, legend_above, styled


@styled
def plot_rank_agreement(
    labels: Sequence[str],
    groups: Mapping[str, Sequence[tuple[float, float, float]]],
    *,
    xlabel: str,
    mark: tuple[str, float],
) -> Figure:
    """Rank correlations with intervals, a row for each metric and a colour for each split.

    Parameters
    ----------
    labels : sequence of str
        Of the metrics.
    groups : mapping of str to sequence of (tau, low, high)
        By split, one for each metric.
    xlabel : str
    mark : (str, float)
        Name and place of a vertical line.
    """
    figure, axis = canvas(height=0.6 + 0.32 * len(labels))
    rows = np.arange(len(labels))[::-1]
    for k, (name, found) in enumerate(groups.items()):
        tau, low, high = np.array(found).T
        offset = 0.15 * ((len(groups) - 1) / 2 - k)
        axis.errorbar(
            tau, rows + offset, xerr=np.abs([tau - low, high - tau]), fmt=MARKERS[k], color=PALETTE[k],
            capsize=2, linewidth=1, label=name,
        )  # fmt: skip
    axis.axvline(mark[1], color=GREY, linestyle="--", linewidth=1, label=mark[0])
    axis.set_yticks(rows, labels)
    axis.set(xlabel=xlabel)
    legend_above(axis, columns=3)
    return figure


@styled
def plot_two_metrics(
    points: Mapping[str, tuple[np.ndarray, np.ndarray]],
    swap: tuple[int, int],
    *,
    xlabel: str,
    ylabel: str,
) -> Figure:
    """Models by two metrics, in groups, with one pair that the two rank in opposite order.

    Parameters
    ----------
    points : mapping of str to (x, y)
        Means over seeds of the models of each group.
    swap : (int, int)
        Places of the pair among all models in the order of the groups.
    xlabel, ylabel : str
    """
    figure, axis = canvas(width=5.4, height=3.6)
    for k, (name, (x, y)) in enumerate(points.items()):
        axis.plot(x, y, MARKERS[k], color=PALETTE[k], label=name)
    every = np.concatenate([np.stack(pair, axis=1) for pair in points.values()])
    pair = every[list(swap)]
    axis.plot(pair[:, 0], pair[:, 1], "-", color=GREY, linewidth=1, label="they swap", zorder=0)
    axis.set(xlabel=xlabel, ylabel=ylabel)
    legend_above(axis, columns=4)
    return figure
