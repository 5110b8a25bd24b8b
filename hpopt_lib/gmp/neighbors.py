"""Pairs of atoms within a cutoff, the atom itself included."""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
import vesin

from hpopt_lib.errors import HpoptError


class NeighborPairs(NamedTuple):
    """Directed pairs, sorted by `first`; the vector of a pair is ``x[second] - x[first] + shifts @ cell``.

    Attributes
    ----------
    first, second : numpy.ndarray, shape (n_pairs,), int64
        Indices of the centre and of its neighbour.
    shifts : numpy.ndarray, shape (n_pairs, 3), int64
        Lattice translations of the neighbour, in cell vectors.
    """

    first: np.ndarray
    second: np.ndarray
    shifts: np.ndarray


def neighbor_pairs(positions: Any, *, cell: Any, pbc: Any, cutoff: float) -> NeighborPairs:
    """All pairs closer than `cutoff`, periodic images and the atom itself (distance exactly 0) included.

    Parameters
    ----------
    positions : array_like, shape (n_atoms, 3)
        Cartesian positions in Å; atoms may lie outside the cell.
    cell : array_like, shape (3, 3)
        Rows are lattice vectors in Å; rows of directions that are not periodic do not matter.
    pbc : array_like, shape (3,)
        Which directions are periodic.
    cutoff : float
        Radius in Å; the cell may be smaller.

    Raises
    ------
    HpoptError
        A position is not finite, or a periodic direction has no lattice vector of its own.
    """
    points, box, periodic = check_structure(positions, cell, pbc)
    own = np.arange(len(points))
    if not len(points):
        return NeighborPairs(own, own, np.zeros((0, 3), dtype=np.int64))
    # The list is asked for a hair more than the cutoff so that only the test below decides at the edge.
    search = vesin.NeighborList(cutoff=cutoff * (1 + 1e-8), full_list=True, sorted=True, n_threads=1)
    first, second, shifts = search.compute(points, np.where(periodic[:, None], box, 0.0), periodic, "ijS")
    first, second, shifts = first.astype(np.int64), second.astype(np.int64), shifts.astype(np.int64)
    displacement = points[second] - points[first] + shifts @ box
    inside = np.einsum("ea,ea->e", displacement, displacement) < cutoff * cutoff
    first = np.concatenate([own, first[inside]])
    order = np.argsort(first, kind="stable")
    return NeighborPairs(
        first[order],
        np.concatenate([own, second[inside]])[order],
        np.concatenate([np.zeros((len(points), 3), dtype=np.int64), shifts[inside]])[order],
    )


def check_structure(positions: Any, cell: Any, pbc: Any) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Positions (n_atoms, 3), cell (3, 3) and periodic directions (3,) as arrays, after a look at them.

    Raises
    ------
    HpoptError
        A position is not finite, or a periodic direction has no lattice vector of its own.
    """
    points = np.ascontiguousarray(positions, dtype=float).reshape(-1, 3)
    box = np.ascontiguousarray(cell, dtype=float).reshape(3, 3)
    periodic = np.broadcast_to(np.asarray(pbc, dtype=bool), 3).copy()
    if not np.isfinite(points).all():
        atom = int(np.flatnonzero(~np.isfinite(points).all(axis=1))[0])
        raise HpoptError(
            f"structure: positions: atom {atom} is not at a finite place", remedy="remove the frame"
        )
    vectors = box[periodic]
    # A large determinant (as nearly always) means full rank, and is found much sooner than the rank.
    regular = len(vectors) == 3 and abs(np.linalg.det(vectors)) > 1e-6 * max(
        1.0, 3 * np.square(vectors).max()
    )
    if not regular and (
        not np.isfinite(vectors).all() or np.linalg.matrix_rank(vectors, tol=1e-6) < len(vectors)
    ):
        raise HpoptError(
            "structure: cell: a periodic direction has no lattice vector of its own",
            remedy="set the cell, or pbc=False for a molecule",
        )
    return points, box, periodic


def complete_cell(cell: np.ndarray, periodic: np.ndarray) -> np.ndarray:
    """The cell with unit vectors, orthogonal to all others, in the directions that are not periodic."""
    if periodic.all():
        return cell
    full = cell.copy()
    _, _, directions = np.linalg.svd(np.where(periodic[:, None], cell, 0.0))
    full[~periodic] = directions[int(periodic.sum()) :]
    return full
