"""Hyperparameters as axes and objectives as colours, shared by several figures."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from hpopt_lib.report.study_data import Axis, NotDrawableError, ObjectiveView, axes_of
from hpopt_lib.report.style import plain_numbers, wants_log

if TYPE_CHECKING:
    import optuna
    from optuna.trial import FrozenTrial


def objective_values(trials: Sequence[FrozenTrial]) -> np.ndarray:
    return np.array([float(t.value) for t in trials if t.value is not None])


def colormap(view: ObjectiveView) -> Any:
    """Dark is good; viridis without its end, which is too pale for thin lines on white."""
    import matplotlib
    from matplotlib.colors import ListedColormap

    colors = ListedColormap(matplotlib.colormaps["viridis"](np.linspace(0.0, 0.92, 256)))
    return colors if view.sign > 0 else colors.reversed()


def color_norm(values: np.ndarray, view: ObjectiveView) -> Any:
    """Colours from the best to the 90th percentile: one bad trial must not make the others look alike."""
    from matplotlib.colors import LogNorm, Normalize

    low, high = np.quantile(values, (0.0, 0.9) if view.sign > 0 else (0.1, 1.0))
    if high <= low:
        low, high = low - 0.5, high + 0.5
    return LogNorm(low, high) if wants_log([low, high]) else Normalize(low, high)


def focus(
    axes: Any, values: Sequence[float] | np.ndarray, view: ObjectiveView, *, noun: str = "trial"
) -> int:
    """Scale the objective's axis so that far outliers do not press all other trials together.

    Logarithmic where positive values span much; else cut beyond three times the distance from
    the best to the 90th percentile, with a note on how many lie outside (`noun` says of what).

    Returns
    -------
    int
        Number of values outside.
    """
    finite = np.array([v for v in values if np.isfinite(v)])
    if not len(finite):
        return 0
    if wants_log(finite):
        axes.set_yscale("log")
        plain_numbers(axes.yaxis)
        return 0
    losses = view.sign * finite
    best, usual = float(losses.min()), float(np.quantile(losses, 0.9))
    limit = best + 3.0 * (usual - best)
    outside = int((losses > limit).sum())
    if not outside or limit <= best:
        return 0
    pad = 0.05 * (limit - best)
    ends = sorted((view.sign * (best - pad), view.sign * (limit + pad)))
    axes.set_ylim(*ends)
    arrow, place, side = ("↑", 0.98, "top") if view.sign > 0 else ("↓", 0.02, "bottom")
    style = {"transform": axes.transAxes, "ha": "right", "va": side, "fontsize": 8, "color": "#444444"}
    axes.text(0.99, place, f"{arrow} {outside} {noun}{'s' * (outside > 1)} outside", **style)
    return outside


def beyond(view: ObjectiveView) -> Any:
    return "max" if view.sign > 0 else "min"


def searched_axes(study: optuna.Study, names: Sequence[str] | None) -> list[Axis]:
    axes = axes_of(study, names)
    if not axes:
        raise NotDrawableError("No trial has drawn a parameter, so there is nothing to show them against")
    return axes


def set_scale(target: Any, axis: Axis, which: str) -> None:
    """Scale, limits and ticks of one direction of matplotlib axes for a hyperparameter."""
    scale = target.xaxis if which == "x" else target.yaxis
    limits = target.set_xlim if which == "x" else target.set_ylim
    if axis.choices:
        scale.set_ticks(range(len(axis.choices)), axis.choices)
        limits(-0.5, len(axis.choices) - 0.5)
        scale.grid(False)
        return
    if axis.log:
        (target.set_xscale if which == "x" else target.set_yscale)("log")
        pad = (axis.high / axis.low) ** 0.04 if axis.high > axis.low else 1.1
        limits(axis.low / pad, axis.high * pad)
        plain_numbers(scale)
        return
    pad = 0.04 * (axis.high - axis.low) or 0.5
    limits(axis.low - pad, axis.high + pad)
    if axis.integer:
        from matplotlib.ticker import MaxNLocator

        scale.set_major_locator(MaxNLocator(integer=True, nbins=6, min_n_ticks=1))


def short_number(value: float) -> str:
    return f"{value:.0e}".replace("e-0", "e-") if 0 < abs(value) < 1e-3 else f"{value:g}"
