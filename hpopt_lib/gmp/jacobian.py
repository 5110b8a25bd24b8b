"""All derivatives of the features of one structure with respect to its positions, by a compiled loop.

For few atoms this is the quickest way to train on forces: the numbers are computed once, and each step of the
training multiplies them with the gradient of the network.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from hpopt_lib.gmp.densities import require_elements
from hpopt_lib.gmp.differentiable import _evaluate
from hpopt_lib.gmp.numba_backend import NumbaBackend, _patiently
from hpopt_lib.gmp.numba_blocks import BLOCK, block_size, block_space, geometry, interpolate_both, spread
from hpopt_lib.gmp.numba_grid import neighbors_of
from hpopt_lib.gmp.numba_simd import compiled

if TYPE_CHECKING:
    from hpopt_lib.gmp.features import GMPFeaturizer


def feature_jacobian(
    featurizer: GMPFeaturizer, positions: np.ndarray, numbers: np.ndarray, cell: np.ndarray, pbc: Any
) -> np.ndarray:
    """Derivatives of all features of one structure with respect to all positions.

    Parameters
    ----------
    featurizer : GMPFeaturizer
        Its settings and densities count; the kernels are always the compiled ones.
    positions, numbers, cell, pbc
        As in :meth:`GMPFeaturizer.features_torch`, as arrays.

    Returns
    -------
    numpy.ndarray, shape (n_atoms, n_atoms, 3, num_features)
        ``[i, j, a, f]`` is the derivative of feature `f` of atom `i` with respect to coordinate `a` of atom
        `j` and all its images, in the unit of the feature per Å. A norm of zero has the derivative zero.
    """
    require_elements(featurizer._densities, np.unique(numbers))
    backend: NumbaBackend = featurizer.numba_backend()
    structure = backend.structure(positions, numbers, cell, pbc)
    _, state = _evaluate(backend, structure)
    weighted = backend.spread(state.inverse, structure.tables) * state.moments
    n, width = structure.n_atoms, backend.settings.max_order + 1
    wide = np.zeros((n, n, 3, width * structure.tables.padded))
    _patiently(_jacobian, structure.grid, structure.tables, backend.basis, weighted, wide)
    columns = wide.reshape(n, n, 3, width, structure.tables.padded)[..., : structure.tables.n_sigmas]
    return columns.reshape(n, n, 3, -1)


@compiled
def _jacobian(grid, tables, basis, weighted, result):
    """result[i, j, a] += derivatives of the norms of atom i, for each neighbour j; minus the same for i."""
    sources, block = np.empty(grid.most + 1, np.int64), block_space(tables, basis)
    moved = np.zeros((3, BLOCK), tables.values.dtype)
    along = np.zeros(BLOCK, tables.values.dtype)
    turned, stretched = np.zeros_like(block[3]), np.zeros_like(block[3])
    padded, columns = tables.padded, (basis.max_order + 1) * tables.padded
    slope = np.empty(columns, tables.values.dtype)
    for i in range(len(weighted)):
        count = neighbors_of(i, grid, tables.squared_cutoff, sources)
        size = block_size(count)
        for low in range(0, count, size):
            n = min(size, count - low)
            geometry(i, grid, tables, basis, sources[low:], n, block, True)
            interpolate_both(tables, block, n)
            for a in range(3):
                moved[:] = 0
                moved[a] = 1
                for e in range(n):
                    along[e] = block[1][4 + a, e]
                spread(basis, moved, along, block[3], n, turned, stretched)
                for e in range(n):
                    j, first = grid.atom[sources[low + e]], e * columns
                    slope[:] = 0
                    for order in range(basis.max_order + 1):
                        base = order * padded
                        for q in range(basis.row[order], basis.row[order] + 2 * order + 1):
                            turn, stretch, row = turned[q, e], stretched[q, e], q * padded
                            for s in range(padded):
                                place = first + base + s
                                change = turn * block[4][place] + stretch * block[5][place]
                                slope[base + s] += weighted[i, row + s] * change
                    for c in range(columns):
                        result[i, j, a, c] += slope[c]
                        result[i, i, a, c] -= slope[c]
