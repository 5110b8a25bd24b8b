"""Put groups of unequal size into splits whose sizes are near the wanted shares."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from scipy.sparse import coo_matrix
from scipy.sparse.csgraph import connected_components

#: Random orders that are tried; fewer for many groups, which fit well in any order.
TRIES, GROUPS_IN_ALL_TRIES = 64, 200_000


def merge(codes: Sequence[np.ndarray]) -> np.ndarray:
    """Groups that are whole in every one of several groupings.

    Parameters
    ----------
    codes : sequence of numpy.ndarray of int, shape (n_frames,)
        Number of each frame's group, one array for each grouping.

    Returns
    -------
    numpy.ndarray of int, shape (n_frames,)
        Two frames have the same number when a chain of frames leads from one to the other in which
        neighbours share a group of any of the groupings.
    """
    first = np.asarray(codes[0], dtype=np.int64)
    for other in codes[1:]:
        n, m = int(first.max(initial=-1)) + 1, int(other.max(initial=-1)) + 1
        edges = coo_matrix((np.ones(len(first)), (first, n + other)), shape=(n + m, n + m))
        first = connected_components(edges, directed=False)[1][first].astype(np.int64)
    return np.unique(first, return_inverse=True)[1].reshape(-1)


def allocate(sizes: np.ndarray, shares: Sequence[float], *, seed: int) -> np.ndarray:
    """Give every group to a split.

    Groups are taken in a random order, each goes to the split that lacks most; of several orders the one
    whose split sizes come nearest to the wanted ones is kept. No split stays empty.

    Parameters
    ----------
    sizes : numpy.ndarray of int, shape (n_groups,)
        Frames in each group; at least as many groups as splits.
    shares : sequence of float
        Wanted share of the frames of each split; they sum to one.
    seed : int

    Returns
    -------
    numpy.ndarray of int, shape (n_groups,)
        Number of each group's split.
    """
    rng = np.random.default_rng(seed)
    wanted = np.asarray(shares, dtype=float) * sizes.sum()
    tries = int(np.clip(GROUPS_IN_ALL_TRIES // len(sizes), 1, TRIES))
    best, least = np.zeros(len(sizes), dtype=np.int64), np.inf
    for _ in range(tries):
        order = rng.permutation(len(sizes))
        chosen = _fill(sizes, wanted, order)
        off = float(np.abs(np.bincount(chosen, sizes, len(wanted)) - wanted).sum())
        if off < least - 1e-9:
            best, least = chosen, off
    # a group that is large beside its split fits best when it comes first
    chosen = _fill(sizes, wanted, np.argsort(-sizes, kind="stable"))
    off = float(np.abs(np.bincount(chosen, sizes, len(wanted)) - wanted).sum())
    return chosen if off < least - 0.02 * sizes.sum() else best


def _fill(sizes: np.ndarray, wanted: np.ndarray, order: np.ndarray) -> np.ndarray:
    lacking, empty = wanted.copy(), np.ones(len(wanted), dtype=bool)
    chosen = np.empty(len(sizes), dtype=np.int64)
    for place, group in enumerate(order):
        must_fill = empty.any() and len(order) - place <= empty.sum()
        split = int(np.argmax(np.where(empty, lacking, -np.inf) if must_fill else lacking))
        chosen[group] = split
        lacking[split] -= sizes[group]
        empty[split] = False
    return chosen


def hold_out(sizes: np.ndarray, share: float, rng: np.random.Generator) -> np.ndarray:
    """Draw groups that together hold about a share of the frames.

    At least one group is drawn and one is left.

    Parameters
    ----------
    sizes : numpy.ndarray of int, shape (n_groups,)
        Two or more groups.
    share : float
    rng : numpy.random.Generator

    Returns
    -------
    numpy.ndarray of bool, shape (n_groups,)
    """
    order = rng.permutation(len(sizes))
    filled = np.cumsum(sizes[order])
    count = 1 + int(np.argmin(np.abs(filled[:-1] - share * sizes.sum())))
    mask = np.zeros(len(sizes), dtype=bool)
    mask[order[:count]] = True
    return mask
