"""Small charts of the tutorial chapters: errors with every seed shown, groups of points."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
from matplotlib.figure import Figure

from hpopt_lib.report.figures_teaching import LINES, MARKERS, canvas
from hpopt_lib.report.style import BLACK, BLUE, LIGHT_GREY, ORANGE, PALETTE, plain_numbers, styled


@styled
def plot_effect(
    values: Sequence[float],
    errors: np.ndarray,
    *,
    xlabel: str,
    ylabel: str,
    baseline: tuple[str, float] | None = None,
    log: bool = True,
) -> Figure:
    """Error against one hyperparameter: every seed as a dot, mean and standard deviation beside.

    Parameters
    ----------
    values : sequence of float
    errors : numpy.ndarray, shape (n_values, n_seeds)
    xlabel, ylabel : str
    baseline : (str, float), optional
        Name and error of a horizontal line.
    log : bool
        Logarithmic axis of the hyperparameter.
    """
    figure, axis = canvas(width=5.5, height=3.0)
    axis.plot(values, errors, "o", color=BLUE, markersize=4, alpha=0.35)
    spread = errors.std(axis=1, ddof=1) if errors.shape[1] > 1 else None
    axis.errorbar(
        values, errors.mean(axis=1), yerr=spread, color=BLUE, capsize=3, label="mean and sd over seeds"
    )
    if baseline is not None:
        axis.axhline(baseline[1], color=ORANGE, linestyle="--", label=baseline[0])
    axis.set(xlabel=xlabel, ylabel=ylabel, xscale="log" if log else "linear")
    axis.set_ylim(bottom=0)
    axis.legend()
    return figure


@styled
def plot_groups(
    groups: Mapping[str, tuple[np.ndarray, np.ndarray]], *, xlabel: str, ylabel: str, log: bool = True
) -> Figure:
    """A scatter of small points in named groups.

    Parameters
    ----------
    groups : mapping of str to (x, y)
    xlabel, ylabel : str
    log : bool
        Logarithmic axes.
    """
    figure, axis = canvas(width=5.5, height=3.4)
    for (name, (x, y)), color in zip(groups.items(), (LIGHT_GREY, *PALETTE)):
        axis.plot(x, y, ".", color=color, markersize=3, label=name, rasterized=True)
    axis.set(xlabel=xlabel, ylabel=ylabel)
    if log:
        axis.set(xscale="log", yscale="log")
        plain_numbers(axis.xaxis)
    axis.legend(markerscale=3)
    return figure


@styled
def plot_colored(
    x: Sequence[float],
    y: Sequence[float],
    values: Sequence[float],
    *,
    xlabel: str,
    ylabel: str,
    color_label: str,
) -> Figure:
    """Points of a plane coloured by a third value."""
    figure, axis = canvas(width=5.0, height=3.4)
    points = axis.scatter(x, y, c=values, cmap="viridis_r", zorder=2)
    axis.set(xlabel=xlabel, ylabel=ylabel)
    figure.colorbar(points, label=color_label)
    return figure


@styled
def plot_families(
    values: Sequence[float],
    families: Mapping[str, np.ndarray],
    *,
    xlabel: str,
    ylabel: str,
    baseline: tuple[str, float],
) -> Figure:
    """Error against a whole number for several families, with seeds as dots and a baseline.

    Parameters
    ----------
    values : sequence of float
    families : mapping of str to numpy.ndarray, shape (n_values, n_seeds)
    xlabel, ylabel : str
    baseline : (str, float)
    """
    figure, axis = canvas(width=5.8, height=3.4)
    for k, (name, errors) in enumerate(families.items()):
        x = np.asarray(values) + 0.05 * (k - (len(families) - 1) / 2)
        spread = errors.std(axis=1, ddof=1) if errors.shape[1] > 1 else None
        style = {"color": PALETTE[k], "marker": MARKERS[k], "linestyle": LINES[k]}
        axis.errorbar(x, errors.mean(axis=1), yerr=spread, capsize=3, label=name, **style)
        axis.plot(x, errors, ".", color=PALETTE[k], alpha=0.35, markersize=3)
    axis.axhline(baseline[1], color=BLACK, linestyle="--", linewidth=1, label=baseline[0])
    axis.set(xlabel=xlabel, ylabel=ylabel, xticks=list(values))
    axis.set_ylim(bottom=0)
    axis.legend()
    return figure
