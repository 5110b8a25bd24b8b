"""Cross-validation of the small-data model by system, beside every baseline on the same folds."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from hpopt_lib.errors import HpoptError
from hpopt_lib.metrics import bootstrap_interval, energy_metrics
from hpopt_lib.potential.environments import Environments
from hpopt_lib.potential.small_data import SmallDataModel
from hpopt_lib.progress import progress
from hpopt_lib.references import LinearReference, median_baseline

#: Names of the baselines and of the model.
MEDIAN, LINEAR, RIDGE, KNOWN, MODEL = "median", "linear", "linear, ridge", "element energies", "small-data"
#: Standard deviations within which 68 and 95 % of normal errors are.
COVERAGE = {"within_1_std": 1.0, "within_1.96_std": 1.96}
#: Ridges of `ridge_fit`, relative to the mean diagonal of the normal equations.
RIDGES = np.logspace(-8, 0, 17)


@dataclass(frozen=True)
class CrossValidation:
    """Predictions of every frame by models that were fitted without its system.

    Attributes
    ----------
    energy_ev : numpy.ndarray, shape (n_frames,)
    n_atoms : numpy.ndarray of int, shape (n_frames,)
    system_ids : numpy.ndarray of str, shape (n_frames,)
    fold : numpy.ndarray of int, shape (n_frames,)
    predicted_ev : dict of str to numpy.ndarray, shape (n_frames,)
        By name of the model or baseline.
    std_ev : numpy.ndarray, shape (n_frames,)
        Uncertainty of the model.
    """

    energy_ev: np.ndarray
    n_atoms: np.ndarray
    system_ids: np.ndarray
    fold: np.ndarray
    predicted_ev: dict[str, np.ndarray]
    std_ev: np.ndarray


def folds_by_system(system_ids: np.ndarray, n_folds: int, seed: int) -> np.ndarray:
    """Fold of each frame, shape (n_frames,); frames of one system share a fold.

    Raises
    ------
    HpoptError
        When there are fewer systems than folds, or fewer than two folds.
    """
    systems, member = np.unique(np.asarray(system_ids), return_inverse=True)
    if not 2 <= n_folds <= len(systems):
        raise HpoptError(f"folds: {n_folds} of {len(systems)} systems", remedy=f"give 2 to {len(systems)}")
    fold = np.empty(len(systems), dtype=int)
    for number, part in enumerate(
        np.array_split(np.random.default_rng(seed).permutation(len(systems)), n_folds)
    ):
        fold[part] = number
    return fold[member]


def cross_validate(
    frames: Environments,
    energy_ev: np.ndarray,
    system_ids: np.ndarray,
    *,
    known_ev: np.ndarray | None = None,
    n_folds: int = 5,
    seed: int = 0,
) -> CrossValidation:
    """Predict every fold with a model, and baselines, fitted on the others alone.

    Nothing of a test fold is used: amplitudes, means and centres are those of the training folds.

    Parameters
    ----------
    frames : Environments
    energy_ev : numpy.ndarray, shape (n_frames,)
        Total energies in eV.
    system_ids : numpy.ndarray of str, shape (n_frames,)
    known_ev : numpy.ndarray, shape (119,), optional
        See `SmallDataModel.fit`; they are a baseline of their own, too.
    n_folds, seed : int

    Raises
    ------
    HpoptError
        See `folds_by_system` and `SmallDataModel.fit`.
    """
    fold = folds_by_system(system_ids, n_folds, seed)
    names = [MEDIAN, LINEAR, RIDGE, *([] if known_ev is None else [KNOWN]), MODEL]
    predicted = {name: np.full(len(frames), np.nan) for name in names}
    std = np.full(len(frames), np.nan)
    for number in progress(range(n_folds), desc=f"folds of seed {seed}", unit="fold"):
        test, rest = np.flatnonzero(fold == number), np.flatnonzero(fold != number)
        train, energies = frames.take(rest), energy_ev[rest]
        predicted[MEDIAN][test] = median_baseline(energies, train.n_atoms, frames.n_atoms[test])
        fits = {LINEAR: LinearReference.fit(train.counts, energies), RIDGE: ridge_fit(train.counts, energies)}
        for name, fit in fits.items():
            predicted[name][test] = fit.energy(frames.counts[test])
        if known_ev is not None:
            predicted[KNOWN][test] = frames.counts[test] @ np.nan_to_num(known_ev)
        model = SmallDataModel.fit(train, energies, known_ev=known_ev)
        predicted[MODEL][test], std[test] = model.predict(frames.take(test))
    return CrossValidation(
        np.asarray(energy_ev), frames.n_atoms, np.asarray(system_ids), fold, predicted, std
    )


def ridge_fit(counts: np.ndarray, energy_ev: np.ndarray) -> LinearReference:
    """The per-element fit with the ridge that leave-one-out on these frames likes best.

    A stronger linear baseline than the default one where elements are as many as frames.
    """
    n_atoms = counts.sum(axis=1)
    x, y = counts / n_atoms[:, None], energy_ev / n_atoms
    x, y = x[:, x.any(axis=0)], y - y.mean()
    gram = x.T @ x
    errors = []
    for ridge in RIDGES:
        hat = x @ np.linalg.solve(gram + ridge * np.trace(gram) / len(gram) * np.eye(len(gram)), x.T)
        errors.append(np.abs(n_atoms * (y - hat @ y) / (1.0 - np.diag(hat))).mean())
    return LinearReference.fit(counts, energy_ev, ridge=float(RIDGES[int(np.argmin(errors))]))


def summarise(runs: list[CrossValidation]) -> list[dict[str, Any]]:
    """Errors of each model and baseline over cross-validations with different fold seeds.

    Parameters
    ----------
    runs : list of CrossValidation
        Of the same frames.

    Returns
    -------
    list of dict
        For each: ``name``; ``energy_mae_ev`` and ``energy_mae_mev_per_atom``, means over seeds, each with
        ``_std`` over seeds (NaN for one) and ``_interval``, 95 % by resampling systems of the errors averaged
        over seeds; for the model, the share of errors ``within_1_std`` and ``within_1.96_std``.
    """
    rows = []
    for name in runs[0].predicted_ev:
        row: dict[str, Any] = {"name": name, "n_seeds": len(runs)}
        scores = [energy_metrics(run.energy_ev, run.predicted_ev[name], run.n_atoms) for run in runs]
        errors = np.mean([np.abs(run.predicted_ev[name] - run.energy_ev) for run in runs], axis=0)
        for metric, values in (
            ("energy_mae_ev", errors),
            ("energy_mae_mev_per_atom", 1000.0 * errors / runs[0].n_atoms),
        ):
            each = np.array([score[metric] for score in scores])
            row[metric] = float(each.mean())
            row[f"{metric}_std"] = float(each.std(ddof=1)) if len(runs) > 1 else float("nan")
            row[f"{metric}_interval"] = bootstrap_interval(values, runs[0].system_ids)
        if name == MODEL:
            for label, width in COVERAGE.items():
                inside = [np.abs(r.predicted_ev[name] - r.energy_ev) <= width * r.std_ev for r in runs]
                row[label] = float(np.mean(inside))
        rows.append(row)
    return rows
