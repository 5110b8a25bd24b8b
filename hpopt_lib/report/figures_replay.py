"""Figures of replayed studies: what pruning saves and loses, ranks by epoch, races of samplers."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from matplotlib.figure import Figure

from hpopt_lib.experiments.agreement import bootstrap_interval
from hpopt_lib.report.figures_teaching import LINES, MARKERS, canvas
from hpopt_lib.report.style import BLACK, GREY, PALETTE, legend_above, styled


@styled
def plot_regret_and_saving(
    families: Mapping[str, Mapping[Any, tuple[Sequence[float], Sequence[float]]]],
    *,
    tolerated: float,
    unit: str,
    saved: str = "seconds",
) -> Figure:
    """Mean regret against the share of time saved, a line for each rule along its settings.

    Parameters
    ----------
    families : mapping of str to mapping of (regrets, savings)
        By rule and setting (a pruner and its warm-up in epochs); one value for each order.
    tolerated : float
        Regret of a dashed line.
    unit : str
        Of the regret.
    saved : str
        What is saved.
    """
    figure, axis = canvas(height=3.8)
    for k, (name, settings) in enumerate(families.items()):
        x = np.array([100 * np.mean(savings) for _, savings in settings.values()])
        y = np.array([np.mean(regret) for regret, _ in settings.values()])
        ends = np.array([bootstrap_interval(regret) for regret, _ in settings.values()])
        axis.errorbar(
            x, y, yerr=np.abs(ends.T - y), color=PALETTE[k], marker=MARKERS[k], linestyle=LINES[k],
            capsize=2, linewidth=1, label=name,
        )  # fmt: skip
        for setting, at_x, at_y in zip(settings, x, y):
            axis.annotate(
                str(setting), (at_x, at_y), xytext=(4, 4), textcoords="offset points",
                fontsize=7, color=PALETTE[k],
            )  # fmt: skip
    axis.axhline(tolerated, color=BLACK, linestyle="--", linewidth=1, label="tolerated")
    axis.set(xlabel=f"{saved} saved (%)", ylabel=f"mean regret ({unit})")
    legend_above(axis)
    return figure


@styled
def plot_by_epoch(
    lines: Mapping[str, np.ndarray], *, ylabel: str, marks: Mapping[str, int] | None = None
) -> Figure:
    """Quantities after each epoch (from 1), with vertical lines at some epochs."""
    figure, axis = canvas(width=5.8, height=3.2)
    for k, (name, values) in enumerate(lines.items()):
        axis.plot(np.arange(1, len(values) + 1), values, LINES[k], color=PALETTE[k], label=name)
    for name, epoch in (marks or {}).items():
        axis.axvline(epoch, color=GREY, linestyle=":", linewidth=1)
        axis.text(epoch, 0.02, f" {name}", color=GREY, fontsize=7, transform=axis.get_xaxis_transform())
    axis.axhline(0, color=GREY, linewidth=0.8)
    axis.set(xlabel="epoch", ylabel=ylabel)
    legend_above(axis, columns=2)
    return figure


@styled
def plot_races(
    panels: Mapping[str, tuple[np.ndarray, Mapping[str, np.ndarray]]], *, xlabels: Sequence[str], ylabel: str
) -> Figure:
    """Best so far of several samplers, mean and 95 % interval over studies, a panel for each kind of budget.

    Parameters
    ----------
    panels : mapping of str to (x, lines)
        ``x`` of shape (n,), each line of shape (n_studies, n).
    xlabels : sequence of str
        One for each panel.
    ylabel : str
    """
    figure, axes = canvas(1, len(panels), height=3.4, sharey=True, squeeze=False)
    for axis, xlabel, (title, (x, lines)) in zip(axes[0], xlabels, panels.items()):
        for k, (name, rows) in enumerate(lines.items()):
            ends = np.array([bootstrap_interval(column) for column in rows.T])
            axis.plot(x, rows.mean(axis=0), linestyle=LINES[k], color=PALETTE[k], label=name)
            axis.fill_between(x, ends[:, 0], ends[:, 1], color=PALETTE[k], alpha=0.15, linewidth=0)
        axis.set(title=title, xlabel=xlabel)
    # logarithmic down to 1, and linear from there to the zero that a study can reach
    axes[0, 0].set_yscale("symlog", linthresh=1.0)
    ticks = [tick for tick in (0, 0.5, 1, 2, 5, 10, 20, 50) if tick <= axes[0, 0].get_ylim()[1]]
    axes[0, 0].set_yticks(ticks, [f"{tick:g}" for tick in ticks])
    axes[0, 0].set_ylim(bottom=0)
    axes[0, 0].set_ylabel(ylabel)
    axes[0, -1].legend(fontsize="x-small")
    return figure
