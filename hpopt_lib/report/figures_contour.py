"""The objective over two hyperparameters at once."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from hpopt_lib.report.figures_axes import beyond, color_norm, colormap, objective_values, set_scale
from hpopt_lib.report.importances import most_important
from hpopt_lib.report.study_data import (
    Axis,
    NotDrawableError,
    axes_of,
    best_trial,
    need_completed,
    objective_view,
)
from hpopt_lib.report.style import BLACK, VERMILION, legend_above, new_figure, styled

if TYPE_CHECKING:
    import optuna
    from matplotlib.figure import Figure


def pair_to_show(study: optuna.Study, names: Sequence[str] | None = None) -> tuple[Axis, Axis]:
    """The two parameters of a contour: the most important numbers, else the most important of any kind.

    Raises
    ------
    NotDrawableError
        When fewer than two parameters were in every completed trial and varied.
    """
    need_completed(study, "A contour plot", at_least=2)
    ranked = axes_of(study, list(names) if names is not None else most_important(study))
    numbers = [axis for axis in ranked if not axis.choices]
    chosen = numbers if len(numbers) >= 2 else ranked
    if len(chosen) < 2:
        raise NotDrawableError("A contour plot needs two parameters that varied, in every completed trial")
    return chosen[0], chosen[1]


@styled
def contour_figure(study: optuna.Study, names: Sequence[str] | None = None) -> Figure:
    """Objective over the two most important parameters, interpolated between the trials.

    Parameters
    ----------
    study : optuna.Study
    names : sequence of two str, optional
        Parameters to show; by default the two most important numbers by fANOVA.

    Returns
    -------
    matplotlib.figure.Figure
        Linear interpolation inside the hull of the trials only. The other parameters differ
        from trial to trial, so the surface is a shadow, not a section. Choices and trials on
        one line give points without a surface.

    Raises
    ------
    NotDrawableError
        When there are not two such parameters, or fewer than two completed trials.
    """
    from matplotlib.cm import ScalarMappable

    view = objective_view(study)
    x_axis, y_axis = pair_to_show(study, names)
    trials = [
        t for t in need_completed(study, "A contour plot") if {x_axis.name, y_axis.name} <= set(t.params)
    ]
    values = objective_values(trials)
    norm = color_norm(values, view)
    colors = colormap(view)
    figure = new_figure(4.2, width=5.6)
    axes = figure.subplots()
    points = np.array([[axis.position(t.params[axis.name]) for axis in (x_axis, y_axis)] for t in trials])
    scaled = np.array([[axis.fraction(t.params[axis.name]) for axis in (x_axis, y_axis)] for t in trials])
    triangles = None if x_axis.choices or y_axis.choices else _triangles(scaled)
    if triangles is not None:
        levels = np.linspace(norm.vmin, norm.vmax, 12)
        filled: dict[str, Any] = {
            "levels": levels,
            "norm": norm,
            "cmap": colors,
            "alpha": 0.75,
            "extend": "both",
        }
        axes.tricontourf(points[:, 0], points[:, 1], triangles, values, **filled)
    style: dict[str, Any] = {
        "edgecolors": BLACK,
        "linewidths": 0.6,
        "zorder": 3,
        "s": 28 if len(trials) < 60 else 10,
    }
    axes.scatter(points[:, 0], points[:, 1], c=values, norm=norm, cmap=colors, label="trial", **style)
    best = best_trial(trials, view)
    place = points[[t.number for t in trials].index(best.number)]
    axes.plot(*place, "*", color=VERMILION, markersize=13, zorder=4, label=f"best: trial {best.number}")
    set_scale(axes, x_axis, "x")
    set_scale(axes, y_axis, "y")
    axes.set(xlabel=x_axis.label, ylabel=y_axis.label)
    figure.colorbar(ScalarMappable(norm, colors), ax=axes, label=view.label, extend=beyond(view))
    legend_above(axes)
    return figure


def _triangles(points: np.ndarray) -> np.ndarray | None:
    """Corners of Delaunay triangles, None where the points span no area."""
    from scipy.spatial import Delaunay, QhullError

    distinct = np.unique(points, axis=0)
    if len(distinct) < 3 or np.linalg.matrix_rank(distinct - distinct.mean(axis=0), tol=1e-9) < 2:
        return None
    try:
        return Delaunay(points).simplices
    except QhullError:  # nearly on one line
        return None
