"""Predictions for a split, and their errors, block after block."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field

import numpy as np

from hpopt_lib.metrics import energy_metrics
from hpopt_lib.potential.batches import OBJECTIVE
from hpopt_lib.potential.forces import ForceScores
from hpopt_lib.potential.model import Potential
from hpopt_lib.references import LinearReference, Reference, composition
from hpopt_lib.store import Blocks, SplitArrays, Store


@dataclass
class SplitPredictions:
    """Predictions for a split and what they are compared with: about 50 bytes for each frame.

    Attributes
    ----------
    energy, n_atoms : numpy.ndarray, shape (n_frames,)
        Total energies in eV and numbers of atoms.
    system_ids : numpy.ndarray of int, shape (n_frames,)
        A number for each frame's system, in the order of the sorted names.
    predicted, linear : numpy.ndarray, shape (n_frames,)
        Total energies in eV of the potential and of the linear baseline.
    force_scores : dict of str to float
        See `hpopt_lib.potential.forces.ForceScores`; empty unless forces were asked for.
    """

    energy: np.ndarray
    n_atoms: np.ndarray
    system_ids: np.ndarray
    predicted: np.ndarray
    linear: np.ndarray
    force_scores: dict[str, float] = field(default_factory=dict)


def split_parts(
    store: Store, split: str, read: Callable[[Store, str], SplitArrays] | None = None
) -> Iterator[SplitArrays]:
    """The blocks of a split one after the other, or what `read` gives as one part.

    The memory of a block is free again when the caller lets go of it (``del``) before it asks for the next.
    """
    if read is not None:
        yield read(store, split)
        return
    blocks = Blocks(store, split)
    for block in range(len(blocks)):
        with blocks.open(block) as arrays:
            yield arrays
            del arrays


def predict_split(
    potential: Potential, parts: Iterable[SplitArrays], reference: Reference, *, forces: bool = False
) -> SplitPredictions:
    """Predict a split part after part.

    Parameters
    ----------
    potential : Potential
    parts : iterable of SplitArrays
        From `split_parts`.
    reference : Reference
        Of the training split; its linear fit is the baseline.
    forces : bool
        Whether forces are predicted too, where all frames have some.
    """
    found: list[tuple[np.ndarray, ...]] = []
    numbers: dict[str, int] = {}
    scores = ForceScores(potential)
    for arrays in parts:
        linear = reference.baseline.energy(composition(arrays.numbers, arrays.n_atoms))
        system = np.array([numbers.setdefault(str(name), len(numbers)) for name in arrays.system_ids])
        labels, values = (np.array(arrays.energy), np.array(arrays.n_atoms)), potential.predict(arrays)
        found.append((*labels, system, values, linear))
        if forces:
            scores.add(arrays, values)
        del arrays
    energy, n_atoms, system, predicted, linear = (np.concatenate(part) for part in zip(*found, strict=True))
    rank = np.argsort(np.argsort(np.array(list(numbers))))
    return SplitPredictions(energy, n_atoms, rank[system], predicted, linear, scores.result())


def mean_errors(
    potential: Potential,
    blocks: Blocks,
    reference: LinearReference | None = None,
    median_ev_per_atom: float | None = None,
) -> dict[str, float]:
    """Mean absolute errors on a split, block after block, in memory that does not grow with it.

    Parameters
    ----------
    potential : Potential
    blocks : Blocks
        Of the split.
    reference, median_ev_per_atom : optional
        The baselines, when their errors are asked for too.

    Returns
    -------
    dict of str to float
        ``energy_mae_mev_per_atom`` and ``energy_mae_ev``, NaN when a prediction is not finite, and
        ``linear_energy_mae_mev_per_atom`` and ``median_energy_mae_mev_per_atom``.
    """
    sums: dict[str, float] = {}
    for block in range(len(blocks)):
        with blocks.open(block) as arrays:
            found = {"": potential.predict(arrays)}
            if reference is not None:
                found["linear_"] = reference.energy(composition(arrays.numbers, arrays.n_atoms))
            if median_ev_per_atom is not None:
                found["median_"] = median_ev_per_atom * arrays.n_atoms
            for prefix, energies in found.items():
                metrics = energy_metrics(arrays.energy, energies, arrays.n_atoms)
                for name in (OBJECTIVE, "energy_mae_ev") if not prefix else (OBJECTIVE,):
                    sums[prefix + name] = sums.get(prefix + name, 0.0) + metrics[name] * len(arrays)
            del arrays
    return {name: value / blocks.n_frames for name, value in sums.items()}
