"""Drawings of learning curves that are cut short, and of what their brackets cost."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
from matplotlib.figure import Figure

from hpopt_lib.report.figures_teaching import LINES, MARKERS, canvas
from hpopt_lib.report.style import BLACK, BLUE, ORANGE, PALETTE, VERMILION, styled


@styled
def plot_cut_curves(
    panels: Mapping[str, tuple[np.ndarray, Sequence[int]]],
    *,
    ylabel: str,
    rungs: Mapping[str, Sequence[int]] | None = None,
) -> Figure:
    """Learning curves up to where a rule stopped them.

    Parameters
    ----------
    panels : mapping of str to (curves, stops)
        ``curves`` of shape (n_trials, n_epochs), and for each the epoch (from 1) at which it
        stopped; the last epoch means that it was finished.
    ylabel : str
    rungs : mapping of str to sequence of int, optional
        Epochs of decision, by panel.
    """
    figure, axes = canvas(1, len(panels), height=3.0, sharey=True, squeeze=False)
    for axis, (name, (curves, stops)) in zip(axes[0], panels.items()):
        for rung in (rungs or {}).get(name, ()):
            axis.axvline(rung, color=BLACK, linewidth=0.6, alpha=0.4)
        last = curves.shape[1]
        for curve, stop in zip(curves, stops):
            epochs = np.arange(1, stop + 1)
            done = stop == last
            axis.plot(epochs, curve[:stop], color=BLUE if done else ORANGE, linewidth=1.4 if done else 0.8)
            if not done:
                axis.plot(stop, curve[stop - 1], "x", color=VERMILION, markersize=5)
        axis.set(title=name, xlabel="epoch", xscale="log")
        ticks = [1, *(t for t in (3, 9, 27, 81) if t <= last)]
        axis.set_xticks(ticks, [str(t) for t in ticks])
        axis.minorticks_off()
    axes[0, 0].set_ylabel(ylabel)
    return figure


@styled
def plot_brackets(brackets: Sequence[Sequence[tuple[int, int]]]) -> Figure:
    """Hyperband's brackets: how many trials live at which number of epochs.

    Parameters
    ----------
    brackets : sequence of sequence of (int, int)
        For each bracket its rungs as (trials, epochs).
    """
    figure, axes = canvas(1, 2, height=3.0, width_ratios=(1.6, 1))
    for k, rungs in enumerate(brackets):
        trials, epochs = zip(*rungs)
        style = {
            "color": PALETTE[k % len(PALETTE)],
            "marker": MARKERS[k % len(MARKERS)],
            "linestyle": LINES[k % len(LINES)],
        }
        axes[0].step(epochs, trials, where="post", label=f"bracket {k}", **style)
    axes[0].set(xscale="log", yscale="log", xlabel="epochs of each trial", ylabel="trials still running")
    axes[0].legend(fontsize="x-small")
    labels = [str(k) for k in range(len(brackets))]
    spent = [epochs_spent(rungs) for rungs in brackets]
    axes[1].bar(labels, spent, color=BLUE)
    axes[1].set(xlabel="bracket", ylabel="epochs spent")
    return figure


def epochs_spent(rungs: Sequence[tuple[int, int]]) -> int:
    """Epochs of one bracket when survivors go on from where they stopped, not from the start."""
    total, before = 0, 0
    for trials, epochs in rungs:
        total += trials * (epochs - before)
        before = epochs
    return total


@styled
def plot_cost(rows: Mapping[str, tuple[np.ndarray, np.ndarray]], *, xlabel: str, ylabel: str) -> Figure:
    """Quality against cost: one point a seed, one larger point for the mean.

    Parameters
    ----------
    rows : mapping of str to (costs, errors)
        Each of shape (n_seeds,).
    xlabel, ylabel : str
    """
    figure, axis = canvas(height=3.2, width=6.0)
    for k, (name, (costs, errors)) in enumerate(rows.items()):
        color, marker = PALETTE[k % len(PALETTE)], MARKERS[k % len(MARKERS)]
        axis.plot(costs, errors, marker, color=color, markersize=4, alpha=0.4, linestyle="none")
        axis.plot(
            costs.mean(), errors.mean(), marker, color=color, markersize=10, label=name, markeredgecolor=BLACK
        )
    axis.set(xlabel=xlabel, ylabel=ylabel)
    axis.legend(fontsize="small")
    return figure
