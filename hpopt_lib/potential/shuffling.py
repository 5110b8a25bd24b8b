"""The order in which an epoch sees frames that do not fit into memory together.

The blocks of a split are shuffled and dealt into groups that fit into memory one at a time; the frames
of a group are shuffled among each other. With one group this is the usual shuffling of all frames. With
more, two frames of one block always come in the same group, so they meet in a batch more often than in a
full shuffle, and which blocks meet changes from epoch to epoch.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np


def blocks_in_memory(block_bytes: np.ndarray, capacity_bytes: float) -> int:
    """How many blocks fit into memory, whichever they are; 0 when the largest does not."""
    largest_first = np.cumsum(np.sort(block_bytes)[::-1])
    return int(np.searchsorted(largest_first, capacity_bytes, side="right"))


def shuffled_groups(
    frames_per_block: np.ndarray, in_memory: int, rng: np.random.Generator
) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """Groups of an epoch, one after the other.

    Parameters
    ----------
    frames_per_block : numpy.ndarray of int, shape (n_blocks,)
    in_memory : int
        Most blocks of a group, at least 1.
    rng : numpy.random.Generator
        For one group it gives the permutation that a training in memory draws.

    Yields
    ------
    blocks : numpy.ndarray of int
        Numbers of the blocks, sorted, so that a disk reads forwards. Groups are of nearly one size.
    order : numpy.ndarray of int
        Permutation of the group's frames, which are counted block after block.
    """
    n_blocks = len(frames_per_block)
    n_groups = -(-n_blocks // in_memory)
    blocks = np.arange(n_blocks) if n_groups == 1 else rng.permutation(n_blocks)
    for group in np.array_split(blocks, n_groups):
        group = np.sort(group)
        yield group, rng.permutation(int(frames_per_block[group].sum()))


def epoch_order(frames_per_block: np.ndarray, in_memory: int, rng: np.random.Generator) -> np.ndarray:
    """Numbers of all frames of the split in the order of an epoch; see `shuffled_groups`."""
    starts = np.concatenate([[0], np.cumsum(frames_per_block)])
    parts = []
    for blocks, order in shuffled_groups(frames_per_block, in_memory, rng):
        frames = np.concatenate([np.arange(starts[b], starts[b + 1]) for b in blocks])
        parts.append(frames[order])
    return np.concatenate(parts)


def shuffling_quality(order: np.ndarray, frames_per_block: np.ndarray, batch_size: int) -> dict[str, float]:
    """How close an order is to a full shuffle.

    Parameters
    ----------
    order : numpy.ndarray of int, shape (n_frames,)
        From `epoch_order`.
    frames_per_block : numpy.ndarray of int
    batch_size : int

    Returns
    -------
    dict of str to float
        ``rank_correlation`` (Spearman) of a frame's place in the file with its place in the epoch, 0 for a
        full shuffle; ``same_block_pairs``, the share of the pairs of frames in a batch that come from one
        block, and ``same_block_pairs_full``, what a full shuffle has.
    """
    n_frames = len(order)
    correlation = float(np.corrcoef(order, np.arange(n_frames))[0, 1])
    block = np.repeat(np.arange(len(frames_per_block)), frames_per_block)[order]
    same = pairs = 0.0
    for batch in np.array_split(block, -(-n_frames // batch_size)):
        counts = np.unique(batch, return_counts=True)[1].astype(float)
        same += float((counts * (counts - 1)).sum())
        pairs += len(batch) * (len(batch) - 1.0)
    counts = np.asarray(frames_per_block, dtype=float)
    full = float((counts * (counts - 1)).sum() / (n_frames * (n_frames - 1.0)))
    return {
        "rank_correlation": correlation,
        "same_block_pairs": same / pairs,
        "same_block_pairs_full": full,
    }
