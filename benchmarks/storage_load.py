"""Processes that work on one study with a training that costs nothing, and what each trial cost them."""

from __future__ import annotations

import contextlib
import itertools
import multiprocessing
import os
import random
import time
import warnings
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

#: Two floats, as the load of this benchmark is defined.
SPACE = """
[lr]
type = "float"
low = 1e-4
high = 1e-1
log = true

[weight_decay]
type = "float"
low = 1e-6
high = 1e-2
log = true
"""
REPORTS = 10
#: What a training stores beside its values, see `hpopt_lib.tuning.objective`.
RESULTS: dict[str, Any] = {
    "settings": {"num_layers": 2, "num_nodes": 32, "activation": "tanh", "lr": 1e-3, "batch_size": 32},
    "epochs": REPORTS,
    "best_epoch": REPORTS - 1,
    "repeat_errors": [12.345678901234567],
    "learning_curve": [1.2345678901234567] * REPORTS,
    "energy_mae_mev_per_atom": 12.345678901234567,
    "energy_mae_ev": 0.8765432109876543,
    "skill_over_median": 0.87654321098765432,
    "skill_over_linear": 0.65432109876543211,
}
CONTEXT = multiprocessing.get_context("forkserver")
CONTEXT.set_forkserver_preload(["torch", "optuna.storages", "pymysql", "hpopt_lib.tuning.workers"])


@dataclass(frozen=True)
class Load:
    """What the processes do.

    Attributes
    ----------
    study : str
    workers : int
    trials : int
        Of all workers together.
    seconds : float
        Length of a training; the processes then start spread over that time, as jobs of a cluster do.
    """

    study: str
    workers: int
    trials: int
    seconds: float = 0.0


@dataclass
class Cost:
    """What a load took, for one trial each.

    Attributes
    ----------
    rate : float
        Trials in a second, all workers together.
    overhead_s : list of float
        Seconds of each trial beside its training.
    cpu_s : float
        CPU seconds of the worker.
    server_s : float
        CPU seconds of the server, if there is one.
    statements, transactions : float
        SQL statements sent, and connections taken from the pool.
    settled_s : list of float
        As `overhead_s` without the first two trials of each worker, in which libraries get ready.
    """

    rate: float = 0.0
    overhead_s: list[float] = field(default_factory=list)
    cpu_s: float = 0.0
    server_s: float = float("nan")
    statements: float = float("nan")
    transactions: float = float("nan")
    settled_s: list[float] = field(default_factory=list)


class _Counter:
    """Statements of all engines of this process."""

    def __init__(self) -> None:
        import sqlalchemy as sa

        self.statements = self.transactions = 0
        sa.event.listen(sa.Engine, "before_cursor_execute", self._statement)
        sa.event.listen(sa.pool.Pool, "checkout", self._transaction)

    def _statement(self, *_: object) -> None:
        self.statements += 1

    def _transaction(self, *_: object) -> None:
        self.transactions += 1


class Training:
    """Draws, waits, reports and asks the pruner; its answer is not followed, so that all trials are equal."""

    def __init__(self, seconds: float) -> None:
        self.seconds, self.waited = seconds, 0.0

    def __call__(self, trial: Any) -> float:
        x = trial.suggest_float("lr", 1e-4, 1e-1, log=True)
        y = trial.suggest_float("weight_decay", 1e-6, 1e-2, log=True)
        for epoch in range(1, REPORTS + 1):
            if self.seconds:
                start = time.monotonic()
                time.sleep(self.seconds / REPORTS)
                self.waited += time.monotonic() - start
            trial.report(x + y + 1 / epoch, step=epoch)
            self.ask_pruner(trial)
        self.store(trial)
        return x + y

    def ask_pruner(self, trial: Any) -> None:
        trial.should_prune()

    def store(self, trial: Any) -> None:
        for key, value in RESULTS.items():
            trial.set_user_attr(key, value)


def run(load: Load, prepare: Callable[..., Any], *arguments: Any, server: list[int] | None = None) -> Cost:
    """Let processes do a load.

    Parameters
    ----------
    load : Load
    prepare : callable
        A function of a module; called in each process with the load, the training and `arguments`
        before the clock starts. Gives a function of one argument, called with a note to make after
        each trial.
    server : list of int, optional
        Processes of the server.
    """
    barrier, results = CONTEXT.Barrier(load.workers + 1), CONTEXT.SimpleQueue()
    processes = [
        CONTEXT.Process(target=_process, args=(load, k, barrier, results, prepare, arguments), daemon=True)
        for k in range(load.workers)
    ]
    for process in processes:
        process.start()
    barrier.wait(timeout=240)
    before = sum(map(cpu_of, server or []))
    made = [results.get() for _ in processes]
    after = sum(map(cpu_of, server or []))
    for process in processes:
        process.join()
    if failed := [text for text in made if isinstance(text, str)]:
        raise RuntimeError(failed[0])
    n = sum(len(one["overhead"]) for one in made)
    assert n >= load.trials, (n, load)
    ends = [one["end"] for one in made if one["overhead"]]
    return Cost(
        rate=n / (max(ends) - min(one["start"] for one in made)),
        overhead_s=[value for one in made for value in one["overhead"]],
        settled_s=[value for one in made for value in one["overhead"][2:]],
        cpu_s=sum(one["cpu"] for one in made) / n,
        server_s=(after - before) / n if server else float("nan"),
        statements=sum(one["statements"] for one in made) / n or float("nan"),
        transactions=sum(one["transactions"] for one in made) / n or float("nan"),
    )


def _process(load, k, barrier, results, prepare, arguments) -> None:
    with open(os.devnull, "w") as sink, contextlib.redirect_stderr(sink), contextlib.redirect_stdout(sink):
        warnings.simplefilter("ignore")
        try:
            counter, training = _Counter(), Training(load.seconds)
            go = prepare(load, k, training, *arguments)
            barrier.wait(timeout=240)
            if load.seconds:
                time.sleep(load.seconds * random.Random(k).random())
            results.put(_measured(go, counter, training))
        except Exception as error:
            barrier.abort()
            results.put(f"{type(error).__name__}: {error}")


def _measured(go: Callable[..., Any], counter: _Counter, training: Training) -> dict[str, Any]:
    def note() -> tuple[float, ...]:
        return (
            time.monotonic(), training.waited, time.process_time(), counter.statements, counter.transactions
        )  # fmt: skip

    notes = [note()]
    go(lambda *_: notes.append(note()))
    first, last = notes[0], notes[-1]
    return {
        "start": first[0],
        "end": last[0],
        "overhead": [b[0] - a[0] - (b[1] - a[1]) for a, b in itertools.pairwise(notes)],
        "cpu": last[2] - first[2],
        "statements": last[3] - first[3],
        "transactions": last[4] - first[4],
    }


def cpu_of(pid: int) -> float:
    """CPU seconds of a process so far (Linux)."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")
