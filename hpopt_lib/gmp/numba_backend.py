"""The compiled kernels for whole structures."""

from __future__ import annotations

import threading
from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from itertools import pairwise
from typing import Any, NamedTuple

import numpy as np

from hpopt_lib.gmp.densities import ElementDensity
from hpopt_lib.gmp.neighbors import check_structure, complete_cell
from hpopt_lib.gmp.numba_grid import Grid, make_grid
from hpopt_lib.gmp.numba_kernels import moments, pull, push
from hpopt_lib.gmp.numba_layout import Tables, make_basis, make_tables
from hpopt_lib.gmp.numba_simd import WIDTH
from hpopt_lib.gmp.settings import GMPSettings
from hpopt_lib.gmp.tables import RadialTable, tables_of
from hpopt_lib.progress import say

# Starting a thread costs as much as the features of some ten atoms.
_ATOMS_PER_THREAD = 64
_PATIENCE_S = 2.0


class Structure(NamedTuple):
    """One structure, ready for the kernels."""

    grid: Grid
    tables: Tables
    n_atoms: int


class NumbaBackend:
    """Features of structures by compiled kernels on radial tables.

    Parameters
    ----------
    settings : GMPSettings
    densities : mapping of int to ElementDensity
        Must hold all elements that occur.
    dtype : {"float64", "float32"}
        Of tables and sums; positions and distances are float64.
    threads : int
        Threads that share the atoms of a structure.
    """

    def __init__(
        self,
        settings: GMPSettings,
        densities: Mapping[int, ElementDensity],
        *,
        dtype: str = "float64",
        threads: int = 1,
    ) -> None:
        self.settings, self.densities, self.dtype, self.threads = settings, densities, dtype, threads
        self.basis = make_basis(settings.max_order, WIDTH[dtype])
        self._elements: dict[int, RadialTable] = {}
        self._kind = np.full(max(densities, default=0) + 1, -1, dtype=np.int64)
        self._tables: Tables | None = None
        self._pool = ThreadPoolExecutor(threads) if threads > 1 else None

    def structure(self, positions: np.ndarray, numbers: np.ndarray, cell: np.ndarray, pbc: Any) -> Structure:
        """Check one structure and sort its atoms and their images into bins.

        Raises
        ------
        HpoptError
            A position is not finite, or a periodic direction has no lattice vector of its own.
        """
        points, box, periodic = check_structure(positions, cell, pbc)
        tables = self._tables_for(numbers)
        box = complete_cell(box, periodic)
        grid = _patiently(
            make_grid, points, box, np.linalg.inv(box), periodic, self.settings.cutoff, self._kind[numbers]
        )
        return Structure(grid, tables, len(points))

    def knows(self, numbers: np.ndarray) -> bool:
        """Whether all these elements occurred before, so that nothing is left to check or to tabulate."""
        return len(numbers) > 0 and numbers.max() < len(self._kind) and bool((self._kind[numbers] >= 0).all())

    def features(self, structure: Structure, *, keep_moments: bool = False) -> tuple[np.ndarray, np.ndarray]:
        """Features (n_atoms, num_features), and moments (n_atoms, rows * padded sigmas) if they are kept."""
        n, columns = structure.n_atoms, self.basis.n_rows * structure.tables.padded
        out = np.empty((n, self.settings.num_features))
        kept = np.empty((n if keep_moments else 0, columns), dtype=self.dtype)
        self._share(structure, moments, out, kept)
        return out, kept

    def pull(self, structure: Structure, gradient: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Gradient with respect to the moments -> with respect to positions (n_atoms, 3) and cell (3, 3)."""
        home = np.empty((structure.n_atoms, 3))
        sources = [np.zeros((len(structure.grid.x), 3)) for _ in _ranges(structure.n_atoms, self.threads)]
        self._share(structure, pull, np.ascontiguousarray(gradient, dtype=self.dtype), home, each=sources)
        source, grid = np.sum(sources, axis=0), structure.grid
        for axis in range(3):
            home[:, axis] += np.bincount(grid.atom, source[:, axis], minlength=structure.n_atoms)
        centre = home.copy()
        for axis in range(3):
            centre[:, axis] -= np.bincount(grid.atom, source[:, axis], minlength=structure.n_atoms)
        # a source lies at position + image @ cell, a centre at position - moved @ cell
        return home, grid.image.T @ source - grid.moved.T @ centre

    def push(self, structure: Structure, positions: np.ndarray, cell: np.ndarray) -> np.ndarray:
        """Change of positions (n_atoms, 3) and cell (3, 3) -> change of the moments."""
        grid = structure.grid
        home = positions - grid.moved @ cell
        source = positions[grid.atom] + grid.image @ cell
        change = np.empty((structure.n_atoms, self.basis.n_rows * structure.tables.padded), dtype=self.dtype)
        self._share(structure, push, home, source, change)
        return change

    def spread(self, values: np.ndarray, tables: Tables) -> np.ndarray:
        """Columns of features (n_atoms, num_features) -> the rows of the moments that they belong to."""
        n_orders = self.settings.max_order + 1
        wide = np.zeros((len(values), n_orders, tables.padded))
        wide[:, :, : tables.n_sigmas] = values.reshape(len(values), n_orders, -1)
        order_of = np.searchsorted(self.basis.row, np.arange(self.basis.n_rows), side="right") - 1
        return wide[:, order_of].reshape(len(values), -1)

    def gather(self, products: np.ndarray, tables: Tables) -> np.ndarray:
        """Sums of rows of the moments, (n_atoms, rows * padded), over the components of each feature."""
        wide = products.reshape(len(products), self.basis.n_rows, tables.padded)[:, :, : tables.n_sigmas]
        return np.add.reduceat(wide, self.basis.row, axis=1, dtype=float).reshape(len(products), -1)

    def _share(self, structure: Structure, kernel: Any, *arrays: Any, each: list[Any] | None = None) -> None:
        ranges = _ranges(structure.n_atoms, self.threads)
        common = (structure.grid, structure.tables, self.basis)
        calls = [
            (*common, start, stop, *arrays, *([each[k]] if each else []))
            for k, (start, stop) in enumerate(ranges)
        ]
        if len(calls) == 1 or self._pool is None or not kernel.signatures:
            for call in calls:
                _patiently(kernel, *call)
        else:
            for done in [self._pool.submit(kernel, *call) for call in calls]:
                done.result()

    def _tables_for(self, numbers: np.ndarray) -> Tables:
        if self._tables is None or not self.knows(numbers):
            missing = sorted({int(z) for z in np.unique(numbers)} - self._elements.keys())
            self._elements.update(tables_of(self.densities, missing, self.settings, self.dtype))
            self._kind[list(self._elements)] = np.arange(len(self._elements))
            self._tables = make_tables(list(self._elements.values()), self.settings, self.dtype)
        return self._tables


def _ranges(n_atoms: int, threads: int) -> list[tuple[int, int]]:
    parts = max(1, min(threads, n_atoms // _ATOMS_PER_THREAD))
    return list(pairwise(n_atoms * part // parts for part in range(parts + 1)))


def _patiently(kernel: Callable[..., Any], *args: Any) -> Any:
    """Call a kernel; when its first call has to compile, say why it takes so long."""
    if kernel.signatures:  # type: ignore[attr-defined]
        return kernel(*args)
    notice = threading.Timer(_PATIENCE_S, say, ["compiling the fast GMP kernels (once on this machine) ..."])
    notice.daemon = True
    notice.start()
    try:
        return kernel(*args)
    finally:
        notice.cancel()
