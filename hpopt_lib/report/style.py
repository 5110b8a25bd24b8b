"""How figures look: one palette, thin grids, opaque white, no global matplotlib state."""

from __future__ import annotations

import functools
import io
import math
from collections.abc import Callable, Iterable
from typing import Any, ParamSpec, TypeVar

import matplotlib
from matplotlib.figure import Figure

P = ParamSpec("P")
R = TypeVar("R")

#: Okabe and Ito's colours, told apart with any colour vision.
BLACK, ORANGE, SKY, GREEN = "#000000", "#E69F00", "#56B4E9", "#009E73"
YELLOW, BLUE, VERMILION, PURPLE = "#F0E442", "#0072B2", "#D55E00", "#CC79A7"
GREY, LIGHT_GREY = "#6E6E6E", "#C8C8C8"
PALETTE = (BLUE, VERMILION, GREEN, ORANGE, PURPLE, SKY, BLACK, YELLOW)

#: Colour of a trial by its state.
STATE_COLORS = {
    "COMPLETE": BLUE,
    "PRUNED": ORANGE,
    "FAIL": VERMILION,
    "RUNNING": GREEN,
    "WAITING": LIGHT_GREY,
}
#: Largest width of a figure, in inches.
WIDTH = 7.0
DPI = 144
#: Values that span more than this factor are shown on a logarithmic axis.
LOG_FROM_RATIO = 20.0

# Any: matplotlib types the keys as one long Literal
STYLE: Any = {
    "font.size": 9,
    "axes.titlesize": 10,
    "axes.titlelocation": "left",
    "axes.labelsize": 9,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.edgecolor": "#444444",
    "axes.linewidth": 0.8,
    "axes.grid": True,
    "axes.axisbelow": True,
    "grid.color": "#DDDDDD",
    "grid.linewidth": 0.5,
    "xtick.labelsize": 8,
    "ytick.labelsize": 8,
    "legend.fontsize": 8,
    "legend.frameon": False,
    "lines.linewidth": 1.4,
    "lines.markersize": 4.5,
    "figure.facecolor": "white",
    "savefig.facecolor": "white",
}


class ReportFigure(Figure):
    """A figure that notebooks show by itself, whether or not pyplot was ever imported."""

    def _repr_png_(self) -> bytes:
        return png_bytes(self)


def new_figure(height: float, *, width: float = WIDTH) -> ReportFigure:
    """An empty figure of a size in inches, laid out so that labels never overlap axes."""
    return ReportFigure(figsize=(width, height), layout="constrained", facecolor="white")


def styled(draw: Callable[P, R]) -> Callable[P, R]:
    """Let a function draw in the report's style and leave matplotlib's settings as they were."""

    @functools.wraps(draw)
    def wrapper(*args: P.args, **kwargs: P.kwargs) -> R:
        with matplotlib.rc_context(STYLE):
            return draw(*args, **kwargs)

    return wrapper


def png_bytes(figure: Figure, *, dpi: int = DPI) -> bytes:
    """A figure as PNG, opaque white."""
    buffer = io.BytesIO()
    with matplotlib.rc_context(STYLE):
        figure.savefig(buffer, format="png", dpi=dpi, facecolor="white")
    return buffer.getvalue()


def wants_log(values: Iterable[float]) -> bool:
    """Whether positive values span so much that a linear axis would hide the small ones."""
    finite = [v for v in values if math.isfinite(v)]
    return bool(finite) and min(finite) > 0 and max(finite) / min(finite) > LOG_FROM_RATIO


def legend_above(axes: Any, *, columns: int = 4) -> None:
    """Put a legend between title and axes, where it covers no data."""
    if axes.get_legend_handles_labels()[0]:
        axes.legend(
            loc="lower left", bbox_to_anchor=(0.0, 1.0), ncols=columns, borderaxespad=0.2, columnspacing=1.4
        )


def plain_numbers(axis: Any) -> None:
    """Write the numbers of a logarithmic axis out (30, not 3×10¹) when it spans little."""
    from matplotlib.ticker import FuncFormatter, LogLocator, NullFormatter

    low, high = sorted(axis.get_view_interval())
    if low > 0 and high / low < 1e4 and low > 1e-3:
        axis.set_major_locator(LogLocator(subs=(1.0, 2.0, 5.0) if high / low < 200 else (1.0,), numticks=12))
        axis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
        axis.set_minor_formatter(NullFormatter())
