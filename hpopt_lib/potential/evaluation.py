"""Errors of a potential on splits it was not trained on, beside the two baselines."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

import numpy as np

from hpopt_lib.metrics import bootstrap_interval, efwt, energy_metrics, force_metrics, skill
from hpopt_lib.potential.model import Potential
from hpopt_lib.potential.passes import train_median_ev_per_atom
from hpopt_lib.potential.predictions import SplitPredictions, predict_split, split_parts
from hpopt_lib.references import Reference, composition, median_baseline
from hpopt_lib.store import Blocks, SplitArrays, Store

#: The error that intervals and skills are printed for.
HEADLINE = "energy_mae_mev_per_atom"


def baseline_energies(train: SplitArrays, reference: Reference, arrays: SplitArrays) -> dict[str, np.ndarray]:
    """Predictions in eV of the baselines fitted on the training split.

    Parameters
    ----------
    train : SplitArrays
    reference : Reference
        Of the same training split; whatever its kind, its linear fit is the baseline.
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
        "linear": reference.baseline.energy(composition(arrays.numbers, arrays.n_atoms)),
    }


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
    potential: Potential,
    store: Store,
    splits: Iterable[str] | None = None,
    *,
    read: Callable[[Store, str], SplitArrays] | None = None,
    forces: bool = True,
) -> dict[str, dict[str, Any]]:
    """Score a potential on splits of a store, block after block.

    Parameters
    ----------
    potential : Potential
    store : Store
        With the featurisation that the potential was trained on.
    splits : iterable of str, optional
        All splits but the training split by default.
    read : callable, optional
        Reads a whole split with the features that the potential takes, when those of the store are not.
    forces : bool
        Whether forces are predicted too, where all frames of a split have some.

    Returns
    -------
    dict of dict
        For every split its `score`, and its `hpopt_lib.potential.forces.ForceScores`.

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
        parts = split_parts(store, store.check_split(split), read)
        found = predict_split(potential, parts, store.reference, forces=forces)
        baselines = {"median": median * found.n_atoms, "linear": found.linear}
        results[split] = score(found, found.predicted, baselines) | found.force_scores
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
