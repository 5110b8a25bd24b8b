"""Several workers on one machine."""

from __future__ import annotations

import multiprocessing
import signal
import threading
from typing import Any

from hpopt_lib.errors import HpoptError
from hpopt_lib.progress import say
from hpopt_lib.tuning.addresses import DEFAULT_STORAGE, mask
from hpopt_lib.tuning.interrupts import Interrupts, interruptible
from hpopt_lib.tuning.workers import Worker, WorkerOptions

#: Exit status of a process that was told to stop while the study was not done ("temporary failure").
STOPPED = 75


def work(
    name: str, address: str | None, options: WorkerOptions, *, jobs: int = 1, deadline: float | None = None
) -> bool:
    """Work on a study with some processes until it has its trials.

    Parameters
    ----------
    name : str
        Of the study.
    address : str or None
        Of its storage.
    options : WorkerOptions
    jobs : int
        Processes, each with one thread and a seed of its own.
    deadline : float, optional
        Time (Unix, in seconds) at which the job ends.

    Returns
    -------
    bool
        Whether the study has its trials; False when a signal or the time limit came first.

    Raises
    ------
    HpoptError
        When the study cannot be worked on, or twenty trials in a row failed.
    """
    with interruptible(deadline) as stops:
        if jobs == 1:
            return Worker(name, address, options, stops).run()
        return _in_processes(name, address, options, jobs, stops)


def _process(name, address, options, deadline, failures) -> None:
    try:
        with interruptible(deadline) as stops:
            done = Worker(name, address, options, stops).run()
    except HpoptError as error:
        failures.put((error.problem, error.remedy))
        raise SystemExit(1) from None
    except KeyboardInterrupt:
        raise SystemExit(STOPPED) from None
    raise SystemExit(0 if done else STOPPED)


def _start(workers: list[Any]) -> None:
    """Start processes that leave Ctrl-C, which reaches them too, to their parent."""
    in_main = threading.current_thread() is threading.main_thread()
    previous = signal.signal(signal.SIGINT, signal.SIG_IGN) if in_main else None
    try:
        for process in workers:
            process.start()
    finally:
        if in_main:
            signal.signal(signal.SIGINT, previous)


def _in_processes(
    name: str, address: str | None, options: WorkerOptions, jobs: int, stops: Interrupts
) -> bool:
    # spawned, not forked: neither torch's threads nor open databases survive a fork
    context = multiprocessing.get_context("spawn")
    failures = context.SimpleQueue()
    workers = [
        context.Process(
            target=_process, args=(name, address, options, stops.deadline, failures), name=f"worker-{k}"
        )
        for k in range(jobs)
    ]
    _start(workers)
    told = False
    while any(process.is_alive() for process in workers):
        if stops.reason and not told:
            told = True
            for process in workers:
                process.terminate()  # SIGTERM: they stop at the end of an epoch
        for process in workers:
            process.join(0.1)
    if not failures.empty():
        problem, remedy = failures.get()
        raise HpoptError(problem, remedy=remedy)
    codes = [process.exitcode for process in workers]
    if 0 not in codes and STOPPED not in codes:
        raise HpoptError(
            f"study {name!r} in {mask(address or DEFAULT_STORAGE)}: all workers died "
            f"({', '.join(map(str, codes))})",
            remedy="see the messages above; finished trials are kept, the same command goes on",
        )
    for code in codes:
        if code not in (0, STOPPED):
            say(f"study {name}: a worker died ({code}); the others went on")
    return 0 in codes
