"""Which sampler? Studies on recorded trainings, one after the other and by parallel workers."""

from __future__ import annotations

import heapq
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from hpopt_lib.experiments.replay import quiet_optuna
from hpopt_lib.experiments.trial_table import TrialTable
from hpopt_lib.progress import progress
from hpopt_lib.tuning.samplers import make_sampler
from hpopt_lib.tuning.space import Parameter, SearchSpace

NAMES = ("random", "quasi-random", "tpe", "cmaes", "gp")


@dataclass(frozen=True)
class Race:
    """One study: its trials in the order in which they ended.

    Attributes
    ----------
    regret : numpy.ndarray, shape (n_trials,)
        After each trial: mean error over all seeds of the point with the best value so far, minus the
        smallest such mean of the table, in meV/atom. What the study saw is one noisy value; the luck
        in it does not count.
    end_s : numpy.ndarray, shape (n_trials,)
        Virtual time at which the trial ended: trainings and the sampler's own time.
    sampler_s : numpy.ndarray, shape (n_trials,)
        Measured wall time of the sampler for each trial.
    """

    regret: np.ndarray
    end_s: np.ndarray
    sampler_s: np.ndarray


def index_space(table: TrialTable) -> SearchSpace:
    """The places of the grid's values as whole numbers: evenly spaced, and ordered as the values are."""
    return SearchSpace(
        tuple(Parameter(name, "int", low=0, high=len(values) - 1) for name, values in table.grid.items()),
        fixed={},
        text="",
    )


def race(
    table: TrialTable, sampler: str, *, n_trials: int, seed: int, workers: int = 1, slower: float = 1.0
) -> Race:
    """Run a study whose trials look their error up.

    Parameters
    ----------
    table : TrialTable
    sampler : str
        See `hpopt_lib.tuning.samplers.make_sampler`.
    n_trials : int
    seed : int
        Of the study, and of the draw of a seed of the table for each trial.
    workers : int
        Each has a sampler of its own, as processes have. A worker that ends a trial begins the next one at
        once, knowing what had ended by then.
    slower : float
        Trainings take so many times the seconds of the table.

    Returns
    -------
    Race
    """
    import optuna

    errors = table.errors[table.validation]
    means = errors.mean(axis=1)
    lasting = slower * table.n_epochs * table.epoch_seconds
    space, rng = index_space(table), np.random.default_rng([seed, workers])
    samplers = [make_sampler(sampler, seed=seed, space=space, worker=w) for w in range(workers)]
    busy: list[tuple[float, int, Any, int, float, float]] = []
    done: list[tuple[float, int, float, float]] = []
    with quiet_optuna():
        study = optuna.create_study(study_name=f"race-{seed}", sampler=samplers[0])

        def begin(worker: int, now: float) -> None:
            study.sampler = samplers[worker]
            start = time.perf_counter()
            trial = study.ask()
            drawn = space.suggest(trial)
            used = time.perf_counter() - start
            point = table.index({name: table.grid[name][place] for name, place in drawn.items()})
            value = float(errors[point, rng.integers(errors.shape[1])])
            end = now + used + float(lasting[point])
            heapq.heappush(busy, (end, trial.number, trial, point, value, used))

        begun = min(workers, n_trials)
        for worker in range(begun):
            begin(worker, 0.0)
        at_work = {entry[1]: worker for worker, entry in enumerate(sorted(busy, key=lambda e: e[1]))}
        while busy:
            end, number, trial, point, value, used = heapq.heappop(busy)
            worker = at_work.pop(number)
            study.sampler = samplers[worker]
            start = time.perf_counter()
            study.tell(trial, value if np.isfinite(value) else None, state=_state(value))
            telling = time.perf_counter() - start
            done.append((end + telling, point, value, used + telling))
            if begun < n_trials:
                at_work[begun] = worker
                begun += 1
                begin(worker, end + telling)
    values = np.array([np.inf if np.isnan(row[2]) else row[2] for row in done])
    points = np.array([row[1] for row in done])
    best = [int(values[: n + 1].argmin()) for n in range(len(values))]
    return Race(
        regret=means[points[best]] - np.nanmin(means),
        end_s=np.maximum.accumulate([row[0] for row in done]),
        sampler_s=np.array([row[3] for row in done]),
    )


def _state(value: float) -> Any:
    from optuna.trial import TrialState

    return TrialState.COMPLETE if np.isfinite(value) else TrialState.FAIL


def run_samplers(
    table: TrialTable,
    *,
    names: Sequence[str] = NAMES,
    workers: Sequence[int] = (1, 8),
    n_trials: int,
    seeds: Sequence[int],
    slower: float = 1.0,
) -> dict[str, dict[str, list[Any]]]:
    """Races of several samplers with the same seeds.

    Returns
    -------
    dict of str to dict of str to list
        For each sampler and number of workers (`race_name`) and each seed the attributes of `Race`: lists of
        ``regret`` and ``end_s``, and the mean of ``sampler_s`` over trials.
    """
    races = [(name, number, seed) for name in names for number in workers for seed in seeds]
    results: dict[str, dict[str, list[Any]]] = {}
    race(table, names[0], n_trials=2, seed=0)  # loads libraries, whose time is no sampler's
    for name, number, seed in progress(races, desc="races", unit="race"):
        made = race(table, name, n_trials=n_trials, seed=seed, workers=number, slower=slower)
        rows = results.setdefault(race_name(name, number), {"regret": [], "end_s": [], "sampler_s": []})
        rows["regret"].append(np.round(made.regret, 2).tolist())
        rows["end_s"].append(np.round(made.end_s, 2).tolist())
        rows["sampler_s"].append(round(float(made.sampler_s.mean()), 6))
    return results


def race_name(sampler: str, workers: int) -> str:
    """Name of a sampler with a number of workers."""
    return f"{sampler}, {workers} worker{'s' * (workers > 1)}"


def regret_at(rows: Mapping[str, Sequence[Any]], seconds: np.ndarray) -> np.ndarray:
    """Regret of every study at some times, shape (n_studies, n_times); NaN before its first trial ended."""
    found = np.full((len(rows["regret"]), len(seconds)), np.nan)
    for row, (regret, ends) in enumerate(zip(rows["regret"], rows["end_s"])):
        places = np.searchsorted(np.asarray(ends), seconds, side="right") - 1
        found[row] = np.where(places >= 0, np.asarray(regret)[np.maximum(places, 0)], np.nan)
    return found


def probability_best(
    finals: Mapping[str, Sequence[float]], *, resamples: int = 4000, seed: int = 0
) -> dict[str, float]:
    """Share of bootstrap resamples of the seeds in which a sampler has the smallest mean regret.

    Parameters
    ----------
    finals : mapping of str to sequence of float
        Regrets of each sampler, one for each seed, in the same order. Ties are shared.
    """
    values = np.array(list(finals.values()), dtype=float)
    rng = np.random.default_rng(seed)
    means = values[:, rng.integers(0, values.shape[1], (resamples, values.shape[1]))].mean(axis=2)
    first = np.isclose(means, means.min(axis=0))
    return dict(zip(finals, (first / first.sum(axis=0)).mean(axis=1).tolist()))
