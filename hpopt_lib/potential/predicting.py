"""Energies and forces of a store's frames, shard by shard, in this process or in several."""

from __future__ import annotations

import multiprocessing
import signal
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from hpopt_lib.data.pool import one_thread
from hpopt_lib.errors import HpoptError
from hpopt_lib.potential.forces import predict_forces
from hpopt_lib.potential.model import Potential
from hpopt_lib.store import SplitArrays, Store


@dataclass(frozen=True)
class PredictedShard:
    """Predictions for some neighbouring frames of a split.

    Attributes
    ----------
    first : int
        Number of the first among the frames that are predicted.
    arrays : SplitArrays
        The frames.
    energy_ev : numpy.ndarray of float64, shape (n_frames,)
        As the store has energies: raw or adsorption.
    forces_ev_per_angstrom : numpy.ndarray of float64, shape (n_atoms_total, 3)
    """

    first: int
    arrays: SplitArrays
    energy_ev: np.ndarray
    forces_ev_per_angstrom: np.ndarray


def check_model(potential: Potential, store: Store) -> None:
    """Raise when a potential takes other features than a store holds."""
    if store.settings != potential.gmp:
        raise HpoptError(
            f"{store.path}: its features differ from those that the potential was trained on",
            remedy="preprocess with the settings that the potential holds",
        )


def chosen_frames(n_frames: int, wanted: int | None) -> np.ndarray:
    """Numbers of the frames of a split that are predicted: all, or so many at even distances."""
    if wanted is not None and wanted < 1:
        raise HpoptError(f"--frames: {wanted} is too few", remedy="give at least 1, or leave it out for all")
    if wanted is None or wanted >= n_frames:
        return np.arange(n_frames)
    return np.linspace(0, n_frames - 1, wanted).round().astype(int)


def shard_parts(store: Store, split: str, frames: np.ndarray) -> Iterator[tuple[int, np.ndarray]]:
    """Numbers of the shards that hold chosen frames of a split, and the places of the frames in each."""
    first, start = store.header["splits"][store.check_split(split)]["first_shard"], 0
    for offset, shard in enumerate(store.shards(split)):
        low, high = np.searchsorted(frames, [start, start + len(shard)])
        if high > low:
            yield first + offset, frames[low:high] - start
        start += len(shard)


def take_part(store: Store, shard: int, places: np.ndarray) -> SplitArrays:
    """Chosen frames of a shard."""
    arrays = store.shard(shard)
    return arrays if len(places) == len(arrays) else arrays.take(places)


def predicted_shards(
    model: str | Path, store: str | Path, split: str, frames: np.ndarray, *, processes: int = 1
) -> Iterator[PredictedShard]:
    """Predict chosen frames of a split in their order; memory is that of a few shards.

    Parameters
    ----------
    model, store : str or Path
        A saved potential, and a feature store with the features that it takes.
    split : str
    frames : numpy.ndarray of int
        From `chosen_frames`.
    processes : int
        They do not change the result.

    Raises
    ------
    HpoptError
        When a file is unusable or the features do not fit.
    """
    if processes < 1:
        raise HpoptError(f"--processes: {processes} is too few", remedy="give at least 1")
    with Store.open(store) as opened:
        potential = Potential.load(model)
        check_model(potential, opened)
        parts = list(shard_parts(opened, split, frames))
        firsts = np.cumsum([0, *(len(places) for _, places in parts)]).tolist()
        if processes == 1 or len(parts) < 2:
            for first, part in zip(firsts, parts):
                yield PredictedShard(first, *_predict(potential, opened, *part))
            return
        # spawned, not forked: torch's thread pool does not survive a fork
        context = multiprocessing.get_context("spawn")
        with one_thread(), context.Pool(min(processes, len(parts)), _set_worker, (model, store)) as pool:
            for first, part, (energy, forces) in zip(firsts, parts, pool.imap(_worker_predict, parts)):
                yield PredictedShard(first, take_part(opened, *part), energy, forces)


def _predict(
    potential: Potential, store: Store, shard: int, places: np.ndarray
) -> tuple[SplitArrays, np.ndarray, np.ndarray]:
    arrays = take_part(store, shard, places)
    return arrays, potential.predict(arrays), predict_forces(potential, arrays)


_worker_state: tuple[Potential, Store]


def _set_worker(model: str | Path, store: str | Path) -> None:
    import torch

    signal.signal(signal.SIGINT, signal.SIG_IGN)  # the parent ends the pool on Ctrl-C
    torch.set_num_threads(1)
    global _worker_state
    _worker_state = Potential.load(model), Store.open(store)


def _worker_predict(part: tuple[int, np.ndarray]) -> tuple[np.ndarray, np.ndarray]:
    return _predict(*_worker_state, *part)[1:]
