"""Features of whole shards of frames, in this process or in several."""

from __future__ import annotations

import multiprocessing

import numpy as np
from ase import Atoms
from ase.constraints import FixAtoms

from hpopt_lib.errors import HpoptError
from hpopt_lib.gmp.features import GMPFeaturizer
from hpopt_lib.gmp.settings import GMPSettings
from hpopt_lib.store.arrays import SplitArrays


class FeaturisePool:
    """Featurise shards here, or in processes that each build the featuriser once."""

    def __init__(self, processes: int, featurizer: GMPFeaturizer) -> None:
        self.featurizer, self.pool = featurizer, None
        if processes > 1:
            # spawned, not forked: torch's thread pool does not survive a fork
            context = multiprocessing.get_context("spawn")
            self.pool = context.Pool(processes, initializer=_set_worker, initargs=(featurizer.settings,))

    def __enter__(self):
        if self.pool is None:
            return lambda shards: (featurise_shard(self.featurizer, *shard) for shard in shards)
        return lambda shards: self.pool.imap(_worker_shard, shards)

    def __exit__(self, *exc: object) -> None:
        if self.pool is not None:
            self.pool.terminate()
            self.pool.join()


_worker_featurizer: GMPFeaturizer


def _set_worker(settings: GMPSettings) -> None:
    import signal

    import torch

    signal.signal(signal.SIGINT, signal.SIG_IGN)  # the parent stops the pool on Ctrl-C
    torch.set_num_threads(1)
    global _worker_featurizer
    _worker_featurizer = GMPFeaturizer(settings)


def _worker_shard(job):
    return featurise_shard(_worker_featurizer, *job)


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
    features, info = [], []
    for where, atoms in frames:
        try:
            features.append(featurizer(atoms).astype(dtype))
        except HpoptError as error:
            raise HpoptError(f"{where}: {error.problem}", remedy=error.remedy) from error
        # readers give some numbers as NumPy scalars
        values = {k: v.item() if isinstance(v, np.generic) else v for k, v in atoms.info.items()}
        kept = {key: value for key, value in values.items() if isinstance(value, str | int | float | bool)}
        info.append({**kept, "has_forces": "forces" in atoms.calc.results})
    images = [atoms for _, atoms in frames]
    return SplitArrays(
        n_atoms=np.array([len(a) for a in images], dtype=np.int32),
        energy=np.array([a.calc.results["energy"] for a in images], dtype=float),
        cells=np.array([a.cell.array for a in images]),
        pbc=np.array([a.pbc for a in images]),
        features=np.concatenate(features),
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
        info=info,
    )


def free_atoms(atoms: Atoms) -> np.ndarray:
    """Mask of the atoms that no `FixAtoms` constraint holds, shape (n_atoms,)."""
    free = np.ones(len(atoms), dtype=bool)
    for constraint in atoms.constraints:
        if isinstance(constraint, FixAtoms):
            free[constraint.index] = False
    return free
