"""Features of whole shards of frames, in this process or in several."""

from __future__ import annotations

import multiprocessing
import threading
from collections import deque
from collections.abc import Iterable, Iterator
from concurrent.futures import Future, ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from itertools import chain
from typing import Any

import numpy as np
from ase import Atoms
from ase.constraints import FixAtoms

from hpopt_lib.errors import HpoptError
from hpopt_lib.gmp.backends import Backend
from hpopt_lib.gmp.features import GMPFeaturizer
from hpopt_lib.gmp.settings import GMPSettings
from hpopt_lib.progress import say
from hpopt_lib.store.arrays import SplitArrays
from hpopt_lib.store.writer import StoreWriter

Shard = tuple[list[tuple[str, Atoms]], np.dtype]


class FeaturisePool:
    """Featurise shards here, or in processes that each build the featuriser once.

    Shards come back in their order; only a few more than there are processes are held at a time.
    """

    def __init__(self, processes: int, featurizer: GMPFeaturizer) -> None:
        self.featurizer, self.processes, self.executor = featurizer, processes, None
        if processes > 1:
            self.executor = ProcessPoolExecutor(
                processes,
                # spawned, not forked: torch's thread pool does not survive a fork
                mp_context=multiprocessing.get_context("spawn"),
                initializer=_set_worker,
                initargs=(featurizer.settings, featurizer.backend),
            )

    def __enter__(self) -> FeaturisePool:
        return self

    def __call__(self, shards: Iterable[Shard]) -> Iterator[SplitArrays]:
        """Arrays with features of each shard."""
        if self.executor is None:
            for shard in shards:
                yield featurise_shard(self.featurizer, *shard)
            return
        waiting: deque[Future[SplitArrays]] = deque()
        try:
            for shard in shards:
                waiting.append(self.executor.submit(_worker_shard, shard))
                if len(waiting) > self.processes + 1:
                    yield waiting.popleft().result()
            while waiting:
                yield waiting.popleft().result()
        except BrokenProcessPool as error:
            raise HpoptError(
                "featurise: a worker process died, perhaps for lack of memory",
                remedy="use fewer --processes",
            ) from error

    def __exit__(self, *exc: object) -> None:
        if self.executor is not None:
            self.executor.shutdown(cancel_futures=True)


_worker_featurizer: GMPFeaturizer


def _set_worker(settings: GMPSettings, backend: Backend) -> None:
    import signal

    import torch

    signal.signal(signal.SIGINT, signal.SIG_IGN)  # the parent stops the pool on Ctrl-C
    threading.Thread(target=_end_with_parent, daemon=True).start()
    torch.set_num_threads(1)
    global _worker_featurizer
    _worker_featurizer = GMPFeaturizer(
        settings, backend=backend.name, dtype=backend.dtype, threads=backend.threads
    )


def _end_with_parent() -> None:
    """A parent that is killed tells nobody; without this its workers would wait for work for ever."""
    import os

    parent = multiprocessing.parent_process()
    if parent is not None:
        parent.join()
        os._exit(1)


def _worker_shard(job: Shard) -> SplitArrays:
    return featurise_shard(_worker_featurizer, *job)


def store_shards(
    shards: Iterator[Shard], featurise: FeaturisePool, writer: StoreWriter
) -> Iterator[SplitArrays]:
    """Put shards into the store; those that a killed process left there are not computed again."""
    kept = 0
    for shard in shards:
        stored = writer.stored()
        if stored is None or not same_frames(stored, *shard):
            writer.forget_rest()
            shards = chain([shard], shards)
            break
        writer.keep()
        kept += len(stored)
        yield stored
    if kept:
        say(f"{kept} frames were stored already by a process that did not finish")
    for computed in featurise(shards):
        writer.add(computed)
        yield computed


def featurise_shard(
    featurizer: GMPFeaturizer, frames: list[tuple[str, Atoms]], dtype: np.dtype
) -> SplitArrays:
    """Arrays of some frames with their features.

    Parameters
    ----------
    featurizer : GMPFeaturizer
    frames : list of (str, ase.Atoms)
        Where each frame comes from (for messages), and the frame.
    dtype : numpy.dtype
        Of features and forces.

    Raises
    ------
    HpoptError
        When a frame holds an element without a density; the message names the frame.
    """
    features = []
    for where, atoms in frames:
        try:
            features.append(featurizer(atoms).astype(dtype))
        except HpoptError as error:
            raise HpoptError(f"{where}: {error.problem}", remedy=error.remedy) from error
    arrays, info = _arrays(frames, dtype)
    return SplitArrays(features=np.concatenate(features), **arrays, info=info)


def same_frames(shard: SplitArrays, frames: list[tuple[str, Atoms]], dtype: np.dtype) -> bool:
    """Whether everything but the features in a shard is what these frames give."""
    arrays, info = _arrays(frames, dtype)
    return info == shard.info and all(
        value.dtype == getattr(shard, name).dtype
        and np.array_equal(value, getattr(shard, name), equal_nan=value.dtype.kind == "f")
        for name, value in arrays.items()
    )


def _arrays(
    frames: list[tuple[str, Atoms]], dtype: np.dtype
) -> tuple[dict[str, np.ndarray], list[dict[str, Any]]]:
    info = []
    for _, atoms in frames:
        # readers give some numbers as NumPy scalars
        values = {k: v.item() if isinstance(v, np.generic) else v for k, v in atoms.info.items()}
        kept = {key: value for key, value in values.items() if isinstance(value, str | int | float | bool)}
        info.append({**kept, "has_forces": "forces" in atoms.calc.results})
    images = [atoms for _, atoms in frames]
    arrays = dict(
        n_atoms=np.array([len(a) for a in images], dtype=np.int32),
        energy=np.array([a.calc.results["energy"] for a in images], dtype=float),
        cells=np.array([a.cell.array for a in images]),
        pbc=np.array([a.pbc for a in images]),
        numbers=np.concatenate([a.numbers for a in images]).astype(np.int32),
        positions=np.concatenate([a.positions for a in images]),
        forces=np.concatenate(
            [
                np.asarray(a.calc.results.get("forces", np.full((len(a), 3), np.nan)), dtype=dtype)
                for a in images
            ]
        ),
        free=np.concatenate([free_atoms(a) for a in images]),
        tags=np.concatenate([a.get_tags() for a in images]).astype(np.int32),
    )
    return arrays, info


def free_atoms(atoms: Atoms) -> np.ndarray:
    """Mask of the atoms that no `FixAtoms` constraint holds, shape (n_atoms,)."""
    free = np.ones(len(atoms), dtype=bool)
    for constraint in atoms.constraints:
        if isinstance(constraint, FixAtoms):
            free[constraint.index] = False
    return free
