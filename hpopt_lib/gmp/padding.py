"""Pairs of atoms laid out as one block per atom, so that sums over neighbours are matrix products."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor


def padded(values: Tensor, slots: Tensor) -> Tensor:
    """Rows of each atom's pairs, (n_atoms, most pairs of one atom, columns), zeros where it has fewer."""
    return torch.cat([values, values.new_zeros(1, values.shape[1])])[slots]


def padded_slots(first: np.ndarray, n_atoms: int) -> np.ndarray:
    """Indices into the pairs of each atom, (n_atoms, most pairs of one atom), filled with len(first)."""
    counts = np.bincount(first, minlength=n_atoms)
    slots = np.full((n_atoms, int(counts.max(initial=0))), len(first))
    order = np.argsort(first, kind="stable")
    starts = np.cumsum(counts) - counts
    slots[first[order], np.arange(len(first)) - starts[first[order]]] = order
    return slots


def chunks(edges: np.ndarray, limit: int) -> list[tuple[int, int]]:
    """Runs of atoms with at most `limit` pairs together, at least one atom each."""
    chunks, start, last = [], 0, len(edges) - 1
    while start < last:
        stop = max(start + 1, int(np.searchsorted(edges, edges[start] + limit, side="right")) - 1)
        chunks.append((start, stop))
        start = stop
    return chunks
