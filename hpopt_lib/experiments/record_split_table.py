"""Train settings on all divisions by all rules, and keep what a replay needs."""

from __future__ import annotations

import hashlib
import json
import multiprocessing
import time
from collections.abc import Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from pathlib import Path
from typing import Any

import numpy as np

from hpopt_lib.experiments.split_divisions import RULES, divide_pool
from hpopt_lib.experiments.split_table import SplitTable
from hpopt_lib.files import atomic_path
from hpopt_lib.potential.settings import TrainSettings
from hpopt_lib.progress import progress

#: The rule whose trainings are also chosen by the errors on the store's validation splits.
SELECTING = "system"
#: Ways to choose among the validation splits; the first is what a search does without being told.
SELECTS = ("first", "mean", "worst-domain", "mean, last held out", "worst-domain, last held out")


def criteria_of(rule: str, parts: Sequence[str]) -> dict[str, Any]:
    """What the best epoch of a training may be best by, as functions of the errors of all parts."""
    found: dict[str, Any] = {"validation": lambda errors: errors[0], "test": lambda errors: errors[1]}
    if rule == SELECTING:
        rows = [row for row, part in enumerate(parts) if part.endswith("/select")]
        found |= {
            SELECTS[0]: lambda errors: errors[rows[0]],
            SELECTS[1]: lambda errors: errors[rows].mean(),
            SELECTS[2]: lambda errors: errors[rows].max(),
            SELECTS[3]: lambda errors: errors[rows[:-1]].mean(),
            SELECTS[4]: lambda errors: errors[rows[:-1]].max(),
        }
    return found


def kept(criterion: str, part: str) -> bool:
    """Whether a replay needs the error of a part in the epoch that is best by a criterion."""
    if criterion == "validation":
        return not part.endswith("/select")
    return part in ("validation", "test") if criterion == "test" else "/" in part


def train_division(
    store: Any, rule: str, number: int, configs: Sequence[Mapping[str, Any]], fixed: Mapping[str, Any]
) -> tuple[dict[str, np.ndarray], dict[str, dict[str, float]]]:
    """Train settings on one division.

    Parameters
    ----------
    store : Store
    rule : str
    number : int
        Of the division; also the seed of its trainings.
    configs : sequence of mappings
    fixed : mapping

    Returns
    -------
    errors : dict of str to numpy.ndarray, shape (n_configs,)
        See `SplitTable.errors`.
    baselines : dict of str to dict of str to float
        Under ``RULE/PART``.
    """
    from hpopt_lib.experiments.domain_training import train_watched, watched_data
    from hpopt_lib.potential.batched_training import Member, groups

    watched = watched_data(store, divide_pool(store.read(store.train_split), rule, number))
    parts = list(watched.parts)
    criteria = criteria_of(rule, parts)
    members = [Member(TrainSettings.from_dict({**fixed, **config}), number) for config in configs]
    errors = {
        f"{rule}/{criterion}/{part}": np.full(len(members), np.nan)
        for criterion in criteria
        for part in parts
        if kept(criterion, part)
    }
    for group in groups(members):
        for criterion, found in train_watched(watched, [members[k] for k in group], criteria).items():
            for part, column in zip(parts, found.T):
                if kept(criterion, part):
                    errors[f"{rule}/{criterion}/{part}"][group] = column
    return errors, {f"{rule}/{part}": values for part, values in watched.baselines().items()}


def record_split_table(
    path: str | Path,
    configs: list[dict[str, Any]],
    fixed: dict[str, Any],
    divisions: Sequence[int],
    *,
    processes: int = 1,
    work: str | Path | None = None,
) -> SplitTable:
    """Train all settings on all divisions by all rules.

    Parameters
    ----------
    path : str or Path
        Of the store.
    configs, fixed
        See `SplitTable`.
    divisions : sequence of int
    processes : int
        Of one thread each.
    work : str or Path, optional
        Folder for the parts, one for each division and rule: a recording that was stopped goes on from
        those that are there.

    Returns
    -------
    SplitTable
        ``wall_s`` and ``cpu_s`` in its origin are sums over the parts. Without command and commit, which the
        caller knows.
    """
    from hpopt_lib.store import Store

    path, wall_s, cpu_s = str(Path(path).resolve()), 0.0, 0.0
    errors: dict[str, np.ndarray] = {}
    baselines: dict[str, dict[str, list[float]]] = {}
    context = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(processes, mp_context=context, initializer=_one_thread) as pool:
        jobs = {
            pool.submit(_part, work, path, rule, number, configs, fixed): row
            for row, number in enumerate(divisions)
            for rule in RULES
        }
        for job in progress(as_completed(jobs), total=len(jobs), desc="split table", unit="division"):
            found, base, (wall, used) = job.result()
            wall_s, cpu_s = wall_s + wall, cpu_s + used
            for name, values in found.items():
                table = errors.setdefault(
                    name, np.full((len(divisions), len(configs)), np.nan, dtype=np.float16)
                )
                with np.errstate(over="ignore"):  # of one that nearly diverged
                    table[jobs[job]] = values
            for part, guesses in base.items():
                for name, value in guesses.items():
                    rows = baselines.setdefault(part, {}).setdefault(name, [0.0] * len(divisions))
                    rows[jobs[job]] = round(value, 2)
        # alone on the machine's other work: when all else is done
        times = pool.submit(_times, path, configs, fixed).result()
    with Store.open(path) as store:
        splits = store.validation_splits()
    return SplitTable(
        configs=configs,
        fixed=fixed,
        divisions=list(divisions),
        splits=splits,
        errors=errors,
        microseconds_per_atom=np.array(times),
        baselines=baselines,
        origin={"wall_s": round(wall_s, 1), "cpu_s": round(cpu_s, 1)},
    )


def _one_thread() -> None:
    import torch

    torch.set_num_threads(1)


def _part(
    work: str | Path | None, path: str, rule: str, number: int, configs: Any, fixed: Any
) -> tuple[dict[str, np.ndarray], dict[str, dict[str, float]], list[float]]:
    """Errors, baselines, and wall and CPU seconds of one division, from its file when that is there."""
    from hpopt_lib.store import Store

    if work is None:
        file = None
    else:
        with Store.open(path) as store:
            made_of = json.dumps([store.fingerprint, configs, fixed], sort_keys=True)
        file = Path(work) / f"{rule}-{number}-{hashlib.sha256(made_of.encode()).hexdigest()[:10]}.npz"
        if file.exists():
            with np.load(file, allow_pickle=False) as archive:
                header = json.loads(str(archive["header"]))
                errors = {name: archive[name] for name in archive.files if name != "header"}
            return errors, header["baselines"], header["seconds"]
    start = time.perf_counter(), time.process_time()
    with Store.open(path) as store:
        errors, baselines = train_division(store, rule, number, configs, fixed)
    seconds = [time.perf_counter() - start[0], time.process_time() - start[1]]
    if file is not None:
        text = json.dumps({"baselines": baselines, "seconds": seconds})
        arrays: dict[str, Any] = {"header": np.array(text), **errors}
        with atomic_path(file) as temporary, open(temporary, "wb") as stream:
            np.savez_compressed(stream, **arrays)
    return errors, baselines, seconds


def _times(path: str, configs: Any, fixed: Any) -> list[float]:
    """Microseconds an atom of a network, the least of some passes, measured once for each shape."""
    from dataclasses import replace

    from hpopt_lib.potential.dataset import Dataset
    from hpopt_lib.potential.training import Training
    from hpopt_lib.store import Store

    data, known = Dataset.from_store(Store.open(path)), {}
    shapes = [
        replace(TrainSettings.from_dict({**fixed, **config}), lr=1e-3, weight_decay=0.0) for config in configs
    ]
    for shape in shapes:
        if shape not in known:
            potential = Training(data, shape, seed=0).result().potential
            prepared = potential.prepare(data.validation)
            passes = []
            for _ in range(30):
                start = time.perf_counter()
                potential.predict(prepared)
                passes.append(time.perf_counter() - start)
            known[shape] = 1e6 * min(passes) / int(data.validation.n_atoms.sum())
    return [round(known[shape], 5) for shape in shapes]
