"""Frames as arrays, the same in a shard, a split and a training set."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, fields
from typing import Any

import numpy as np


@dataclass
class SplitArrays:
    """Frames of one split, or of one shard of it, as arrays.

    Attributes
    ----------
    n_atoms : numpy.ndarray of int32, shape (n_frames,)
    energy : numpy.ndarray of float64, shape (n_frames,)
        Total energies in eV.
    cells : numpy.ndarray of float64, shape (n_frames, 3, 3)
        Lattice vectors in Å, as rows; zero for molecules.
    pbc : numpy.ndarray of bool, shape (n_frames, 3)
    features : numpy.ndarray of float32 or float64, shape (n_atoms_total, n_features)
        As computed: neither transformed nor standardised.
    numbers : numpy.ndarray of int32, shape (n_atoms_total,)
    positions : numpy.ndarray of float64, shape (n_atoms_total, 3)
        In Å.
    forces : numpy.ndarray, shape (n_atoms_total, 3)
        In eV/Å, constraints not applied; NaN where the input has none.
    free : numpy.ndarray of bool, shape (n_atoms_total,)
        False for atoms held fixed.
    tags : numpy.ndarray of int32, shape (n_atoms_total,)
        0 below the surface, 1 surface, 2 adsorbate, as in OC20.
    info : list of dict, length n_frames
        ``system_id`` and what else the input said of each frame, in the vocabulary of
        `hpopt_lib.data.frame_labels`.
    """

    n_atoms: np.ndarray
    energy: np.ndarray
    cells: np.ndarray
    pbc: np.ndarray
    features: np.ndarray
    numbers: np.ndarray
    positions: np.ndarray
    forces: np.ndarray
    free: np.ndarray
    tags: np.ndarray
    info: list[dict[str, Any]]

    def __len__(self) -> int:
        return len(self.n_atoms)

    @property
    def system_ids(self) -> np.ndarray:
        """System of each frame, shape (n_frames,)."""
        return np.array([str(entry["system_id"]) for entry in self.info])

    @classmethod
    def joined(cls, parts: Sequence[SplitArrays]) -> SplitArrays:
        """Several parts as one, copied."""
        arrays = {
            name: np.concatenate([getattr(part, name) for part in parts])
            for name in (*FRAME_FIELDS, *ATOM_FIELDS)
        }
        return cls(**arrays, info=[entry for part in parts for entry in part.info])

    def take(self, frames: np.ndarray) -> SplitArrays:
        """A copy with only the given frames (indices), in that order."""
        frames = np.asarray(frames, dtype=int)
        starts = np.concatenate([[0], np.cumsum(self.n_atoms)])
        atoms = np.concatenate([np.arange(starts[i], starts[i + 1]) for i in frames] or [np.array([], int)])
        picked = {
            name: getattr(self, name)[frames if name in FRAME_FIELDS else atoms]
            for name in (*FRAME_FIELDS, *ATOM_FIELDS)
        }
        return SplitArrays(**picked, info=[self.info[i] for i in frames])


FRAME_FIELDS = ("n_atoms", "energy", "cells", "pbc")
ATOM_FIELDS = ("features", "numbers", "positions", "forces", "free", "tags")
assert {f.name for f in fields(SplitArrays)} == {*FRAME_FIELDS, *ATOM_FIELDS, "info"}
