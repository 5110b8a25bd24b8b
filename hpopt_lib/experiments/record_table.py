"""Train every point of a grid, many networks at once, and keep the curves."""

from __future__ import annotations

import multiprocessing
import time
from collections.abc import Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from pathlib import Path
from typing import Any

import numpy as np

from hpopt_lib.experiments.trial_table import TrialTable, grid_points
from hpopt_lib.potential.evaluation import HEADLINE, baseline_energies
from hpopt_lib.potential.settings import TrainSettings
from hpopt_lib.progress import progress

#: Networks in a stack: more of them win little (benchmarks/bench_batched.py) and need more memory.
STACK = 24


def record_table(
    store: str | Path,
    grid: dict[str, list[Any]],
    fixed: dict[str, Any],
    seeds: Sequence[int],
    *,
    validation: str | None = None,
    processes: int = 1,
) -> TrialTable:
    """Train all points of a grid with all seeds.

    Parameters
    ----------
    store : str or Path
    grid : dict of str to list
        Values of each hyperparameter.
    fixed : dict
        The same hyperparameters for all, among them ``epochs``.
    seeds : sequence of int
    validation : str, optional
        Split of the curves, also the one that the best epoch is best on.
    processes : int
        Of one thread each.

    Returns
    -------
    TrialTable
        Without command and commit, which the caller knows.
    """
    from hpopt_lib.potential.batched_training import Member, groups
    from hpopt_lib.store import Store

    path = str(Path(store).resolve())
    points, start = grid_points(grid), time.perf_counter()
    settings = [TrainSettings.from_dict({**fixed, **point}) for point in points]
    members = [Member(one, seed) for one in settings for seed in seeds]
    with Store.open(path) as opened:
        first = opened.check_split(validation or opened.validation_splits()[0])
        splits = [first, *(split for split in opened.validation_splits() if split != first)]
        train = opened.read(opened.train_split)
        baselines = {split: _baselines(opened, train, split) for split in splits}
    pieces = [group[k : k + STACK] for group in groups(members) for k in range(0, len(group), STACK)]
    curves = np.full((len(members), settings[0].epochs), np.nan, dtype=np.float32)
    errors = {split: np.full(len(members), np.nan) for split in splits}
    cpu_s = 0.0
    context = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(processes, mp_context=context, initializer=_one_thread) as pool:
        jobs = {
            pool.submit(_train, path, splits, [members[index] for index in piece]): piece for piece in pieces
        }
        for job in progress(as_completed(jobs), total=len(jobs), desc="trial table", unit="stack"):
            made, used = job.result()
            cpu_s += used
            for index, (curve, finals) in zip(jobs[job], made):
                curves[index, : len(curve)] = curve
                for split, value in finals.items():
                    errors[split][index] = value
        # alone on the machine's other work: one after the other, when all else is done
        epoch_seconds = pool.submit(_times, path, first, settings).result()
    shape = (len(points), len(seeds))
    return TrialTable(
        grid=grid,
        fixed=fixed,
        seeds=list(seeds),
        metric=HEADLINE,
        curves=curves.reshape(*shape, -1),
        errors={split: values.reshape(shape) for split, values in errors.items()},
        epoch_seconds=np.array(epoch_seconds),
        baselines=baselines,
        origin={"wall_s": round(time.perf_counter() - start, 1), "cpu_s": round(cpu_s, 1)},
    )


def _baselines(store: Any, train: Any, split: str) -> dict[str, float]:
    from hpopt_lib.metrics import energy_metrics

    arrays = store.read(split)
    return {
        name: energy_metrics(arrays.energy, energies, arrays.n_atoms)[HEADLINE]
        for name, energies in baseline_energies(train, store.reference, arrays).items()
    }


def _one_thread() -> None:
    import torch

    torch.set_num_threads(1)


def _train(path: str, splits: list[str], members: list[Any]) -> tuple[list[Any], float]:
    """Curve and errors of some trainings, and the CPU seconds that they took."""
    from hpopt_lib.metrics import energy_metrics
    from hpopt_lib.potential.batched import train_many
    from hpopt_lib.potential.dataset import Dataset
    from hpopt_lib.potential.epochs import TrainingDivergedError
    from hpopt_lib.potential.training import OBJECTIVE
    from hpopt_lib.store import Store

    start = time.process_time()
    made: list[Any] = []
    with Store.open(path) as store:
        data = Dataset.from_store(store, validation=splits[0])
        arrays = {split: store.read(split) for split in splits}
        for result in train_many(data, members):
            if isinstance(result, TrainingDivergedError):
                made.append(([], {}))
                continue
            finals = {
                split: energy_metrics(some.energy, result.potential.predict(some), some.n_atoms)[HEADLINE]
                for split, some in arrays.items()
            }
            made.append(([record[f"validation_{OBJECTIVE}"] for record in result.history], finals))
    return made, time.process_time() - start


def _times(path: str, validation: str, settings: list[TrainSettings]) -> list[float]:
    """Wall seconds of an epoch of each training, measured once for each shape."""
    from dataclasses import replace

    from hpopt_lib.potential.dataset import Dataset
    from hpopt_lib.potential.training import Training
    from hpopt_lib.store import Store

    data = Dataset.from_store(Store.open(path), validation=validation)
    known: dict[TrainSettings, float] = {}
    for one in settings:
        # these change no number of operations
        shape = replace(one, lr=1e-3, weight_decay=0.0, schedule="constant")
        if shape not in known:
            training = Training(data, shape, seed=0)
            training.step()
            start = time.perf_counter()
            for _ in range(3):
                training.step()
            known[shape] = (time.perf_counter() - start) / 3
    return [known[replace(one, lr=1e-3, weight_decay=0.0, schedule="constant")] for one in settings]
