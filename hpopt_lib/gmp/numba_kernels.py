"""The features and their two linear maps as compiled loops over the atoms of one structure.

``moments`` gives features F and moments M; ``pull`` takes a gradient with respect to the moments back to the
atoms; ``push`` carries a movement of the atoms forward to the moments. Nothing else is needed for forces,
stress and the training on forces. Radial parts come from tables (`hpopt_lib.gmp.tables`); sums are in the
type of the tables.
"""

from __future__ import annotations

import math

import numpy as np

from hpopt_lib.gmp.numba_blocks import (
    BLOCK,
    accumulate,
    block_size,
    block_space,
    geometry,
    interpolate,
    interpolate_both,
    project,
    spread,
    turn,
)
from hpopt_lib.gmp.numba_grid import neighbors_of
from hpopt_lib.gmp.numba_simd import compiled


@compiled
def moments(grid, tables, basis, start, stop, features, moments):
    """Features of atoms start..stop-1 into `features`, their moments into `moments` unless that is empty."""
    sources, block = np.empty(grid.most + 1, np.int64), block_space(tables, basis)
    one = np.empty(basis.n_rows * tables.padded, tables.values.dtype)
    padded, sizes = tables.padded, np.empty((2, basis.max_order + 1, tables.n_sigmas))
    for i in range(start, stop):
        count = neighbors_of(i, grid, tables.squared_cutoff, sources)
        one[:] = 0
        nearest = tables.squared_cutoff
        size = block_size(count)
        for low in range(0, count, size):
            n = min(size, count - low)
            nearest = min(nearest, geometry(i, grid, tables, basis, sources[low:], n, block, False))
            interpolate(tables, block, n)
            accumulate(basis, padded, block[3], block[4], n, one)
        _norms(i, grid, tables, basis, sources[:count], nearest, block, one, sizes, features[i])
        if len(moments):
            moments[i] = one


@compiled
def pull(grid, tables, basis, start, stop, gradient, home_gradient, source_gradient):
    """Gradient with respect to the moments of atoms start..stop-1 -> with respect to centres and sources.

    Adds to `source_gradient`, (n_sources, 3); writes `home_gradient`, (n_atoms, 3).
    """
    sources, block = np.empty(grid.most + 1, np.int64), block_space(tables, basis)
    toward = np.zeros((basis.n_rows, BLOCK), tables.values.dtype)
    along = np.zeros(BLOCK, tables.values.dtype)
    force = np.zeros((3, BLOCK), tables.values.dtype)
    for i in range(start, stop):
        count = neighbors_of(i, grid, tables.squared_cutoff, sources)
        home_gradient[i] = 0
        size = block_size(count)
        for low in range(0, count, size):
            n = min(size, count - low)
            geometry(i, grid, tables, basis, sources[low:], n, block, True)
            interpolate_both(tables, block, n)
            project(basis, tables.padded, block, gradient[i], n, toward, along)
            turn(basis, toward, block[3], n, force)
            for e in range(n):
                k = sources[low + e]
                for a in range(3):
                    pulled = force[a, e] + along[e] * block[1][4 + a, e]
                    source_gradient[k, a] += pulled
                    home_gradient[i, a] -= pulled


@compiled
def push(grid, tables, basis, start, stop, home_movement, source_movement, change):
    """Movement of centres and sources -> change of the moments of atoms start..stop-1."""
    sources, block = np.empty(grid.most + 1, np.int64), block_space(tables, basis)
    moved = np.zeros((3, BLOCK), tables.values.dtype)
    along = np.zeros(BLOCK, tables.values.dtype)
    turned, stretched = np.zeros_like(block[3]), np.zeros_like(block[3])
    for i in range(start, stop):
        count = neighbors_of(i, grid, tables.squared_cutoff, sources)
        change[i] = 0
        size = block_size(count)
        for low in range(0, count, size):
            n = min(size, count - low)
            geometry(i, grid, tables, basis, sources[low:], n, block, True)
            interpolate_both(tables, block, n)
            for e in range(n):
                k, sum_ = sources[low + e], 0.0
                for a in range(3):
                    step = source_movement[k, a] - home_movement[i, a]
                    sum_ += step * block[1][4 + a, e]
                    moved[a, e] = step
                along[e] = sum_
            spread(basis, moved, along, block[3], n, turned, stretched)
            accumulate(basis, tables.padded, turned, block[4], n, change[i])
            accumulate(basis, tables.padded, stretched, block[5], n, change[i])


@compiled
def _norms(i, grid, tables, basis, sources, nearest, block, one, sizes, features):
    """Features of one atom from its moments."""
    n_sigmas, padded = tables.n_sigmas, tables.padded
    squares, terms = sizes[0], sizes[1]
    squares[:] = 0
    for order in range(basis.max_order + 1):
        for q in range(basis.row[order], basis.row[order] + 2 * order + 1):
            for s in range(n_sigmas):
                squares[order, s] += float(one[q * padded + s]) ** 2
    # A sum below its own rounding error is zero by symmetry: its value, and worse the direction of its
    # gradient, would be noise. An upper bound of that error is tried first, its true size only if need be.
    bound = tables.bound[int(math.sqrt(nearest) * tables.bounds_per_unit)]
    sized = False
    for order in range(basis.max_order + 1):
        for s in range(n_sigmas):
            above = order == 0 or squares[order, s] > tables.rounding * bound[order, s] * len(sources)
            if not above:
                if not sized:
                    _sizes(i, grid, tables, basis, sources, block, terms)
                    sized = True
                above = squares[order, s] > tables.rounding * terms[order, s]
            features[order * n_sigmas + s] = (
                math.sqrt(squares[order, s] * basis.norm[order]) if above else 0.0
            )


@compiled
def _sizes(i, grid, tables, basis, sources, block, terms):
    """terms[order, s] = sum over the neighbours of R^2 r^(2 order), the scale of rounding errors."""
    columns = (basis.max_order + 1) * tables.padded
    terms[:] = 0
    size = block_size(len(sources))
    for low in range(0, len(sources), size):
        n = min(size, len(sources) - low)
        geometry(i, grid, tables, basis, sources[low:], n, block, False)
        interpolate(tables, block, n)
        for e in range(n):
            power = 1.0
            for order in range(basis.max_order + 1):
                for s in range(tables.n_sigmas):
                    terms[order, s] += power * float(block[4][e * columns + order * tables.padded + s]) ** 2
                power *= block[1][3, e]
