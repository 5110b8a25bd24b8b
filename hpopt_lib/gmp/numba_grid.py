"""Neighbours inside compiled kernels: a grid of bins that holds every atom and its periodic images.

No list of pairs is stored: each kernel looks the neighbours of an atom up when it comes to that atom.
"""

from __future__ import annotations

import math
from typing import NamedTuple

import numpy as np

from hpopt_lib.gmp.numba_simd import compiled


class Grid(NamedTuple):
    """Atoms at home in the cell (centres) and everything within the cutoff around them (sources).

    Attributes
    ----------
    home : numpy.ndarray, shape (n_atoms, 3)
        Positions moved into the cell along periodic directions, in Å.
    moved : numpy.ndarray, shape (n_atoms, 3)
        Cell vectors subtracted for that; a position is ``home + moved @ cell``.
    bins : numpy.ndarray, shape (n_atoms, 3)
        Bin of each centre.
    shape : numpy.ndarray, shape (3,)
        Number of bins along each direction.
    starts : numpy.ndarray, shape (n_bins + 1,)
        First source of each bin.
    x, y, z : numpy.ndarray, shape (n_sources,)
        Positions of the sources, sorted by bin.
    atom, kind : numpy.ndarray, shape (n_sources,)
        The atom of each source, and the row of its element in the tables.
    image : numpy.ndarray, shape (n_sources, 3)
        A source lies at ``position + image @ cell``.
    most : int
        Upper bound of the sources in the bins around one centre.
    """

    home: np.ndarray
    moved: np.ndarray
    bins: np.ndarray
    shape: np.ndarray
    starts: np.ndarray
    x: np.ndarray
    y: np.ndarray
    z: np.ndarray
    atom: np.ndarray
    kind: np.ndarray
    image: np.ndarray
    most: int


@compiled
def make_grid(positions, cell, inverse, periodic, cutoff, kinds):
    """Bins of the atoms and of their images within `cutoff` of any atom.

    Parameters
    ----------
    positions : array, shape (n_atoms, 3)
    cell, inverse : array, shape (3, 3)
        Lattice vectors as rows, complete also where not periodic, and the inverse matrix.
    periodic : array of bool, shape (3,)
    cutoff : float
    kinds : array of int64, shape (n_atoms,)
        Row of each atom's element in the tables.
    """
    n = positions.shape[0]
    reach, low, high = np.empty(3), np.full(3, np.inf), np.full(3, -np.inf)
    scaled, home, moved = np.empty((n, 3)), np.empty((n, 3)), np.zeros((n, 3), np.int64)
    for a in range(3):
        reach[a] = (
            cutoff * math.sqrt(inverse[0, a] ** 2 + inverse[1, a] ** 2 + inverse[2, a] ** 2) * (1 + 1e-9)
        )
    for i in range(n):
        for a in range(3):
            s = 0.0
            for b in range(3):
                s += positions[i, b] * inverse[b, a]
            if periodic[a]:
                moved[i, a] = math.floor(s)
                s -= moved[i, a]
            scaled[i, a] = s
            low[a], high[a] = min(low[a], s), max(high[a], s)
        for a in range(3):
            home[i, a] = positions[i, a]
            for b in range(3):
                home[i, a] -= moved[i, b] * cell[b, a]
    first, last = np.zeros((n, 3), np.int64), np.zeros((n, 3), np.int64)
    n_sources = 0
    for j in range(n):
        copies = 1
        for a in range(3):
            if periodic[a]:
                first[j, a] = math.ceil(low[a] - reach[a] - scaled[j, a])
                last[j, a] = math.floor(high[a] + reach[a] - scaled[j, a])
            copies *= last[j, a] - first[j, a] + 1
        n_sources += copies
    shape, width = np.empty(3, np.int64), np.empty(3)
    for a in range(3):
        shape[a] = max(1, int(min((high[a] - low[a]) / reach[a] + 2.0, 1e6)))
    while shape[0] * shape[1] * shape[2] > 4 * n_sources + 64:  # sparse atoms must not cost memory
        shape[np.argmax(shape)] = (shape.max() + 1) // 2
    for a in range(3):
        width[a] = (high[a] - low[a] + 2 * reach[a]) / shape[a]
    place, bin_of = np.empty((n_sources, 3)), np.empty(n_sources, np.int64)
    owner, shift = np.empty(n_sources, np.int64), np.empty((n_sources, 3), np.int64)
    k = 0
    for j in range(n):
        for p in range(first[j, 0], last[j, 0] + 1):
            for q in range(first[j, 1], last[j, 1] + 1):
                for r in range(first[j, 2], last[j, 2] + 1):
                    shift[k, 0], shift[k, 1], shift[k, 2] = p, q, r
                    index = 0
                    for a in range(3):
                        place[k, a] = home[j, a] + p * cell[0, a] + q * cell[1, a] + r * cell[2, a]
                        index = index * shape[a] + _bin(
                            scaled[j, a] + shift[k, a], low[a], reach[a], width[a], shape[a]
                        )
                    bin_of[k], owner[k] = index, j
                    k += 1
    starts = np.zeros(shape[0] * shape[1] * shape[2] + 1, np.int64)
    for k in range(n_sources):
        starts[bin_of[k] + 1] += 1
    for b in range(len(starts) - 1):
        starts[b + 1] += starts[b]
    x, y, z = np.empty(n_sources), np.empty(n_sources), np.empty(n_sources)
    atom, kind, image = np.empty(n_sources, np.int64), np.empty(n_sources, np.int64), np.empty((n_sources, 3))
    free = starts[:-1].copy()
    for k in range(n_sources):
        to = free[bin_of[k]]
        free[bin_of[k]] += 1
        x[to], y[to], z[to] = place[k, 0], place[k, 1], place[k, 2]
        atom[to], kind[to] = owner[k], kinds[owner[k]]
        for a in range(3):
            image[to, a] = shift[k, a] - moved[owner[k], a]
    bins = np.empty((n, 3), np.int64)
    most = 0
    for i in range(n):
        for a in range(3):
            bins[i, a] = _bin(scaled[i, a], low[a], reach[a], width[a], shape[a])
        around = 0
        for p in range(max(0, bins[i, 0] - 1), min(shape[0], bins[i, 0] + 2)):
            for q in range(max(0, bins[i, 1] - 1), min(shape[1], bins[i, 1] + 2)):
                row = (p * shape[1] + q) * shape[2]
                around += starts[row + min(shape[2], bins[i, 2] + 2)] - starts[row + max(0, bins[i, 2] - 1)]
        most = max(most, around)
    return Grid(home, moved, bins, shape, starts, x, y, z, atom, kind, image, most)


@compiled
def _bin(scaled, low, reach, width, count):
    return max(0, min(count - 1, int((scaled - low + reach) / width)))


@compiled
def neighbors_of(i, grid, squared_cutoff, sources):
    """Sources within the cutoff of centre `i`, itself included; returns their number.

    `sources` must hold ``grid.most + 1`` elements.
    """
    n, bins, shape, starts = 0, grid.bins, grid.shape, grid.starts
    gx, gy, gz = grid.x, grid.y, grid.z
    x, y, z = grid.home[i, 0], grid.home[i, 1], grid.home[i, 2]
    for p in range(max(0, bins[i, 0] - 1), min(shape[0], bins[i, 0] + 2)):
        for q in range(max(0, bins[i, 1] - 1), min(shape[1], bins[i, 1] + 2)):
            row = (p * shape[1] + q) * shape[2]
            low = starts[row + max(0, bins[i, 2] - 1)]
            high = starts[row + min(shape[2], bins[i, 2] + 2)]
            for k in range(low, high):
                dx, dy, dz = gx[k] - x, gy[k] - y, gz[k] - z
                # Written always, kept only if near: a branch would be mispredicted most of the time.
                sources[n] = k
                n += int(dx * dx + dy * dy + dz * dz < squared_cutoff)
    return n
