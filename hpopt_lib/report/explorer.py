"""Interactive outputs of chapters: a map of structures, and figures with a picture to fall back on."""

from __future__ import annotations

import base64
import io
import uuid
from collections.abc import Mapping, Sequence
from html import escape
from typing import Any, Literal

import numpy as np

from hpopt_lib.errors import HpoptError
from hpopt_lib.report.sphinx_ext import PLOTLY_MIME, inline_json

_PNG_DPI = 110

#: Turns (degrees, axis) that show a slab from the side, a little from above, its normal upwards.
_SIDE_VIEW = ((-90.0, "x"), (20.0, "y"), (15.0, "x"))


class Explorer:
    """What `structure_explorer` returns: shown by Jupyter as a picture, in the book as a live map."""

    def __init__(self, dataset: dict[str, Any], *, mode: str, png: str, description: str) -> None:
        self.dataset = dataset
        self.mode = mode
        self.png = png
        self.description = description

    def _repr_mimebundle_(self, include: Any = None, exclude: Any = None) -> dict[str, str]:
        identity = f"chemiscope-{uuid.uuid4().hex[:12]}"
        html = (
            f'<div class="book-chemiscope" id="{identity}" data-mode="{self.mode}">'
            f'<img class="book-fallback" alt="{escape(self.description, quote=True)}" '
            f'src="data:image/png;base64,{self.png}"></div>'
            f'<script type="application/json" data-chemiscope-for="{identity}">'
            f"{inline_json(self.dataset)}</script>"
        )
        return {"text/html": html, "image/png": self.png, "text/plain": f"Explorer({self.description})"}


class PlotlyFigure:
    """What `plotly_figure` returns: the live figure, and a still picture where scripts do not run."""

    def __init__(self, figure: Any, *, png: str, alt: str) -> None:
        self.figure = figure
        self.png = png
        self.alt = alt

    def _repr_mimebundle_(
        self, include: Any = None, exclude: Any = None
    ) -> tuple[dict[str, Any], dict[str, Any]]:
        import json

        content = json.loads(self.figure.to_json())
        return (
            {PLOTLY_MIME: content, "image/png": self.png, "text/plain": f"Figure({self.alt})"},
            {PLOTLY_MIME: {"fallback_png": self.png, "alt": self.alt}},
        )


def structure_explorer(
    frames: Sequence[Any],
    properties: Mapping[str, Any] | None = None,
    mode: Literal["default", "structure"] = "default",
    *,
    name: str = "structures",
    x: str | None = None,
    y: str | None = None,
    color: str | None = None,
    symbol: str | None = None,
) -> Explorer:
    """Show structures, and a map of their properties in which a click opens a structure.

    Periodic structures are turned for the display, so that a slab's normal points upwards.

    Parameters
    ----------
    frames : sequence of ase.Atoms
        The structures.
    properties : mapping, optional
        Values for each structure by name, as an array of length ``len(frames)`` or as
        chemiscope's own ``{"target": …, "values": …, "units": …, "description": …}``.
    mode : {"default", "structure"}
        Map beside structures, or structures only.
    name : str
        Title of the data set, and the picture's description.
    x, y, color : str, optional
        Properties on the axes and as colour of the map; by default the first three.
    symbol : str, optional
        Property of text, such as the split, that chooses the marker.

    Returns
    -------
    Explorer
        Make it the last value of a cell.

    Raises
    ------
    HpoptError
        For no frames, an unknown mode or property, or a property of another length.
    """
    import chemiscope

    frames = list(frames)
    given = {key: _property(key, value, len(frames)) for key, value in (properties or {}).items()}
    if not frames:
        raise HpoptError("structure_explorer: frames: there are none")
    if mode not in ("default", "structure"):
        raise HpoptError(
            f"structure_explorer: mode: {mode!r} is unknown", remedy="use 'default' or 'structure'"
        )
    for axis in (x, y, color, symbol):
        if axis is not None and axis not in given:
            raise HpoptError(
                f"structure_explorer: {axis!r} is not a property", remedy=f"there are {', '.join(given)}"
            )
    numeric = [key for key, entry in given.items() if np.asarray(entry["values"]).dtype.kind in "fiu"]
    if mode == "default" and len(numeric) < 2:
        raise HpoptError(
            "structure_explorer: a map needs two numeric properties", remedy="use mode='structure'"
        )
    first, second, third = [*numeric, "", "", ""][:3]
    axes = {"x": x or first, "y": y or second, "color": color or third, "symbol": symbol or ""}
    dataset = chemiscope.create_input(
        structures=[_turned(frame) for frame in frames],
        properties=given,
        metadata={"name": name},
        settings=_settings(mode, axes, frames),
    )
    description = f"{name}: {len(frames)} structure{'s' if len(frames) > 1 else ''}"
    return Explorer(dataset, mode=mode, png=_picture(frames, given, mode, axes), description=description)


def plotly_figure(figure: Any, *, fallback: Any = None, png: str | bytes | None = None, alt: str = "") -> Any:
    """Give a Plotly figure a still picture for browsers without scripts, for GitHub and for print.

    Parameters
    ----------
    figure : plotly.graph_objects.Figure
    fallback : matplotlib.figure.Figure, optional
        The same data, drawn with matplotlib.
    png : str or bytes, optional
        A PNG file's content, or its base64 text, in place of `fallback`.
    alt : str
        Description for readers who do not see it; by default the figure's title.

    Returns
    -------
    PlotlyFigure or plotly.graph_objects.Figure
        The figure itself when neither `fallback` nor `png` is given.
    """
    if fallback is not None:
        png = _png(fallback)
    if png is None:
        return figure
    text = base64.b64encode(png).decode() if isinstance(png, bytes) else png
    return PlotlyFigure(figure, png=text, alt=alt or figure.layout.title.text or "interactive figure")


def _property(name: str, value: Any, count: int) -> dict[str, Any]:
    entry = dict(value) if isinstance(value, Mapping) else {"values": value}
    entry.setdefault("target", "structure")
    values = np.asarray(entry["values"])
    entry["values"] = values.tolist() if values.dtype.kind in "USO" else values
    if entry["target"] == "structure" and len(values) != count:
        raise HpoptError(
            f"structure_explorer: property {name!r} has {len(values)} values for {count} structures"
        )
    return entry


def _turned(frame: Any) -> Any:
    """A copy as the viewer shall show it; chemiscope has no setting for the direction of view."""
    if not frame.pbc.any():
        return frame
    turned = frame.copy()
    for angle, axis in _SIDE_VIEW:
        turned.rotate(angle, axis, rotate_cell=True)
    return turned


def _settings(mode: str, axes: Mapping[str, str], frames: Sequence[Any]) -> dict[str, Any]:
    periodic = bool(frames[0].pbc.any())
    structure: dict[str, Any] = {
        "unitCell": periodic,
        "spaceFilling": periodic,
        "bonds": not periodic,
        "keepOrientation": True,
    }
    settings: dict[str, Any] = {"structure": [structure]}
    if mode == "default":
        settings["map"] = {"x": {"property": axes["x"]}, "y": {"property": axes["y"]}, "palette": "viridis"}
        if axes["color"]:
            settings["map"]["color"] = {"property": axes["color"]}
        settings["map"]["symbol"] = axes["symbol"]
    return settings


def _picture(frames: Sequence[Any], given: Mapping[str, Any], mode: str, axes: Mapping[str, str]) -> str:
    """A still picture as base64 PNG: the map when there is one, and the first structure."""
    from ase.visualize.plot import plot_atoms
    from matplotlib.figure import Figure

    figure = Figure(figsize=(8.0, 3.6) if mode == "default" else (4.5, 3.6), layout="constrained")
    if mode == "default":
        left, right = figure.subplots(1, 2, width_ratios=(1.3, 1))
        color = np.asarray(given[axes["color"]]["values"], dtype=float) if axes["color"] else None
        mapped = {} if color is None else {"c": color, "cmap": "viridis"}
        points = left.scatter(given[axes["x"]]["values"], given[axes["y"]]["values"], s=12, **mapped)
        left.set_xlabel(_label(axes["x"], given))
        left.set_ylabel(_label(axes["y"], given))
        if color is not None:
            figure.colorbar(points, ax=left, label=_label(axes["color"], given))
    else:
        right = figure.subplots()
    plot_atoms(frames[0], right, rotation="-75x,15y,0z")
    right.set_axis_off()
    return _png(figure)


def _label(name: str, given: Mapping[str, Any]) -> str:
    units = given[name].get("units")
    return f"{name} ({units})" if units else name


def _png(figure: Any) -> str:
    buffer = io.BytesIO()
    figure.savefig(buffer, format="png", dpi=_PNG_DPI)
    return base64.b64encode(buffer.getvalue()).decode()
