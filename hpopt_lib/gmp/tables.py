"""The radial part of the features as tables: quintic Hermite polynomials between nodes.

A table holds R_l(r) and its first two derivatives, smooth cutoff included, for all orders and sigmas of one
element. The polynomials have two continuous derivatives, so forces from a table conserve energy. Nodes are
equidistant in ``p = scale * r / (r + bend)``: close together where densities are steep, far apart at large
distances, where most neighbours are. Tables are always built in float64 from the exact sums; evaluation may
then be in float32, which the sums themselves, with their large terms of both signs, would not survive.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from hpopt_lib.gmp.densities import ElementDensity
from hpopt_lib.gmp.radial import SWITCH_START
from hpopt_lib.gmp.settings import GMPSettings

#: Largest error of a table relative to the largest value of its column, by type of the evaluation.
TABLE_TOLERANCE = {"float64": 3e-9, "float32": 5e-7}
# No two atoms are closer, in Å (H2: 0.74): what happens below does not count, but for r = 0, which is a node.
_CLOSEST = 0.7
# About where the spacing of the nodes begins to grow, in Å: a third of the nodes of an even spacing.
_BEND = 2.0
_FEWEST, _MOST = 16, 4096


@dataclass(frozen=True, eq=False)
class RadialTable:
    """Nodes of one element, at p = 0, 1, 2, ... with ``p = scale * r / (r + bend)``.

    Attributes
    ----------
    scale, bend : float
        Such that the cutoff and the start of the smooth cutoff are nodes; bend is in Å.
    nodes : numpy.ndarray, shape (n_nodes, 3, n_orders, n_sigmas)
        At each node R_l in e/Å^(3+l) and its first two derivatives with respect to p.
    """

    scale: float
    bend: float
    nodes: np.ndarray

    def radii(self, offset: float = 0.0) -> np.ndarray:
        """Distances (Å) of the nodes, or of the points `offset` behind each node but the last."""
        p = np.arange(len(self.nodes) - bool(offset)) + offset
        return self.bend * p / (self.scale - p)


def radial_table(density: ElementDensity, settings: GMPSettings, *, tolerance: float) -> RadialTable:
    """Tabulate one element, with as few nodes as keep the error below `tolerance`.

    The error of an interval is taken at its middle, times r^l, relative to the largest R_l r^l of the same
    order and sigma at distances that occur between atoms.

    Parameters
    ----------
    density : ElementDensity
    settings : GMPSettings
    tolerance : float
        See :data:`TABLE_TOLERANCE`.
    """
    intervals = max(_FEWEST, math.ceil(12 * settings.cutoff))
    while True:
        table = _tabulate(density, settings, intervals)
        error = _error(density, settings, table)
        if error <= tolerance or intervals >= _MOST:
            return table
        # The error falls with the sixth power of the spacing; the extra twentieth avoids a third round.
        intervals = min(math.ceil(intervals * 1.05 * (error / tolerance) ** (1 / 6)) + 1, _MOST)


def hermite_weights(t: Any) -> list[Any]:
    """Weights of the six node values in a quintic Hermite interval, each shaped as `t`.

    Parameters
    ----------
    t : numpy.ndarray or torch.Tensor
        Place in the interval, 0 to 1. The order of the weights is that of two consecutive nodes.
    """
    cube = t * t * t
    right = cube * (10.0 + t * (6.0 * t - 15.0))
    return [
        1.0 - right,
        t + cube * (-6.0 + t * (8.0 - 3.0 * t)),
        0.5 * t * t + cube * (-1.5 + t * (1.5 - 0.5 * t)),
        right,
        cube * (-4.0 + t * (7.0 - 3.0 * t)),
        cube * (0.5 + t * (0.5 * t - 1.0)),
    ]


def radial_derivatives(density: ElementDensity, settings: GMPSettings, radii: np.ndarray) -> np.ndarray:
    """R_l(r) with the smooth cutoff, and its first two derivatives with respect to r.

    Returns
    -------
    numpy.ndarray, shape (3, n_radii, n_orders, n_sigmas)
    """
    sigmas = np.array(settings.sigmas)
    probe, exponents = 1.0 / (2.0 * sigmas**2), density.exponents[:, None]
    total = probe + exponents
    centre, rates = exponents / total, probe * exponents / total
    amplitudes = density.amplitudes[:, None] * (math.pi / total) ** 1.5 * (2.0 * math.pi * sigmas**2) ** -1.5
    weights = amplitudes * centre ** np.arange(settings.max_order + 1)[:, None, None]
    r = radii[:, None, None]
    gaussians = np.exp(-rates * r * r)
    slope = -2.0 * rates * r
    parts = [gaussians, slope * gaussians, (slope * slope - 2.0 * rates) * gaussians]
    values = np.stack([np.einsum("ngs,lgs->nls", part, weights) for part in parts])
    if not settings.smooth_cutoff:
        return values
    f, df, ddf = (column[:, None, None] for column in _switch(radii, settings.cutoff))
    return np.stack(
        [
            f * values[0],
            f * values[1] + df * values[0],
            f * values[2] + 2.0 * df * values[1] + ddf * values[0],
        ]
    )


def _switch(radii: np.ndarray, cutoff: float) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """`hpopt_lib.gmp.radial.smooth_switch` and its derivatives with respect to the distance."""
    start = (SWITCH_START * cutoff) ** 2
    width = cutoff * cutoff - start
    t = np.clip((radii * radii - start) / width, 0.0, 1.0)
    slope = 2.0 * radii / width
    first = -30.0 * t * t * (1.0 - t) ** 2
    second = -60.0 * t * (1.0 - t) * (1.0 - 2.0 * t)
    value = 1.0 - t**3 * (10.0 + t * (6.0 * t - 15.0))
    return value, first * slope, second * slope**2 + first * 2.0 / width


def _tabulate(density: ElementDensity, settings: GMPSettings, intervals: int) -> RadialTable:
    cutoff, start = settings.cutoff, SWITCH_START * settings.cutoff
    # `before` of the intervals lie before the start of the switch: its third derivative jumps there
    before = round(intervals * start * (cutoff + _BEND) / (cutoff * (start + _BEND)))
    before = min(max(before, math.floor(SWITCH_START * intervals) + 1), intervals - 1)
    bend = start * (intervals - before) / (before - SWITCH_START * intervals)
    scale = intervals * (cutoff + bend) / cutoff
    radii = bend * np.arange(intervals + 1) / (scale - np.arange(intervals + 1))
    values = radial_derivatives(density, settings, radii)
    slope = ((radii + bend) ** 2 / (bend * scale))[:, None, None]
    curvature = (2.0 * (radii + bend) ** 3 / (bend * scale) ** 2)[:, None, None]
    nodes = np.stack([values[0], values[1] * slope, values[2] * slope**2 + values[1] * curvature], axis=1)
    return RadialTable(scale, bend, nodes)


def _error(density: ElementDensity, settings: GMPSettings, table: RadialTable) -> float:
    closest = min(_CLOSEST, 0.5 * settings.cutoff)
    nodes, orders = table.nodes, np.arange(settings.max_order + 1)[:, None]
    radii, middle = table.radii(), table.radii(0.5)
    sizes = np.abs(nodes[:, 0]) * radii[:, None, None] ** orders
    scale = sizes[radii >= closest].max(0)
    scale[0] = np.maximum(scale[0], sizes[0, 0])  # the atom itself counts in order 0
    corners = np.concatenate([nodes[:-1], nodes[1:]], axis=1)
    between = np.einsum("p,npls->nls", np.stack(hermite_weights(np.array(0.5))), corners)
    exact = radial_derivatives(density, settings, middle)[0]
    error = np.abs(between - exact) * middle[:, None, None] ** orders
    return float((error[middle >= closest] / np.where(scale > 0, scale, 1.0)).max(initial=0.0))


def tables_of(
    densities: Mapping[int, ElementDensity], numbers: list[int], settings: GMPSettings, dtype: str
) -> dict[int, RadialTable]:
    """Tables of the elements `numbers` for evaluation in `dtype`."""
    tolerance = TABLE_TOLERANCE[dtype]
    return {z: radial_table(densities[z], settings, tolerance=tolerance) for z in numbers}
