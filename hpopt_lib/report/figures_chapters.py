"""Figures that chapters share: named curves, a landscape, errors by split, an interactive parity plot."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

import numpy as np

from hpopt_lib.report.style import BLACK, BLUE, GREY, ORANGE, PALETTE, new_figure, styled

if TYPE_CHECKING:
    import plotly.graph_objects as go
    from matplotlib.figure import Figure


@styled
def curves(
    lines: Mapping[str, tuple[np.ndarray, np.ndarray]],
    *,
    xlabel: str,
    ylabel: str,
    points: tuple[np.ndarray, np.ndarray, str] | None = None,
    shaded: tuple[float, float, str] | None = None,
    ylim: tuple[float, float] | None = None,
    zero_line: bool = True,
    logx: bool = False,
) -> Figure:
    """Named curves in one frame.

    Parameters
    ----------
    lines : mapping of str to (x, y)
        Curves by the name in the legend.
    xlabel, ylabel : str
        With units.
    points : (x, y, label), optional
        Drawn as markers.
    shaded : (start, end, label), optional
        A range of x with a grey ground.
    ylim : (low, high), optional
    zero_line, logx : bool
    """
    figure = new_figure(3.4)
    axis = figure.subplots()
    if zero_line:
        axis.axhline(0.0, color=GREY, linewidth=0.8)
    if shaded is not None:
        axis.axvspan(shaded[0], shaded[1], color="0.92", label=shaded[2])
    styles = ("-", "--", "-.", ":")
    for number, (name, (x, y)) in enumerate(lines.items()):
        axis.plot(x, y, styles[number % 4], color=PALETTE[number % len(PALETTE)], label=name)
    if points is not None:
        axis.plot(points[0], points[1], "o", color=BLACK, markersize=3.5, label=points[2])
    axis.set(xlabel=xlabel, ylabel=ylabel)
    if ylim is not None:
        axis.set_ylim(*ylim)
    if logx:
        axis.set_xscale("log")
    axis.legend()
    return figure


@styled
def landscape(
    positions: np.ndarray, values: np.ndarray, atoms_xy: np.ndarray, *, label: str, limits: np.ndarray
) -> Figure:
    """A scalar over the plane of a surface, with the surface atoms.

    Parameters
    ----------
    positions : numpy.ndarray, shape (n, 2)
        Where the scalar is known, in Å.
    values : numpy.ndarray, shape (n,)
    atoms_xy : numpy.ndarray, shape (m, 2)
        Surface atoms in Å.
    label : str
        Of the colour bar, with unit.
    limits : numpy.ndarray, shape (2, 2)
        Lower and upper x, lower and upper y of the frame, in Å.
    """
    figure = new_figure(4.2, width=5.6)
    axis = figure.subplots()
    filled = axis.tricontourf(positions[:, 0], positions[:, 1], values, levels=14, cmap="viridis")
    figure.colorbar(filled, ax=axis, label=label)
    axis.plot(atoms_xy[:, 0], atoms_xy[:, 1], "o", markersize=13, fillstyle="none", color="white")
    axis.set(xlim=limits[0], ylim=limits[1], xlabel="x / Å", ylabel="y / Å", aspect="equal")
    axis.set_title("white rings: surface atoms")
    axis.grid(False)
    return figure


def parity_hover(panel: Mapping[str, np.ndarray], labels: Sequence[str], *, name: str) -> go.Figure:
    """Interactive parity plot relative to the linear baseline; pointing at a marker names the structure.

    Parameters
    ----------
    panel : mapping
        One split of `hpopt_lib.report.figures_model.parity_panels`.
    labels : sequence of str, length n_frames
        What is shown for each frame.
    name : str
        Of the split.
    """
    import plotly.graph_objects as go

    x, y = (1000.0 * (panel[key] - panel["linear"]) for key in ("reference", "predicted"))
    ends = [float(min(x.min(), y.min())), float(max(x.max(), y.max()))]
    hover = "%{text}<br>reference %{x:.1f}, predicted %{y:.1f} meV/atom<extra></extra>"
    figure = go.Figure()
    figure.add_scatter(
        x=ends, y=ends, mode="lines", line={"color": GREY, "width": 1}, name="exact", hoverinfo="skip"
    )
    figure.add_scatter(
        x=np.round(x, 2).tolist(),
        y=np.round(y, 2).tolist(),
        text=list(labels),
        mode="markers",
        marker={"color": BLUE, "size": 6, "opacity": 0.6},
        name="network",
        hovertemplate=hover,
    )
    figure.update_layout(
        title=f"{name}: energy relative to the linear baseline",
        xaxis_title="reference (meV/atom)",
        yaxis_title="predicted (meV/atom)",
        height=430,
    )
    return figure


@styled
def absolute_and_relative(
    summary: Mapping[str, Mapping[str, float]], intervals: Mapping[str, Sequence[float]], *, headline: str
) -> Figure:
    """Error of each split with its interval over systems, and the same over the linear baseline.

    Parameters
    ----------
    summary : mapping
        For each split the result of `hpopt_lib.tuning.final.summarise`.
    intervals : mapping
        For each split the ends of an interval of the error.
    headline : str
        Key of the error, in meV/atom.
    """
    figure = new_figure(1.5 + 0.4 * len(summary))
    left, right = figure.subplots(1, 2, sharey=True)
    y = np.arange(len(summary))
    error = np.array([values[headline] for values in summary.values()])
    ends = np.array([intervals[split] for split in summary])
    around = np.abs(ends - error[:, None]).T
    linear = np.array([values[f"linear_{headline}"] for values in summary.values()])
    median = np.array([values[f"median_{headline}"] for values in summary.values()])
    left.plot(median, y, "D", color=GREY, label="median baseline")
    left.plot(linear, y, "s", color=ORANGE, label="linear baseline")
    left.errorbar(error, y, xerr=around, fmt="o", color=BLUE, capsize=3, label="model, 95 % over systems")
    left.set(xlabel="energy MAE (meV/atom)", yticks=y, yticklabels=list(summary), xlim=(0, None))
    right.errorbar(error / linear, y, xerr=around / linear, fmt="o", color=BLUE, capsize=3)
    right.axvline(1.0, color=ORANGE, linestyle="--")
    right.set(
        xlabel="energy MAE / that of the linear baseline",
        xlim=(0, max(1.05, float((ends[:, 1] / linear).max()))),
    )
    left.set_ylim(len(summary) - 0.5, -0.5)
    figure.legend(loc="outside upper left", ncols=3)
    return figure
