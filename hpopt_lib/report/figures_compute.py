"""Figures of what more compute buys: cheap trainings, extrapolated learning curves, workers."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
from matplotlib.figure import Figure

from hpopt_lib.report.figures_teaching import LINES, MARKERS, canvas
from hpopt_lib.report.sensitivity_verdicts import interval
from hpopt_lib.report.style import BLACK, GREY, PALETTE, legend_above, plain_numbers, styled


@styled
def plot_fidelity(
    kinds: Mapping[str, Mapping[str, tuple[float, np.ndarray]]], *, ceiling: np.ndarray
) -> Figure:
    """Rank correlation with full trainings against what a cheap training saves, a line for each kind.

    Parameters
    ----------
    kinds : mapping of str to mapping of str to (speedup, ranks)
        Ranks over resamples.
    ceiling : numpy.ndarray
        Of two full trainings with other seeds.
    """
    figure, axis = canvas(width=5.8, height=3.4)
    low, high = interval(ceiling)
    axis.axhspan(low, high, color=GREY, alpha=0.15, linewidth=0)
    axis.axhline(ceiling.mean(), color=BLACK, linestyle="--", linewidth=1, label="another full training")
    for k, (kind, found) in enumerate(kinds.items()):
        x = np.array([speedup for speedup, _ in found.values()])
        y = np.array([ranks.mean() for _, ranks in found.values()])
        ends = np.array([interval(ranks) for _, ranks in found.values()])
        axis.errorbar(
            x, y, yerr=np.abs(ends.T - y), color=PALETTE[k], marker=MARKERS[k], linestyle=LINES[k],
            capsize=2, linewidth=1, label=kind,
        )  # fmt: skip
        for name, at_x, at_y in zip(found, x, y):
            place = (4, -9 if k % 2 else 4)
            axis.annotate(name, (at_x, at_y), xytext=place, textcoords="offset points", fontsize=7)
    axis.set(xlabel="times cheaper than a full training", ylabel="rank correlation", xscale="log")
    plain_numbers(axis.xaxis)
    legend_above(axis, columns=3)
    return figure


@styled
def plot_extrapolation(
    panels: Mapping[str, tuple[Sequence[int], np.ndarray, int, Mapping[str, np.ndarray]]],
    grid: np.ndarray,
    *,
    ylabel: str,
    level: float = 0.9,
) -> Figure:
    """Measured learning curves, and what was predicted from their small sizes.

    Parameters
    ----------
    panels : mapping of str to (sizes, errors, n_fitted, predictions)
        Errors of shape (n_sizes, n_seeds); predictions by kind of curve, of shape (n_resamples, n_grid).
    grid : numpy.ndarray
        Sizes of the predictions.
    ylabel : str
    level : float
        Of the bands.
    """
    figure, axes = canvas(1, len(panels), height=3.5, squeeze=False, sharey=True)
    for axis, (title, (sizes, errors, n_fitted, predictions)) in zip(axes[0], panels.items()):
        for k, (kind, found) in enumerate(predictions.items()):
            low, high = np.quantile(found, [(1 - level) / 2, (1 + level) / 2], axis=0)
            axis.fill_between(grid, low, high, color=PALETTE[k], alpha=0.2, linewidth=0)
            axis.plot(grid, np.median(found, axis=0), LINES[k], color=PALETTE[k], label=kind)
        x = np.repeat(np.asarray(sizes, dtype=float), errors.shape[1]).reshape(errors.shape)
        axis.plot(x[:n_fitted].ravel(), errors[:n_fitted].ravel(), ".", color=BLACK, label="fitted")
        axis.plot(
            x[n_fitted:].ravel(), errors[n_fitted:].ravel(), "x", color=BLACK, label="measured, not fitted"
        )
        axis.set(title=title, xlabel="training frames", xscale="log", yscale="log")
        plain_numbers(axis.xaxis)
        plain_numbers(axis.yaxis)
    axes[0, 0].set_ylabel(ylabel)
    axes[0, -1].legend(fontsize="x-small")
    return figure
