"""Figures of the checks of the GMP paper: sides of a comparison, errors by element left out."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
from matplotlib.figure import Figure

from hpopt_lib.report.figures_teaching import MARKERS, canvas
from hpopt_lib.report.style import BLACK, PALETTE, legend_above, plain_numbers, styled


@styled
def plot_groups_of_sides(
    groups: Mapping[str, Mapping[str, Sequence[float]]],
    *,
    ylabel: str,
    baselines: Mapping[str, float] | None = None,
    log: bool = True,
) -> Figure:
    """Errors of several sides in several groups: seeds as dots, means as marks.

    Parameters
    ----------
    groups : mapping of str to mapping of str to sequence of float
        One value for each seed, by group (along the axis) and side (colour and mark).
    ylabel : str
    baselines : mapping of str to float, optional
        A dash for each group.
    log : bool
        Logarithmic axis of the errors.
    """
    figure, axis = canvas(width=6.2, height=3.6)
    sides = list(next(iter(groups.values())))
    for k, side in enumerate(sides):
        shift = 0.22 * (k - (len(sides) - 1) / 2)
        for x, found in enumerate(groups.values()):
            values = np.asarray(found[side], dtype=float)
            axis.plot(np.full(len(values), x + shift), values, ".", color=PALETTE[k], alpha=0.4)
            axis.plot(
                x + shift, values.mean(), MARKERS[k], color=PALETTE[k], markersize=7,
                label=side if x == 0 else None,
            )  # fmt: skip
    for x, name in enumerate(groups):
        if baselines is not None:
            axis.hlines(
                baselines[name], x - 0.4, x + 0.4, color=BLACK, linestyle="--", linewidth=1,
                label="median baseline" if x == 0 else None,
            )  # fmt: skip
    axis.set_xticks(range(len(groups)), [name.replace(", ", "\n") for name in groups])
    axis.set(ylabel=ylabel, yscale="log" if log else "linear")
    if not log:
        axis.set_ylim(bottom=0)
    if log:
        plain_numbers(axis.yaxis)
    legend_above(axis, columns=2)
    return figure
