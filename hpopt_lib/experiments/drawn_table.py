"""Train random points of the search spaces with several seeds, and keep what each reached."""

from __future__ import annotations

import multiprocessing
import time
from collections.abc import Iterable, Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from hpopt_lib.errors import HpoptError
from hpopt_lib.experiments.feature_cache import FeatureCache, Uses
from hpopt_lib.experiments.wide_space import Configuration, configuration
from hpopt_lib.progress import progress

#: Every so many-th frame of the training and of the validation split.
STRIDES = {"train": 12, "val_id": 8}
#: Halves of the validation split, by system: the first chooses epochs and points, the second reports.
HALVES = ("choose", "report")


@dataclass
class DrawnTable:
    """Random points of a space, and their errors.

    Attributes
    ----------
    space : str
        See `hpopt_lib.experiments.wide_space.space`.
    params : list of dict
        Hyperparameters of each point.
    errors : dict of str to numpy.ndarray, shape (n_points, n_seeds)
        By half (`HALVES`): energy MAE in meV/atom of the epoch that is best on ``choose``; infinite where a
        training diverged.
    cpu_s : numpy.ndarray, shape (n_points,)
        CPU seconds of a training, features not counted; seeds of one point were trained together where that
        can be done.
    """

    space: str
    params: list[dict[str, Any]]
    errors: dict[str, np.ndarray] = field(default_factory=dict)
    cpu_s: np.ndarray = field(default_factory=lambda: np.zeros(0))

    def __len__(self) -> int:
        return len(self.params)

    def to_dict(self) -> dict[str, Any]:
        """Plain values for a record, a column for each hyperparameter; None for an infinite error."""
        return {
            "params": {name: [_short(point[name]) for point in self.params] for name in self.params[0]},
            **{
                half: [[round(e, 3) if np.isfinite(e) else None for e in row] for row in rows.tolist()]
                for half, rows in self.errors.items()
            },
            "cpu_s": [round(seconds, 3) for seconds in self.cpu_s.tolist()],
        }

    @classmethod
    def from_dict(cls, space: str, data: Mapping[str, Any]) -> DrawnTable:
        """Inverse of `to_dict`.

        Raises
        ------
        HpoptError
            When columns differ in length or are missing.
        """
        try:
            columns = data["params"]
            params = [dict(zip(columns, row)) for row in zip(*columns.values(), strict=True)]
            errors = {half: np.array(data[half], dtype=float) for half in HALVES}
            table = cls(space, params, errors, np.array(data["cpu_s"], dtype=float))
            if {len(rows) for rows in (*errors.values(), table.cpu_s)} != {len(table)}:
                raise ValueError("columns differ in length")
        except (KeyError, ValueError, TypeError) as error:
            raise HpoptError(
                f"space {space}: not a table of points ({error})", remedy="record it again"
            ) from error
        for rows in table.errors.values():
            rows[np.isnan(rows)] = np.inf
        return table


def _short(value: Any) -> Any:
    """Floats as they are written into the record, and as they are trained with."""
    return float(f"{value:.5g}") if isinstance(value, float) else value


def training_frames(strides: Mapping[str, int] = STRIDES) -> dict[str, list]:
    """Frames of the embedded set ``oc20-like``: ``train`` and the `HALVES` of ``val_id``."""
    from hpopt_lib.data.embedded import load_embedded

    train, validation = (load_embedded("oc20-like", s, stride=strides[s]) for s in ("train", "val_id"))
    systems = sorted({atoms.info["system_id"] for atoms in validation})
    chosen = set(np.random.default_rng(0).permutation(systems)[: len(systems) // 2].tolist())
    halves: dict[str, list] = {half: [] for half in HALVES}
    for atoms in validation:
        halves[HALVES[0] if atoms.info["system_id"] in chosen else HALVES[1]].append(atoms)
    return {"train": train, **halves}


def dataset(cache: FeatureCache, setting: Configuration, *, draw: int) -> Any:
    """What a point's training needs; scaler and references are fitted on its own share of the frames.

    Parameters
    ----------
    cache : FeatureCache
        Of `training_frames`.
    setting : Configuration
    draw : int
        Seed of the share's draw.

    Returns
    -------
    hpopt_lib.potential.dataset.Dataset
    """
    from hpopt_lib.potential.dataset import Dataset
    from hpopt_lib.references import LinearReference, ReferenceSums, composition
    from hpopt_lib.references.kinds import parse_reference
    from hpopt_lib.scaling import FeatureScaler

    train = cache.arrays("train", setting.gmp, setting.densities)
    n = round(setting.train_share * len(train))
    train = train.take(np.sort(np.random.default_rng(draw).permutation(len(train))[:n]))
    scaler = FeatureScaler.empty(setting.gmp.num_features, kind=setting.transform)
    scaler.update(train.features)
    sums, given = ReferenceSums(), parse_reference(setting.references)
    known = given.of_frames(train.numbers, train.n_atoms, train.info) if given else 0.0
    sums.update(composition(train.numbers, train.n_atoms), train.energy, known)
    fit = LinearReference.from_sums(sums)
    reference = given.fitted(fit, sums.left_ev_per_atom) if given else fit
    validation = cache.arrays(HALVES[0], setting.gmp, setting.densities)
    return Dataset(train, validation, setting.gmp, scaler, reference)


def train_point(
    cache: FeatureCache, space: str, params: dict[str, Any], seeds: Sequence[int], *, draw: int
) -> tuple[dict[str, list[float]], float]:
    """Errors of a point with all seeds, on both halves, and the CPU seconds of a training."""
    from hpopt_lib.metrics import energy_metrics
    from hpopt_lib.potential.batched import train_many
    from hpopt_lib.potential.batched_training import Member
    from hpopt_lib.potential.epochs import TrainingDivergedError
    from hpopt_lib.potential.evaluation import HEADLINE

    setting = configuration(space, {name: _short(value) for name, value in params.items()})
    data = dataset(cache, setting, draw=draw)
    held_out = cache.arrays(HALVES[1], setting.gmp, setting.densities)
    start = time.process_time()
    outcomes = train_many(data, [Member(setting.train, seed) for seed in seeds])
    cpu_s = (time.process_time() - start) / len(seeds)
    errors: dict[str, list[float]] = {half: [] for half in HALVES}
    for outcome in outcomes:
        if isinstance(outcome, TrainingDivergedError):
            choose = report = float("inf")
        else:
            choose, energies = outcome.best_error, outcome.potential.predict(held_out)
            report = energy_metrics(held_out.energy, energies, held_out.n_atoms)[HEADLINE]
        errors[HALVES[0]].append(choose)
        errors[HALVES[1]].append(report)
    return errors, cpu_s


def train_points(
    points: Sequence[tuple[str, int, dict[str, Any]]],
    seeds: Sequence[int],
    folder: str | Path,
    *,
    processes: int = 1,
    strides: Mapping[str, int] = STRIDES,
) -> tuple[list[dict[str, list[float]]], list[float], Uses]:
    """Train points of several spaces, in this process or in several of one thread each.

    Parameters
    ----------
    points : sequence of (str, int, dict)
        Space, number of the point in it (the seed of its share of the frames), and hyperparameters.
    seeds : sequence of int
    folder : str or Path
        Of the cached features.
    processes : int
    strides : mapping of str to int

    Returns
    -------
    errors : list of dict of str to list of float
        Of `train_point`, in the order of the points.
    cpu_s : list of float
    uses : Uses
        Of the feature cache, sums over processes.
    """
    # points of one feature setting go to one process, which then computes each of its features once
    order = sorted(range(len(points)), key=lambda i: repr(configuration(points[i][0], points[i][2]).gmp))
    n_pieces = 4 * processes if len(points) >= 16 * processes else processes
    pieces = [piece.tolist() for piece in np.array_split(order, n_pieces) if len(piece)]
    work = [(strides, folder, [points[i] for i in piece], list(seeds)) for piece in pieces]
    if processes == 1:
        finished: Iterable[tuple[list[int], tuple[list[Any], Uses]]]
        finished = ((piece, _piece(*one)) for one, piece in zip(work, pieces))
        return _gather(progress(finished, total=len(pieces), desc="random points", unit="piece"), len(points))
    context = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(processes, mp_context=context, initializer=_one_thread) as pool:
        jobs = {pool.submit(_piece, *one): piece for one, piece in zip(work, pieces)}
        done = progress(as_completed(jobs), total=len(jobs), desc="random points", unit="piece")
        return _gather(((jobs[job], job.result()) for job in done), len(points))


def _gather(finished, n_points: int) -> tuple[list[dict[str, list[float]]], list[float], Uses]:
    errors: list[dict[str, list[float]]] = [{}] * n_points
    cpu_s, total = [0.0] * n_points, Uses()
    for piece, (made, uses) in finished:
        for i, (found, cpu) in zip(piece, made):
            errors[i], cpu_s[i] = found, cpu
        total = total + uses
    return errors, cpu_s, total


def _one_thread() -> None:
    import torch

    torch.set_num_threads(1)


def _piece(strides, folder, points, seeds) -> tuple[list[Any], Uses]:
    cache = FeatureCache(training_frames(strides), folder)
    made = [train_point(cache, space, params, seeds, draw=draw) for space, draw, params in points]
    return made, cache.uses


def baselines(strides: Mapping[str, int] = STRIDES) -> dict[str, dict[str, float]]:
    """Energy MAE in meV/atom of the median and the per-element linear baseline on both `HALVES`."""
    from hpopt_lib.metrics import energy_metrics
    from hpopt_lib.potential.evaluation import HEADLINE
    from hpopt_lib.references import LinearReference, composition
    from hpopt_lib.references.linear import median_baseline

    def arrays(frames: list) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        counts = np.array([len(atoms) for atoms in frames])
        numbers = np.concatenate([atoms.numbers for atoms in frames])
        energy = np.array([atoms.get_potential_energy() for atoms in frames])
        return energy, counts, composition(numbers, counts)

    frames = training_frames(strides)
    energy, counts, elements = arrays(frames["train"])
    linear = LinearReference.fit(elements, energy)
    found: dict[str, dict[str, float]] = {}
    for half in HALVES:
        true, n, content = arrays(frames[half])
        predicted = {"median": median_baseline(energy, counts, n), "linear": linear.energy(content)}
        found[half] = {
            name: round(energy_metrics(true, values, n)[HEADLINE], 3) for name, values in predicted.items()
        }
    return found
