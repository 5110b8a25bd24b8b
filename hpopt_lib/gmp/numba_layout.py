"""Tables and recursions in the form that the compiled kernels read."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np

from hpopt_lib.gmp.harmonics import gradient_terms, recursion_terms
from hpopt_lib.gmp.numba_simd import WIDTH
from hpopt_lib.gmp.settings import GMPSettings
from hpopt_lib.gmp.tables import RadialTable

#: Sums smaller than so many rounding errors of their terms are zero by symmetry.
ROUNDING_ERRORS = {"float64": 256.0, "float32": 8.0}
_BOUNDS_PER_UNIT = 4.0


class Tables(NamedTuple):
    """Radial tables of some elements, end to end; columns of each order are padded to whole vectors."""

    values: np.ndarray
    begin: np.ndarray
    scale: np.ndarray
    bend: np.ndarray
    last_interval: np.ndarray
    bound: np.ndarray
    bounds_per_unit: float
    rounding: float
    squared_cutoff: float
    node_size: int
    n_sigmas: int
    padded: int
    width: int


class Basis(NamedTuple):
    """Recursions for the harmonics; rows of odd orders are followed by one of zeros (4 k rows in total)."""

    max_order: int
    n_rows: int
    width: int
    row: np.ndarray
    norm: np.ndarray
    step_row: np.ndarray
    step_u: np.ndarray
    step_a: np.ndarray
    step_left: np.ndarray
    step_v: np.ndarray
    step_b: np.ndarray
    step_right: np.ndarray
    slope_start: np.ndarray  # first term of each axis
    slope_row: np.ndarray
    slope_of: np.ndarray
    slope_factor: np.ndarray


def order_norms(max_order: int) -> np.ndarray:
    """l! (2l-1)!! for l = 0..max_order."""
    return np.array(
        [math.factorial(n) * math.prod(range(2 * n - 1, 0, -2)) for n in range(max_order + 1)], float
    )


def make_basis(max_order: int, width: int) -> Basis:
    """Recursions up to `max_order` for vectors of `width` elements."""
    orders = np.arange(max_order + 1)
    row = orders**2 + orders // 2  # one row of padding after each odd order below
    order_of = np.repeat(orders, 2 * orders + 1)
    to_row = np.arange(len(order_of)) + order_of // 2
    steps = list(zip(*recursion_terms(max_order))) or [()] * 7
    slopes = list(zip(*sorted(gradient_terms(max_order)))) or [()] * 4

    def whole(values: Any) -> np.ndarray:
        return np.array(values, dtype=np.int64)

    def rows(columns: Any) -> np.ndarray:
        return to_row[whole(columns)]

    return Basis(
        max_order, int(row[-1] + 2 * max_order + 1 + max_order % 2), width, row, order_norms(max_order),
        rows(steps[0]), whole(steps[1]), np.array(steps[2], float), rows(steps[3]), whole(steps[4]),
        np.array(steps[5], float), rows(steps[6]),
        np.searchsorted(whole(slopes[0]), np.arange(4)), rows(slopes[1]), rows(slopes[2]),
        np.array(slopes[3], float),
    )  # fmt: skip


def make_tables(tables: Sequence[RadialTable], settings: GMPSettings, dtype: str) -> Tables:
    """Put the tables of some elements end to end."""
    n_orders, n_sigmas = settings.max_order + 1, len(settings.sigmas)
    width = WIDTH[dtype]
    padded = -(-n_sigmas // width) * width
    n_bounds = int(settings.cutoff * _BOUNDS_PER_UNIT) + 2
    values, bound = [np.zeros(0)], np.zeros((n_bounds, n_orders, n_sigmas))
    for table in tables:
        wide = np.zeros((*table.nodes.shape[:3], padded))
        wide[..., :n_sigmas] = table.nodes
        values.append(wide.reshape(-1))
        radii = table.radii()
        sizes = np.square(table.nodes[:, 0] * radii[:, None, None] ** np.arange(n_orders)[:, None])
        np.maximum.at(bound, (radii * _BOUNDS_PER_UNIT).astype(int), sizes)
    # the largest value from each distance on
    bound = np.maximum.accumulate(bound[::-1])[::-1]
    sizes_of = np.array([len(part) for part in values], dtype=np.int64)
    return Tables(
        values=_aligned(np.concatenate(values), dtype),
        begin=np.cumsum(sizes_of)[:-1],
        scale=np.array([table.scale for table in tables]),
        bend=np.array([table.bend for table in tables]),
        last_interval=np.array([len(table.nodes) - 2 for table in tables], dtype=np.int64),
        bound=bound,
        bounds_per_unit=_BOUNDS_PER_UNIT,
        rounding=float((ROUNDING_ERRORS[dtype] * np.finfo(dtype).eps) ** 2),
        squared_cutoff=settings.cutoff**2,
        node_size=3 * n_orders * padded,
        n_sigmas=n_sigmas,
        padded=padded,
        width=width,
    )


def _aligned(values: np.ndarray, dtype: str) -> np.ndarray:
    """A copy that begins at a cache line, so that no vector lies in two of them."""
    space = np.empty(values.size + 16, dtype=dtype)
    skip = (-space.ctypes.data % 64) // space.itemsize
    space[skip : skip + values.size] = values
    return space[skip : skip + values.size]
