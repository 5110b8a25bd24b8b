"""The steps of the kernels for one block of neighbours of one atom.

Arrays of a block hold one row for each quantity and one column for each neighbour. Rows of the harmonics of
odd order are followed by a row of zeros, so that rows can be treated by fours (`hpopt_lib.gmp.numba_layout`).
"""

from __future__ import annotations

import math

import numpy as np

from hpopt_lib.gmp.numba_simd import compiled, load, plus, splat, store, store_totals, times, times_plus

BLOCK = 16  # neighbours treated together; their radial parts stay in the first-level cache


@compiled
def block_size(count):
    """Blocks of about the same size, all but the last of whole vectors."""
    blocks = (count + BLOCK - 1) // BLOCK
    return ((count + blocks - 1) // blocks + 7) // 8 * 8


@compiled
def block_space(tables, basis):
    dtype, columns = tables.values.dtype, (basis.max_order + 1) * tables.padded
    return (
        np.empty(BLOCK, np.int64),  # where the first node's values begin
        np.empty((9, BLOCK)),  # x, y, z, r^2, unit vector, place between the nodes, nodes per Å
        np.empty((12, BLOCK), dtype),  # weights of the node values, and of the derivative
        np.zeros((basis.n_rows, BLOCK), dtype),  # harmonics
        _aligned(BLOCK * columns, dtype),  # radial parts
        _aligned(BLOCK * columns, dtype),  # their derivatives
    )


@compiled
def _aligned(size, dtype):
    """Zeros that begin at a cache line, so that no vector lies in two of them."""
    space = np.zeros(size + 16, dtype)
    skip = (-space.ctypes.data % 64) // space.itemsize
    return space[skip : skip + size]


@compiled
def geometry(i, grid, tables, basis, sources, n, block, derivatives):
    """What depends on the vectors alone; returns the smallest squared distance that is not 0."""
    begin, geometry, weights, harmonics = block[0], block[1], block[2], block[3]
    x0, y0, z0, nearest = grid.home[i, 0], grid.home[i, 1], grid.home[i, 2], tables.squared_cutoff
    for e in range(n):
        k = sources[e]
        x, y, z, kind = grid.x[k] - x0, grid.y[k] - y0, grid.z[k] - z0, grid.kind[k]
        squared = x * x + y * y + z * z
        r = math.sqrt(squared)
        if 0.0 < squared < nearest:
            nearest = squared
        inverse = 1.0 / (r + tables.bend[kind])
        scaled = r * tables.scale[kind] * inverse
        interval = min(int(scaled), tables.last_interval[kind])
        begin[e] = tables.begin[kind] + interval * tables.node_size
        geometry[0, e], geometry[1, e], geometry[2, e], geometry[3, e] = x, y, z, squared
        geometry[7, e] = scaled - interval
        if derivatives:
            geometry[8, e] = tables.scale[kind] * tables.bend[kind] * inverse * inverse
            inverse = 1.0 / r if r > 0.0 else 0.0
            geometry[4, e], geometry[5, e], geometry[6, e] = x * inverse, y * inverse, z * inverse
    for e in range(n):
        t = geometry[7, e]
        cube = t * t * t
        right = cube * (10.0 + t * (6.0 * t - 15.0))
        weights[0, e] = 1.0 - right
        weights[1, e] = t + cube * (t * (8.0 - 3.0 * t) - 6.0)
        weights[2, e] = 0.5 * t * t + cube * (t * (1.5 - 0.5 * t) - 1.5)
        weights[3, e] = right
        weights[4, e] = cube * (t * (7.0 - 3.0 * t) - 4.0)
        weights[5, e] = cube * (0.5 + t * (0.5 * t - 1.0))
    if derivatives:
        _slopes(geometry, weights, n)
    for e in range(n):
        harmonics[0, e] = 1.0
    for step in range(len(basis.step_row)):
        row, left, right_row = basis.step_row[step], basis.step_left[step], basis.step_right[step]
        u, v, a, b = basis.step_u[step], basis.step_v[step], basis.step_a[step], basis.step_b[step]
        for e in range(n):
            harmonics[row, e] = (
                a * geometry[u, e] * harmonics[left, e] + b * geometry[v, e] * harmonics[right_row, e]
            )
    return nearest


@compiled
def _slopes(geometry, weights, n):
    for e in range(n):
        t, scale = geometry[7, e], geometry[8, e]
        square = t * t
        right = 30.0 * square * (1.0 - t) * (1.0 - t)
        weights[6, e] = -right * scale
        weights[7, e] = (1.0 + square * (t * (32.0 - 15.0 * t) - 18.0)) * scale
        weights[8, e] = (t + square * (t * (6.0 - 2.5 * t) - 4.5)) * scale
        weights[9, e] = right * scale
        weights[10, e] = square * (t * (28.0 - 15.0 * t) - 12.0) * scale
        weights[11, e] = square * (t * (2.5 * t - 4.0) + 1.5) * scale


@compiled
def interpolate(tables, block, n):
    begin, weights, radial, values = block[0], block[2], block[4], tables.values
    step, columns = tables.width, tables.node_size // 3
    for e in range(n):
        low = begin[e]
        w0, w1, w2 = splat(weights[0, e]), splat(weights[1, e]), splat(weights[2, e])
        w3, w4, w5 = splat(weights[3, e]), splat(weights[4, e]), splat(weights[5, e])
        for c in range(0, columns, step):
            p = low + c
            left = times(w0, load(values, p))
            right = times(w3, load(values, p + 3 * columns))
            left = times_plus(w1, load(values, p + columns), left)
            right = times_plus(w4, load(values, p + 4 * columns), right)
            left = times_plus(w2, load(values, p + 2 * columns), left)
            right = times_plus(w5, load(values, p + 5 * columns), right)
            store(radial, e * columns + c, plus(left, right))


@compiled
def interpolate_both(tables, block, n):
    begin, w, values = block[0], block[2], tables.values
    step, columns = tables.width, tables.node_size // 3
    for e in range(n):
        low = begin[e]
        for c in range(0, columns, step):
            p = low + c
            a, b = load(values, p), load(values, p + columns)
            radial = times_plus(splat(w[1, e]), b, times(splat(w[0, e]), a))
            slope = times_plus(splat(w[7, e]), b, times(splat(w[6, e]), a))
            a, b = load(values, p + 2 * columns), load(values, p + 3 * columns)
            radial = times_plus(splat(w[3, e]), b, times_plus(splat(w[2, e]), a, radial))
            slope = times_plus(splat(w[9, e]), b, times_plus(splat(w[8, e]), a, slope))
            a, b = load(values, p + 4 * columns), load(values, p + 5 * columns)
            store(
                block[4],
                e * columns + c,
                times_plus(splat(w[5, e]), b, times_plus(splat(w[4, e]), a, radial)),
            )
            store(
                block[5],
                e * columns + c,
                times_plus(splat(w[11, e]), b, times_plus(splat(w[10, e]), a, slope)),
            )


@compiled
def accumulate(basis, padded, harmonics, radial, n, result):
    """result[q, s] += sum over the block of harmonics[q] * radial[order of q, s]."""
    step, columns = basis.width, (basis.max_order + 1) * padded
    for order in range(basis.max_order + 1):
        first = basis.row[order]
        end = first + 2 * order + 1
        for s in range(order * padded, (order + 1) * padded, step):
            q = first
            place = first * padded + s - order * padded
            while end - q > 1:  # four rows share each load; the fourth of an odd order is padding
                a, b = load(result, place), load(result, place + padded)
                c, d = load(result, place + 2 * padded), load(result, place + 3 * padded)
                for e in range(n):
                    r = load(radial, e * columns + s)
                    a = times_plus(splat(harmonics[q, e]), r, a)
                    b = times_plus(splat(harmonics[q + 1, e]), r, b)
                    c = times_plus(splat(harmonics[q + 2, e]), r, c)
                    d = times_plus(splat(harmonics[q + 3, e]), r, d)
                store(result, place, a)
                store(result, place + padded, b)
                store(result, place + 2 * padded, c)
                store(result, place + 3 * padded, d)
                q += 4
                place += 4 * padded
            if end - q == 1:
                a = load(result, place)
                b = times(a, splat(harmonics.dtype.type(0)))
                for e in range(0, n - 1, 2):
                    a = times_plus(splat(harmonics[q, e]), load(radial, e * columns + s), a)
                    b = times_plus(splat(harmonics[q, e + 1]), load(radial, (e + 1) * columns + s), b)
                if n % 2:
                    a = times_plus(splat(harmonics[q, n - 1]), load(radial, (n - 1) * columns + s), a)
                store(result, place, plus(a, b))


@compiled
def project(basis, padded, block, gradient, n, toward, along):
    """toward[q] = sum_s gradient[q, s] R_s; along = sum_qs gradient[q, s] Y_q dR_s/dr, for each neighbour."""
    step, columns = basis.width, (basis.max_order + 1) * padded
    harmonics, radial, slopes = block[3], block[4], block[5]
    flat = toward.reshape(-1)
    for e in range(0, n, 4):  # what lies beyond n is computed and never used
        none = splat(harmonics.dtype.type(0))
        z0, z1, z2, z3 = none, none, none, none
        for order in range(basis.max_order + 1):
            base = e * columns + order * padded
            for q in range(basis.row[order], basis.row[order] + 2 * order + 1):
                t0, t1, t2, t3 = none, none, none, none
                p0, p1, p2, p3 = none, none, none, none
                for s in range(0, padded, step):
                    g = load(gradient, q * padded + s)
                    place = base + s
                    t0 = times_plus(g, load(radial, place), t0)
                    p0 = times_plus(g, load(slopes, place), p0)
                    t1 = times_plus(g, load(radial, place + columns), t1)
                    p1 = times_plus(g, load(slopes, place + columns), p1)
                    t2 = times_plus(g, load(radial, place + 2 * columns), t2)
                    p2 = times_plus(g, load(slopes, place + 2 * columns), p2)
                    t3 = times_plus(g, load(radial, place + 3 * columns), t3)
                    p3 = times_plus(g, load(slopes, place + 3 * columns), p3)
                store_totals(flat, q * BLOCK + e, t0, t1, t2, t3)
                z0 = times_plus(splat(harmonics[q, e]), p0, z0)
                z1 = times_plus(splat(harmonics[q, e + 1]), p1, z1)
                z2 = times_plus(splat(harmonics[q, e + 2]), p2, z2)
                z3 = times_plus(splat(harmonics[q, e + 3]), p3, z3)
        store_totals(along, e, z0, z1, z2, z3)


@compiled
def turn(basis, toward, harmonics, n, force):
    """force[axis] = sum_q toward[q] * gradient of harmonic q along the axis, for each neighbour."""
    out, into, left, right = basis.slope_row, basis.slope_of, toward.reshape(-1), harmonics.reshape(-1)
    result, factors = force.reshape(-1), basis.slope_factor
    for axis in range(3):
        for e in range(0, n, basis.width):
            value = splat(harmonics.dtype.type(0))
            for term in range(basis.slope_start[axis], basis.slope_start[axis + 1]):
                product = times(load(left, out[term] * BLOCK + e), load(right, into[term] * BLOCK + e))
                value = times_plus(product, splat(harmonics.dtype.type(factors[term])), value)
            store(result, axis * BLOCK + e, value)


@compiled
def spread(basis, moved, along, harmonics, n, turned, stretched):
    """turned[q] = movement * gradient of harmonic q; stretched[q] = movement along the pair * harmonic q."""
    out, into, factors = basis.slope_row, basis.slope_of, basis.slope_factor
    source, shift = harmonics.reshape(-1), moved.reshape(-1)
    turn, stretch = turned.reshape(-1), stretched.reshape(-1)
    for e in range(0, n, basis.width):
        line = load(along, e)
        for q in range(basis.n_rows):
            store(stretch, q * BLOCK + e, times(line, load(source, q * BLOCK + e)))
            store(turn, q * BLOCK + e, splat(harmonics.dtype.type(0)))
        for axis in range(3):
            step = load(shift, axis * BLOCK + e)
            for term in range(basis.slope_start[axis], basis.slope_start[axis + 1]):
                place = out[term] * BLOCK + e
                product = times(step, load(source, into[term] * BLOCK + e))
                factor = splat(harmonics.dtype.type(factors[term]))
                store(turn, place, times_plus(product, factor, load(turn, place)))
