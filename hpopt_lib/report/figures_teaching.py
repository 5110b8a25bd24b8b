"""Drawings that explain how a search for hyperparameters works; they draw and compute nothing."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patches import Ellipse

from hpopt_lib.report.style import (
    BLACK,
    BLUE,
    GREEN,
    ORANGE,
    PALETTE,
    VERMILION,
    WIDTH,
    new_figure,
    styled,
)

LINES = ("-", "--", "-.", ":", (0, (5, 1)), (0, (1, 1)), (0, (3, 1, 1, 1)), (0, (7, 2)))
MARKERS = ("o", "s", "^", "D", "v", "P", "X", "*")


def canvas(
    rows: int = 1, columns: int = 1, *, width: float = WIDTH, height: float = 2.8, **kwargs: Any
) -> tuple[Figure, Any]:
    """A figure of a size in inches with its axes; `kwargs` go to ``Figure.subplots``."""
    figure = new_figure(height, width=width)
    return figure, figure.subplots(rows, columns, **kwargs)


@styled
def plot_point_sets(sets: Mapping[str, np.ndarray], *, xlabel: str, ylabel: str) -> Figure:
    """Points of several designs in a square, each with the values that a single parameter gets to see.

    Parameters
    ----------
    sets : mapping of str to numpy.ndarray, shape (n_points, 2)
    xlabel, ylabel : str
    """
    figure, axes = canvas(1, len(sets), height=2.9, sharex=True, sharey=True, squeeze=False)
    everything = np.concatenate([points[:, 1] for points in sets.values()])
    low = everything.min() - 0.12 * np.ptp(everything)
    for axis, (name, points) in zip(axes[0], sets.items()):
        axis.scatter(points[:, 0], points[:, 1], s=22, color=BLUE)
        axis.plot(points[:, 0], np.full(len(points), low), "|", color=VERMILION, markersize=12)
        axis.set(title=name, xlabel=xlabel)
        axis.set_box_aspect(1)
    axes[0, 0].set_ylabel(ylabel)
    return figure


@styled
def plot_gaussian_process(
    steps: Sequence[Mapping[str, Any]], x: np.ndarray, truth: np.ndarray, *, xlabel: str, ylabel: str
) -> Figure:
    """Posterior and acquisition of a Gaussian process, one column a step.

    Parameters
    ----------
    steps : sequence of mapping
        ``seen_x``, ``seen_y``, ``mean``, ``std`` and ``acquisition`` on `x`, ``next_x``.
    x, truth : numpy.ndarray, shape (n,)
        The axis, and the function that the process does not know.
    xlabel, ylabel : str
    """
    figure, axes = canvas(
        2, len(steps), height=3.8, sharex=True, sharey="row", squeeze=False, height_ratios=(2.2, 1)
    )
    for column, step in enumerate(steps):
        top, bottom = axes[:, column]
        top.plot(x, truth, "--", color=BLACK, linewidth=1, label="truth (hidden)")
        top.plot(x, step["mean"], color=BLUE, label="posterior mean")
        band = 1.96 * step["std"]
        top.fill_between(
            x, step["mean"] - band, step["mean"] + band, color=BLUE, alpha=0.2, lw=0, label="95 % band"
        )
        top.plot(step["seen_x"], step["seen_y"], "o", color=BLACK, markersize=4, label="trials")
        bottom.fill_between(x, step["acquisition"], color=GREEN, alpha=0.5, lw=0)
        for axis in (top, bottom):
            axis.axvline(step["next_x"], color=VERMILION, linewidth=1.2, linestyle=":")
        top.set_title(f"after {len(step['seen_x'])} trials")
        bottom.set(xlabel=xlabel, yticks=[])
    axes[0, 0].set_ylabel(ylabel)
    axes[1, 0].set_ylabel("expected\nimprovement")
    axes[0, -1].legend(fontsize="xx-small", loc="upper right")
    return figure


@styled
def plot_parzen(steps: Sequence[Mapping[str, Any]], x: np.ndarray, *, xlabel: str, ylabel: str) -> Figure:
    """The two densities of a tree-structured Parzen estimator, one column a step.

    Parameters
    ----------
    steps : sequence of mapping
        ``good_x``, ``good_y``, ``bad_x``, ``bad_y``; the densities ``l`` and ``g`` on `x`; ``next_x``.
    x : numpy.ndarray, shape (n,)
    xlabel, ylabel : str
    """
    figure, axes = canvas(
        3, len(steps), height=4.6, sharex=True, sharey="row", squeeze=False, height_ratios=(1.6, 1, 0.8)
    )
    for column, step in enumerate(steps):
        top, middle, bottom = axes[:, column]
        top.plot(step["good_x"], step["good_y"], "o", color=BLUE, markersize=5, label="good")
        top.plot(step["bad_x"], step["bad_y"], "x", color=ORANGE, markersize=5, label="the others")
        middle.plot(x, step["l"], color=BLUE, label="l(x), of the good")
        middle.plot(x, step["g"], "--", color=ORANGE, label="g(x), of the others")
        bottom.fill_between(x, step["l"] / step["g"], color=GREEN, alpha=0.5, lw=0)
        for axis in (top, middle, bottom):
            axis.axvline(step["next_x"], color=VERMILION, linewidth=1.2, linestyle=":")
        top.set_title(f"after {len(step['good_x']) + len(step['bad_x'])} trials")
        middle.set(yticks=[], ylim=(0, 1.6 * max(np.max(s[k]) for s in steps for k in "lg")))
        bottom.set(xlabel=xlabel, yticks=[])
    axes[0, 0].set_ylabel(ylabel)
    axes[1, 0].set_ylabel("density")
    axes[2, 0].set_ylabel("l / g")
    axes[0, -1].legend(fontsize="x-small")
    axes[1, -1].legend(fontsize="x-small")
    return figure


def draw_landscape(
    axis: Axes, x: np.ndarray, y: np.ndarray, values: np.ndarray, *, best: Sequence[float]
) -> Any:
    """Contours of a function of two parameters, its minimum marked; gives what a colour bar needs."""
    filled = axis.contourf(x, y, values, levels=14, cmap="viridis_r")
    axis.plot(*best, "*", color="white", markeredgecolor=BLACK, markersize=13)
    axis.grid(False)
    return filled


@styled
def plot_landscape(
    x: np.ndarray,
    y: np.ndarray,
    values: np.ndarray,
    *,
    best: Sequence[float],
    xlabel: str,
    ylabel: str,
    unit: str,
) -> Figure:
    """One function of two parameters as a filled contour map.

    Parameters
    ----------
    x, y : numpy.ndarray
        Axes of the grid.
    values : numpy.ndarray, shape (len(y), len(x))
    best : pair of float
        Where the minimum is.
    xlabel, ylabel, unit : str
    """
    figure, axis = canvas(width=4.8, height=3.2)
    figure.colorbar(draw_landscape(axis, x, y, values, best=best), ax=axis, label=unit)
    axis.set(xlabel=xlabel, ylabel=ylabel)
    return figure


@styled
def plot_evolution(
    generations: Sequence[Mapping[str, Any]], landscape: tuple[np.ndarray, np.ndarray, np.ndarray],
    *, best: Sequence[float], xlabel: str, ylabel: str,
) -> Figure:  # fmt: skip
    """The moving ellipse of CMA-ES over a landscape, one panel for each generation given.

    Parameters
    ----------
    generations : sequence of mapping
        ``number``, ``mean`` (2,), ``covariance`` (2, 2) including the step size, ``points`` (n, 2).
    landscape : tuple
        Two axes and the values on their grid.
    best : pair of float
    xlabel, ylabel : str
    """
    figure, axes = canvas(1, len(generations), height=2.6, sharex=True, sharey=True, squeeze=False)
    x, y, values = landscape
    for axis, generation in zip(axes[0], generations):
        draw_landscape(axis, x, y, values, best=best)
        eigenvalues, vectors = np.linalg.eigh(generation["covariance"])
        angle = np.degrees(np.arctan2(vectors[1, 1], vectors[0, 1]))
        for scale in (1, 2):
            # eigh sorts ascending: the second eigenvector is the long axis
            width, height = 2 * scale * np.sqrt(eigenvalues[::-1])
            axis.add_patch(
                Ellipse(
                    generation["mean"],
                    width,
                    height,
                    angle=angle,
                    fill=False,
                    color=VERMILION,
                    linewidth=2 / scale,
                )
            )
        axis.scatter(
            *np.asarray(generation["points"]).T, s=14, color="white", edgecolor=BLACK, linewidth=0.6, zorder=3
        )
        axis.plot(*generation["mean"], "+", color=VERMILION, markersize=10)
        axis.set(title=f"generation {generation['number']}", xlabel=xlabel, xlim=x[[0, -1]], ylim=y[[0, -1]])
    axes[0, 0].set_ylabel(ylabel)
    return figure


@styled
def plot_best_so_far(
    histories: Mapping[str, np.ndarray],
    *,
    ylabel: str,
    log: bool = False,
) -> Figure:
    """Best-so-far curves of several searches: mean over seeds, band with the middle half of them.

    Parameters
    ----------
    histories : mapping of str to numpy.ndarray, shape (n_seeds, n_trials)
    ylabel : str
    log : bool
        Logarithmic axis of the values, which must be positive.
    """
    figure, axis = canvas(height=3.4)
    for k, (name, curves) in enumerate(histories.items()):
        trials = np.arange(1, curves.shape[1] + 1)
        color = PALETTE[k % len(PALETTE)]
        axis.plot(trials, curves.mean(axis=0), color=color, linestyle=LINES[k % len(LINES)], label=name)
        axis.fill_between(trials, *np.percentile(curves, [25, 75], axis=0), color=color, alpha=0.12, lw=0)
    axis.set(xlabel="trials", ylabel=ylabel, yscale="log" if log else "linear")
    axis.legend(fontsize="small")
    return figure


@styled
def plot_asked_points(
    batches: Mapping[str, np.ndarray], seen: np.ndarray, landscape: tuple[np.ndarray, np.ndarray, np.ndarray],
    *, best: Sequence[float], xlabel: str, ylabel: str,
) -> Figure:  # fmt: skip
    """Points that parallel workers were given at the same moment, one panel a way of asking.

    Parameters
    ----------
    batches : mapping of str to numpy.ndarray, shape (n_workers, 2)
    seen : numpy.ndarray, shape (n_trials, 2)
        Finished trials.
    landscape : tuple
    best : pair of float
    xlabel, ylabel : str
    """
    figure, axes = canvas(1, len(batches), height=3.0, sharex=True, sharey=True, squeeze=False)
    for axis, (name, points) in zip(axes[0], batches.items()):
        draw_landscape(axis, *landscape, best=best)
        axis.scatter(*seen.T, s=12, color="white", edgecolor=BLACK, linewidth=0.5, label="finished")
        axis.scatter(*points.T, s=46, marker="s", color=VERMILION, edgecolor="white", label="running now")
        axis.set(title=name, xlabel=xlabel)
    axes[0, 0].set_ylabel(ylabel)
    axes[0, -1].legend(fontsize="x-small", loc="lower left")
    return figure
