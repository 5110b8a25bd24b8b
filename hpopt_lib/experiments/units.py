"""Which unit ranks models differently? Many models, all metrics, and how well their orders agree."""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from hpopt_lib.experiments.trial_table import grid_points
from hpopt_lib.metrics import energy_metrics, skill

if TYPE_CHECKING:
    from hpopt_lib.store import Store
    from hpopt_lib.store.arrays import SplitArrays

#: Hyperparameters of the models: good, middling and bad ones, trained on three losses.
GRID: dict[str, list[Any]] = {
    "loss": ["mae", "huber", "mse"],
    "max_order": [0, 1, 3],
    "num_nodes": [16, 64],
    "lr": [2e-3, 3e-2],
}
FIXED: dict[str, Any] = {"epochs": 30, "num_layers": 2, "batch_size": 32, "schedule": "cosine"}
#: Training frames; the validation splits keep all of theirs.
N_TRAIN = 420


class Metric(NamedTuple):
    """One way to write an error.

    Attributes
    ----------
    label : str
        With its unit.
    sign : int
        1 when smaller is better, -1 when larger is.
    """

    label: str
    sign: int


#: In the order of tables; the first is what `hpopt tune` minimises.
METRICS = {
    "energy_mae_mev_per_atom": Metric("MAE (meV/atom)", 1),
    "energy_rmse_mev_per_atom": Metric("RMSE (meV/atom)", 1),
    "energy_mae_ev": Metric("MAE (eV)", 1),
    "energy_mae_kcal_per_mol": Metric("MAE (kcal/mol)", 1),
    "energy_rmse_ev": Metric("RMSE (eV)", 1),
    "energy_median_error_ev": Metric("median error (eV)", 1),
    "energy_largest_error_ev": Metric("largest error (eV)", 1),
    "difference_mae_ev": Metric("MAE of differences (eV)", 1),
    "energy_ewt": Metric("EwT", -1),
    "r2_total": Metric("R² of totals", -1),
    "r2_referenced": Metric("R² less the linear fit", -1),
    "skill_over_median": Metric("skill over median", -1),
    "skill_over_linear": Metric("skill over linear", -1),
}


def all_metrics(
    arrays: SplitArrays, predicted: np.ndarray, baselines: Mapping[str, np.ndarray]
) -> dict[str, float]:
    """All of `METRICS` of one model on one split.

    Parameters
    ----------
    arrays : SplitArrays
    predicted : numpy.ndarray, shape (n_frames,)
        Total energies in eV.
    baselines : mapping of str to numpy.ndarray
        Total energies of ``median`` and ``linear`` in eV.

    Returns
    -------
    dict of str to float
        ``difference_mae_ev`` is about differences within a system, such as of two steps of a
        relaxation: the mean over pairs of frames of one system of the error of their difference.
    """
    found = energy_metrics(arrays.energy, predicted, arrays.n_atoms)
    error = predicted - arrays.energy
    pairs = [
        abs(error[a] - error[b])
        for system in np.unique(arrays.system_ids)
        for a, b in itertools.combinations(np.flatnonzero(arrays.system_ids == system), 2)
    ]
    left = (arrays.energy - baselines["linear"]) / arrays.n_atoms
    found |= {
        "energy_median_error_ev": float(np.median(np.abs(error))),
        "energy_largest_error_ev": float(np.abs(error).max()),
        "difference_mae_ev": float(np.mean(pairs)) if pairs else float("nan"),
        "r2_total": float(1 - (error**2).sum() / ((arrays.energy - arrays.energy.mean()) ** 2).sum()),
        "r2_referenced": float(1 - ((error / arrays.n_atoms) ** 2).sum() / ((left - left.mean()) ** 2).sum()),
    }
    for name, energies in baselines.items():
        key = "energy_mae_mev_per_atom"
        bound = energy_metrics(arrays.energy, energies, arrays.n_atoms)[key]
        found[f"skill_over_{name}"] = skill(found[key], bound)
    return {name: found[name] for name in METRICS}


def train_models(
    store: Store, points: Sequence[Mapping[str, Any]], seeds: Iterable[int]
) -> dict[str, dict[str, np.ndarray]]:
    """Train models and take all metrics on every validation split.

    Parameters
    ----------
    store : Store
    points : sequence of mapping
        Hyperparameters beside `FIXED`.
    seeds : iterable of int

    Returns
    -------
    dict of str to dict of str to numpy.ndarray, shape (n_points, n_seeds)
        By split and metric. The epoch is chosen on the first split.
    """
    from hpopt_lib.potential.batched import train_many
    from hpopt_lib.potential.batched_training import Member
    from hpopt_lib.potential.dataset import Dataset
    from hpopt_lib.potential.epochs import TrainingDivergedError
    from hpopt_lib.potential.evaluation import baseline_energies
    from hpopt_lib.potential.settings import TrainSettings

    seeds = list(seeds)
    splits = store.validation_splits()
    data = Dataset.from_store(store, validation=splits[0], n_train=min(N_TRAIN, _size(store)), seed=0)
    arrays = {split: store.read(split) for split in splits}
    baselines = {split: baseline_energies(data.train, data.reference, some) for split, some in arrays.items()}
    settings = [TrainSettings.from_dict({**FIXED, **point}) for point in points]
    results = train_many(data, [Member(one, seed) for one in settings for seed in seeds])
    shape = (len(points), len(seeds))
    found = {split: {name: np.full(shape, np.nan) for name in METRICS} for split in splits}
    for place, result in zip(np.ndindex(shape), results):
        if isinstance(result, TrainingDivergedError):
            continue
        for split, some in arrays.items():
            values = all_metrics(some, result.potential.predict(some), baselines[split])
            for name, value in values.items():
                found[split][name][place] = value
    return found


def _size(store: Store) -> int:
    return len(store.read(store.train_split))


def all_points() -> list[dict[str, Any]]:
    """The models of the record, in their order."""
    return grid_points(GRID)


def badness(found: Mapping[str, np.ndarray], name: str) -> np.ndarray:
    """Values of a metric, turned so that smaller is better; shape (n_models, n_seeds)."""
    return METRICS[name].sign * np.asarray(found[name], dtype=float)


def agreement_of(
    found: Mapping[str, np.ndarray], first: str, second: str, *, resamples: int = 400, seed: int = 0
) -> tuple[float, float, float]:
    """Kendall's rank correlation of two metrics over models, by their means over seeds.

    Returns
    -------
    tau, low, high : float
        With a 95 % bootstrap interval over models.
    """
    from scipy.stats import kendalltau

    a, b = (badness(found, name).mean(axis=1) for name in (first, second))
    rng = np.random.default_rng(seed)
    drawn = (rng.integers(0, len(a), len(a)) for _ in range(resamples))
    taus = [kendalltau(a[rows], b[rows]).statistic for rows in drawn]
    low, high = np.nanquantile(taus, [0.025, 0.975])
    return float(kendalltau(a, b).statistic), float(low), float(high)


def self_agreement(found: Mapping[str, np.ndarray], name: str) -> float:
    """Kendall's rank correlation of a metric with itself when the seeds are others.

    The mean over all divisions of the seeds into two parts, as equal as can be: how much of a metric's order
    is more than luck.
    """
    from scipy.stats import kendalltau

    values = badness(found, name)
    n = values.shape[1]
    parts = itertools.combinations(range(n), n // 2)
    taus = [
        kendalltau(values[:, list(part)].mean(axis=1), np.delete(values, part, axis=1).mean(axis=1)).statistic
        for part in parts
    ]
    return float(np.mean(taus))


def yardstick(found: Mapping[str, np.ndarray], first: str, second: str) -> float:
    """Agreement up to which two metrics are not told apart: the smaller of their agreements with themselves.

    A metric that hardly agrees with itself agrees with no other either, and says nothing by it.
    """
    return min(self_agreement(found, name) for name in (first, second))


def swaps(found: Mapping[str, np.ndarray], first: str, second: str) -> list[tuple[int, int]]:
    """Pairs of models that two metrics rank in opposite order, both beyond the luck of seeds.

    Returns
    -------
    list of (int, int)
        The first model of a pair is better by the first metric and worse by the second, each with a 95 %
        interval of the paired difference over seeds that leaves out zero; the clearest pair comes first.
    """
    from scipy.stats import t

    def score(name: str) -> np.ndarray:
        values = badness(found, name)
        n = values.shape[1]
        differences = values[:, None, :] - values[None, :, :]
        error = differences.std(axis=2, ddof=1) / np.sqrt(n)
        with np.errstate(divide="ignore", invalid="ignore"):
            return differences.mean(axis=2) / error / t.ppf(0.975, n - 1)

    a, b = score(first), score(second)
    clear = np.argwhere((a < -1) & (b > 1))
    strength = np.minimum(-a, b)
    return sorted(((int(i), int(j)) for i, j in clear), key=lambda pair: -strength[pair])


def price_of_choosing(found: Mapping[str, np.ndarray], by: str, judged: str) -> list[float]:
    """What is lost in one metric when the model is chosen by another.

    Chosen and judged with different seeds: for each seed the model is the best by the mean over
    the other seeds, and its value in `judged` is compared with that of the model which `judged` itself
    would have chosen there.

    Returns
    -------
    list of float
        Relative loss for each seed, positive when the choice by `by` is worse.
    """
    chooser, judge = badness(found, by), badness(found, judged)
    losses = []
    for k in range(judge.shape[1]):
        mine = int(np.delete(chooser, k, axis=1).mean(axis=1).argmin())
        own = int(np.delete(judge, k, axis=1).mean(axis=1).argmin())
        losses.append(float((judge[mine, k] - judge[own, k]) / abs(judge[own, k])))
    return losses
