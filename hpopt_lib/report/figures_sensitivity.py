"""Figures of what matters: shares with intervals, interaction plots, races of search spaces."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
from matplotlib.figure import Figure

from hpopt_lib.experiments.agreement import bootstrap_interval
from hpopt_lib.report.figures_teaching import LINES, MARKERS, canvas
from hpopt_lib.report.sensitivity_verdicts import interval
from hpopt_lib.report.style import BLACK, BLUE, GREY, PALETTE, legend_above, plain_numbers, styled


@styled
def plot_shares(panels: Mapping[str, Mapping[str, np.ndarray]], *, xlabel: str) -> Figure:
    """Shares of variance, largest first, with 95 % intervals over resamples; a panel for each kind.

    Parameters
    ----------
    panels : mapping of str to mapping of str to numpy.ndarray
        By title and name: one value for each resample.
    xlabel : str
    """
    longest = max(len(found) for found in panels.values())
    figure, axes = canvas(1, len(panels), height=1.0 + 0.2 * longest, squeeze=False, sharex=True)
    for axis, (title, shares) in zip(axes[0], panels.items()):
        names = sorted(shares, key=lambda name: -float(shares[name].mean()))
        y = np.arange(len(names))
        ends = np.array([interval(shares[name]) for name in names])
        axis.hlines(y, ends[:, 0], ends[:, 1], color=BLUE, linewidth=4, alpha=0.45)
        axis.plot([shares[name].mean() for name in names], y, "o", color=BLUE)
        axis.axvline(0, color=GREY, linewidth=0.8)
        axis.set_yticks(y, names)
        axis.set_ylim(longest - 0.5, -0.5)
        axis.set(title=title, xlabel=xlabel)
    return figure


@styled
def plot_interactions(
    panels: Sequence[tuple[str, str, Sequence[str], Mapping[str, Sequence[np.ndarray]]]], *, ylabel: str
) -> Figure:
    """Means over the ranges of one hyperparameter, a line for each range of another.

    Parallel lines: the effects add up. Crossing or fanning lines: they interact.

    Parameters
    ----------
    panels : sequence of (str, str, sequence of str, mapping)
        Name along the axis, name of the lines, labels along the axis, and for each line the
        logarithms of the errors of the points at each label (empty where there are none).
    ylabel : str
    """
    figure, axes = canvas(1, len(panels), height=3.3, squeeze=False, sharey=True)
    for axis, (across, lines, labels, found) in zip(axes[0], panels):
        x = np.arange(len(labels))
        for k, (label, cells) in enumerate(found.items()):
            filled = [i for i, cell in enumerate(cells) if len(cell) > 2]
            means = np.exp([float(np.mean(cells[i])) for i in filled])
            ends = np.exp([bootstrap_interval(cells[i]) for i in filled])
            shift = 0.06 * (k - (len(found) - 1) / 2)
            axis.errorbar(
                x[filled] + shift, means, yerr=np.abs(ends.T - means), color=PALETTE[k], marker=MARKERS[k],
                linestyle=LINES[k], capsize=2, linewidth=1, label=label,
            )  # fmt: skip
        axis.set_xticks(x, labels, rotation=25 if len("".join(labels)) > 24 else 0, fontsize=7)
        axis.set(xlabel=across, yscale="log")
        plain_numbers(axis.yaxis)
        axis.legend(title=lines, fontsize="x-small", title_fontsize="x-small")
    axes[0, 0].set_ylabel(ylabel)
    return figure


@styled
def plot_spaces(
    panels: Mapping[str, tuple[Sequence[float], Mapping[str, np.ndarray]]],
    *,
    ylabel: str,
    baselines: Mapping[str, float],
) -> Figure:
    """Error of what searches of several spaces found, with 95 % intervals, a panel for each budget.

    Parameters
    ----------
    panels : mapping of str to (budgets, lines)
        By label of the budget; each line of shape (n_resamples, n_budgets).
    ylabel : str
    baselines : mapping of str to float
        Horizontal lines.
    """
    figure, axes = canvas(1, len(panels), height=3.4, squeeze=False, sharey=True)
    for axis, (xlabel, (budgets, lines)) in zip(axes[0], panels.items()):
        for k, (name, rows) in enumerate(lines.items()):
            ends = np.array([interval(column) for column in rows.T])
            axis.plot(
                budgets,
                rows.mean(axis=0),
                color=PALETTE[k],
                marker=MARKERS[k],
                linestyle=LINES[k],
                label=name,
            )
            axis.fill_between(budgets, ends[:, 0], ends[:, 1], color=PALETTE[k], alpha=0.15, linewidth=0)
        for k, (name, value) in enumerate(baselines.items()):
            axis.axhline(value, color=BLACK, linestyle=("--", ":")[k % 2], linewidth=1, label=name)
        axis.set(xlabel=xlabel, xscale="log")
        axis.set_xticks(list(budgets), [f"{b:g}" for b in budgets])
        axis.minorticks_off()
    axes[0, 0].set_ylabel(ylabel)
    legend_above(axes[0, 0], columns=3)
    return figure
