"""Whether the frames of a training fit into the memory that they may take."""

from __future__ import annotations

from typing import NoReturn

from hpopt_lib.errors import HpoptError
from hpopt_lib.potential.dataset import dtype_of, validation_split
from hpopt_lib.potential.model import ATOMS_AT_A_TIME
from hpopt_lib.store import Store

MB = 2**20
#: A frame's dictionary of further properties, and what else Python holds of it, in a data set in memory.
BYTES_PER_FRAME_IN_MEMORY = 1500
#: Temporary arrays of the standardisation, for one feature of one atom.
BYTES_TO_STANDARDISE = 64


def fits(
    store: Store, memory_mb: float | None, *, validation: str | None = None, n_train: int | None = None
) -> bool:
    """Whether a training may have all its frames in memory: always without a bound."""
    return memory_mb is None or memory_needed_mb(store, validation=validation, n_train=n_train) <= memory_mb


def memory_needed_mb(store: Store, *, validation: str | None = None, n_train: int | None = None) -> float:
    """Memory in MB (2²⁰ bytes) that a training needs with all its frames in memory.

    Both splits as stored and as inputs of the network, and the pages of the larger one while it is read.
    """
    features, size = store.settings.num_features, dtype_of(store).itemsize
    per_atom = features * size + 3 * 8 + 3 * size + 9
    needed, pages = 0.0, 0.0
    for split in (store.train_split, validation_split(store, validation)):
        entry = store.header["splits"][split]
        share = 1.0
        if n_train is not None and split == store.train_split:
            share = min(1.0, n_train / entry["n_frames"])
        stored = share * (entry["n_atoms"] * per_atom + entry["n_frames"] * BYTES_PER_FRAME_IN_MEMORY)
        needed += stored + share * entry["n_atoms"] * features * size
        pages = max(pages, stored if share == 1.0 else 0.0)
    return (needed + pages + ATOMS_AT_A_TIME * features * BYTES_TO_STANDARDISE) / MB


def refuse_forces() -> NoReturn:
    """Raise, since the batches of forces are made of all frames in memory."""
    raise HpoptError(
        "--memory: training on forces (force_weight) needs all frames in memory, and they do not fit",
        remedy="give more memory or no bound, or set force_weight to 0",
    )
