"""Error metrics with their unit in the name, always beside baselines.

Energies are total energies of a frame in eV, forces in eV/Å. Force metrics use the free
atoms only, as the Open Catalyst evaluation does (fixed atoms cannot move).
"""

from __future__ import annotations

import numpy as np

from hpopt_lib.units import PER_EV

#: Thresholds of the Open Catalyst evaluation (Chanussot et al. 2021, section on metrics).
EWT_THRESHOLD_EV = 0.02
EFWT_ENERGY_THRESHOLD_EV = 0.02
EFWT_FORCE_THRESHOLD_EV_PER_ANGSTROM = 0.03


def energy_metrics(energy_ev, predicted_ev, n_atoms) -> dict[str, float]:
    """Energy errors in every unit that the field uses.

    Parameters
    ----------
    energy_ev, predicted_ev : array_like, shape (n_frames,)
        Reference and predicted total energies in eV.
    n_atoms : array_like of int, shape (n_frames,)

    Returns
    -------
    dict of str to float
        ``energy_mae_ev``, ``energy_rmse_ev``, ``energy_mae_mev_per_atom``,
        ``energy_rmse_mev_per_atom``, ``energy_mae_kcal_per_mol``, ``energy_ewt`` (share of
        frames with an absolute error below 0.02 eV) and ``n_frames``. Errors per atom are
        averages of every frame's error divided by its own number of atoms.

    Raises
    ------
    ValueError
        When shapes differ or there is no frame.
    """
    energy, predicted, atoms = (np.asarray(x, dtype=float) for x in (energy_ev, predicted_ev, n_atoms))
    if not energy.shape == predicted.shape == atoms.shape or energy.ndim != 1 or not len(energy):
        raise ValueError(
            f"energies, predictions and atom counts must be vectors of one non-zero length, "
            f"not {energy.shape}, {predicted.shape}, {atoms.shape}"
        )
    error = predicted - energy
    per_atom = 1000.0 * error / atoms
    mae = float(np.abs(error).mean())
    return {
        "energy_mae_ev": mae,
        "energy_rmse_ev": float(np.sqrt((error**2).mean())),
        "energy_mae_mev_per_atom": float(np.abs(per_atom).mean()),
        "energy_rmse_mev_per_atom": float(np.sqrt((per_atom**2).mean())),
        "energy_mae_kcal_per_mol": mae * PER_EV["kcal/mol"],
        "energy_ewt": float((np.abs(error) < EWT_THRESHOLD_EV).mean()),
        "n_frames": float(len(energy)),
    }


def force_metrics(forces_ev_per_angstrom, predicted_ev_per_angstrom, free) -> dict[str, float]:
    """Force errors on the free atoms.

    Parameters
    ----------
    forces_ev_per_angstrom, predicted_ev_per_angstrom : array_like, shape (n_atoms, 3)
    free : array_like of bool, shape (n_atoms,)
        False for atoms that are held fixed.

    Returns
    -------
    dict of str to float
        ``force_mae_mev_per_angstrom`` and ``force_rmse_mev_per_angstrom`` over components,
        ``force_cosine``: the mean over free atoms of the cosine between the two force
        vectors (an atom with a zero vector on either side counts as 0, as in fairchem).

    Raises
    ------
    ValueError
        When shapes differ or no atom is free.
    """
    forces, predicted = (
        np.asarray(x, dtype=float) for x in (forces_ev_per_angstrom, predicted_ev_per_angstrom)
    )
    mask = np.asarray(free, dtype=bool)
    if (
        forces.shape != predicted.shape
        or forces.ndim != 2
        or forces.shape[1] != 3
        or len(mask) != len(forces)
    ):
        raise ValueError(
            f"forces {forces.shape}, predictions {predicted.shape} and mask {mask.shape} do not fit"
        )
    if not mask.any():
        raise ValueError("no free atom: force metrics are not defined")
    forces, predicted = forces[mask], predicted[mask]
    error = 1000.0 * (predicted - forces)
    norms = np.linalg.norm(forces, axis=1) * np.linalg.norm(predicted, axis=1)
    dots = (forces * predicted).sum(axis=1)
    cosine = np.divide(dots, norms, out=np.zeros_like(dots), where=norms > 0)
    return {
        "force_mae_mev_per_angstrom": float(np.abs(error).mean()),
        "force_rmse_mev_per_angstrom": float(np.sqrt((error**2).mean())),
        "force_cosine": float(cosine.mean()),
    }


def efwt(energy_ev, predicted_ev, forces, predicted_forces, free, n_atoms) -> float:
    """Share of frames whose energy and forces are both within OC20's thresholds.

    A frame counts when its energy error is below 0.02 eV and the largest force component
    error on its free atoms is below 0.03 eV/Å (fairchem's evaluator,
    ``energy_forces_within_threshold``). A frame without a free atom counts by its energy.

    Parameters
    ----------
    energy_ev, predicted_ev : array_like, shape (n_frames,)
    forces, predicted_forces : array_like, shape (n_atoms_total, 3), eV/Å
    free : array_like of bool, shape (n_atoms_total,)
    n_atoms : array_like of int, shape (n_frames,)

    Returns
    -------
    float
        Between 0 and 1.
    """
    energy_ok = np.abs(np.asarray(predicted_ev) - np.asarray(energy_ev)) < EFWT_ENERGY_THRESHOLD_EV
    worst = np.abs(np.asarray(predicted_forces) - np.asarray(forces)).max(axis=1)
    worst = np.where(np.asarray(free, dtype=bool), worst, 0.0)
    starts = np.concatenate([[0], np.cumsum(n_atoms)[:-1]]).astype(int)
    per_frame = np.maximum.reduceat(worst, starts)
    return float((energy_ok & (per_frame < EFWT_FORCE_THRESHOLD_EV_PER_ANGSTROM)).mean())


def skill(error: float, baseline: float) -> float:
    """Skill of a model against a baseline: 1 is perfect, 0 no better, negative worse.

    Parameters
    ----------
    error, baseline : float
        The same error metric (same unit, same frames) of the model and of the baseline.

    Raises
    ------
    ValueError
        When the baseline error is not positive.
    """
    if not baseline > 0:
        raise ValueError(f"the baseline's error must be positive to compare with, not {baseline}")
    return 1.0 - error / baseline


def bootstrap_interval(
    values, groups=None, *, confidence: float = 0.95, n_resamples: int = 2000, seed: int = 0
) -> tuple[float, float]:
    """Percentile bootstrap interval of a mean, resampling whole groups.

    Frames of one relaxation are not independent, so errors are resampled by system.

    Parameters
    ----------
    values : array_like, shape (n,)
        For example absolute errors of frames.
    groups : array_like, shape (n,), optional
        Group of each value (for example its system); every value its own group by default.
    confidence : float
    n_resamples, seed : int

    Returns
    -------
    tuple of float
        Lower and upper end, in the unit of `values`.
    """
    values = np.asarray(values, dtype=float)
    groups = np.arange(len(values)) if groups is None else np.asarray(groups)
    _, member = np.unique(groups, return_inverse=True)
    sums, counts = np.bincount(member, weights=values), np.bincount(member)
    rng = np.random.default_rng(seed)
    means = np.empty(n_resamples)
    for k in range(n_resamples):  # one at a time: all draws together do not fit for large splits
        draw = rng.integers(len(sums), size=len(sums))
        means[k] = sums[draw].sum() / counts[draw].sum()
    tail = 50.0 * (1.0 - confidence)
    low, high = np.percentile(means, [tail, 100.0 - tail])
    return float(low), float(high)


def learning_curve(
    curves: list[dict[str, float]], *, size: str = "n_train", error: str
) -> dict[str, list[float]]:
    """Mean and spread of an error by training size, over seeds.

    Parameters
    ----------
    curves : list of dict
        One record a run, with the keys `size` and `error`.
    size, error : str
        Names of the training size and of the error metric (which carries its unit).

    Returns
    -------
    dict of str to list
        ``size``, ``mean``, ``std`` (sample standard deviation, NaN for one seed) and
        ``n_seeds``, sorted by size.
    """
    sizes = sorted({record[size] for record in curves})
    out: dict[str, list[float]] = {"size": [], "mean": [], "std": [], "n_seeds": []}
    for value in sizes:
        errors = np.array([record[error] for record in curves if record[size] == value], dtype=float)
        out["size"].append(value)
        out["mean"].append(float(errors.mean()))
        out["std"].append(float(errors.std(ddof=1)) if len(errors) > 1 else float("nan"))
        out["n_seeds"].append(len(errors))
    return out
