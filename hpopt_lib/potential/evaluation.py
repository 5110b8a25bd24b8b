"""Errors of a potential on splits it was not trained on, beside the two baselines."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

import numpy as np

from hpopt_lib.metrics import bootstrap_interval, efwt, energy_metrics, force_metrics, skill
from hpopt_lib.potential.model import Potential
from hpopt_lib.potential.passes import train_median_ev_per_atom
from hpopt_lib.references import LinearReference, composition, median_baseline
from hpopt_lib.store import Blocks, SplitArrays, Store

#: The error that intervals and skills are printed for.
HEADLINE = "energy_mae_mev_per_atom"


def baseline_energies(train: SplitArrays, reference, arrays: SplitArrays) -> dict[str, np.ndarray]:
    """Predictions in eV of the baselines fitted on the training split.

    Parameters
    ----------
    train : SplitArrays
    reference : LinearReference
        Fitted on the same training split.
    arrays : SplitArrays
        Frames to predict.

    Returns
    -------
    dict
        ``"median"`` (median energy per atom times the number of atoms) and ``"linear"``
        (sum of per-element energies), each of shape (n_frames,).
    """
    return {
        "median": median_baseline(train.energy, train.n_atoms, arrays.n_atoms),
        "linear": reference.energy(composition(arrays.numbers, arrays.n_atoms)),
    }


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
    """

    energy: np.ndarray
    n_atoms: np.ndarray
    system_ids: np.ndarray
    predicted: np.ndarray
    linear: np.ndarray


def predict_split(potential: Potential, blocks: Blocks, reference: LinearReference) -> SplitPredictions:
    """Predict a split block after block.

    Parameters
    ----------
    potential : Potential
    blocks : Blocks
        Of the split.
    reference : LinearReference
        The linear baseline.
    """
    parts: list[tuple[np.ndarray, ...]] = []
    numbers: dict[str, int] = {}
    for block in range(len(blocks)):
        with blocks.open(block) as arrays:
            linear = reference.energy(composition(arrays.numbers, arrays.n_atoms))
            system = np.array([numbers.setdefault(str(name), len(numbers)) for name in arrays.system_ids])
            labels = np.array(arrays.energy), np.array(arrays.n_atoms)
            parts.append((*labels, system, potential.predict(arrays), linear))
            del arrays
    energy, n_atoms, system, predicted, linear = (np.concatenate(part) for part in zip(*parts, strict=True))
    rank = np.argsort(np.argsort(np.array(list(numbers))))
    return SplitPredictions(energy, n_atoms, rank[system], predicted, linear)


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
                for name in (HEADLINE, "energy_mae_ev") if not prefix else (HEADLINE,):
                    sums[prefix + name] = sums.get(prefix + name, 0.0) + metrics[name] * len(arrays)
            del arrays
    return {name: value / blocks.n_frames for name, value in sums.items()}


def score(
    arrays: SplitArrays | SplitPredictions, predicted_ev: np.ndarray, baselines: dict[str, np.ndarray]
) -> dict[str, Any]:
    """Metrics of one set of predictions, with interval, baselines and skills.

    Parameters
    ----------
    arrays : SplitArrays or SplitPredictions
    predicted_ev : numpy.ndarray, shape (n_frames,)
    baselines : dict of numpy.ndarray
        From `baseline_energies`.

    Returns
    -------
    dict
        All of `hpopt_lib.metrics.energy_metrics`; ``<headline>_interval``, the 95 % bootstrap
        interval over systems; for every baseline ``<baseline>_<headline>`` and
        ``skill_over_<baseline>``; ``n_systems``.
    """
    metrics: dict[str, Any] = dict(energy_metrics(arrays.energy, predicted_ev, arrays.n_atoms))
    per_atom = 1000.0 * np.abs(predicted_ev - arrays.energy) / arrays.n_atoms
    metrics[f"{HEADLINE}_interval"] = bootstrap_interval(per_atom, arrays.system_ids)
    metrics["n_systems"] = len(np.unique(arrays.system_ids))
    for name, energies in baselines.items():
        error = energy_metrics(arrays.energy, energies, arrays.n_atoms)[HEADLINE]
        metrics[f"{name}_{HEADLINE}"] = error
        # a baseline without any error leaves nothing to compare with
        metrics[f"skill_over_{name}"] = skill(metrics[HEADLINE], error) if error > 0 else float("nan")
    return metrics


def evaluate(
    potential: Potential, store: Store, splits: Iterable[str] | None = None
) -> dict[str, dict[str, Any]]:
    """Score a potential on splits of a store, read block after block.

    Parameters
    ----------
    potential : Potential
    store : Store
        With the featurisation that the potential was trained on.
    splits : iterable of str, optional
        All splits but the training split by default.

    Returns
    -------
    dict of dict
        `score` for every split.

    Raises
    ------
    HpoptError
        For an unknown split, or a store with other features.
    """
    from hpopt_lib.errors import HpoptError

    if store.settings != potential.gmp:
        raise HpoptError(
            f"{store.path}: its features differ from those that the potential was trained on",
            remedy="preprocess with the settings that the potential holds",
        )
    median = train_median_ev_per_atom(Blocks(store, store.train_split))
    results = {}
    for split in splits if splits is not None else store.validation_splits():
        found = predict_split(potential, Blocks(store, split), store.reference)
        baselines = {"median": median * found.n_atoms, "linear": found.linear}
        results[split] = score(found, found.predicted, baselines)
    return results


def parity(arrays: SplitArrays, predicted_ev: np.ndarray) -> dict[str, np.ndarray]:
    """Data of a parity plot: energies per atom in eV, reference against predicted.

    Returns
    -------
    dict of numpy.ndarray
        ``reference_ev_per_atom``, ``predicted_ev_per_atom`` and ``error_mev_per_atom``.
    """
    reference, predicted = arrays.energy / arrays.n_atoms, predicted_ev / arrays.n_atoms
    return {
        "reference_ev_per_atom": reference,
        "predicted_ev_per_atom": predicted,
        "error_mev_per_atom": 1000.0 * (predicted - reference),
    }


def force_errors(potential: Potential, frames: Iterable) -> dict[str, float]:
    """Force errors of a potential on frames, through the gradient of its energy.

    Parameters
    ----------
    potential : Potential
    frames : iterable of ase.Atoms
        With energies and forces; fixed atoms (`ase.constraints.FixAtoms`) do not count.

    Returns
    -------
    dict of str to float
        `hpopt_lib.metrics.force_metrics`, the same of predicting zero force
        (``zero_force_mae_mev_per_angstrom``) and ``efwt``.
    """
    from hpopt_lib.featurise import free_atoms

    energy, predicted, forces, found, free, n_atoms = [], [], [], [], [], []
    for atoms in frames:
        value, gradient = potential.energy_and_forces(atoms)
        energy.append(atoms.get_potential_energy())
        predicted.append(value)
        forces.append(atoms.get_forces(apply_constraint=False))
        found.append(gradient)
        free.append(free_atoms(atoms))
        n_atoms.append(len(atoms))
    f, g, mask = np.concatenate(forces), np.concatenate(found), np.concatenate(free)
    metrics = force_metrics(f, g, mask)
    metrics["zero_force_mae_mev_per_angstrom"] = force_metrics(f, np.zeros_like(f), mask)[
        "force_mae_mev_per_angstrom"
    ]
    metrics["efwt"] = efwt(energy, predicted, f, g, mask, n_atoms)
    return metrics
