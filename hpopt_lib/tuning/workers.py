"""The processes that share a study's trials, and how they stop."""

from __future__ import annotations

import multiprocessing
import multiprocessing.connection
import signal
import threading
import warnings
from typing import TYPE_CHECKING, Any

from hpopt_lib.errors import HpoptError
from hpopt_lib.potential.training import TrainingDivergedError
from hpopt_lib.progress import say
from hpopt_lib.tuning.config import StudyConfig, finished, open_study
from hpopt_lib.tuning.interrupts import Interrupts, interruptible
from hpopt_lib.tuning.objective import Objective
from hpopt_lib.tuning.storage import DEFAULT_STORAGE, mask, open_storage

if TYPE_CHECKING:
    import optuna

MAX_FAILURES_IN_A_ROW = 20


class _Gate:
    """Lets one worker at a time look at the budget and start its trial."""

    def __init__(self, lock: Any, stops: Interrupts) -> None:
        self.lock, self.stops, self.held = lock, stops, False

    def acquire(self) -> None:
        if self.lock is not None:
            while not self.lock.acquire(timeout=0.5):
                self.stops.check()
            self.held = True

    def release(self) -> None:
        if self.held:
            self.held = False
            self.lock.release()


def work(
    name: str,
    config: StudyConfig,
    storage: str | None,
    trials: int,
    *,
    worker: int,
    stops: Interrupts,
    gate: Any = None,
) -> None:
    """Run trials until the study has enough; one process's share."""
    import optuna
    import torch
    from optuna.trial import TrialState

    torch.set_num_threads(1)
    # a spawned process starts afresh; Optuna would warn of every failed trial with a traceback
    optuna.logging.set_verbosity(optuna.logging.ERROR)
    study = open_study(name, config, open_storage(storage), worker=worker)
    objective = Objective(
        config.dataset(),
        config.search_space(),
        seed=config.seed,
        repeats=config.repeats,
        report_repeats=config.pruner == "wilcoxon",
        stops=stops,
    )
    passage = _Gate(gate, stops)
    earlier = len(study.get_trials(deepcopy=False))

    def run(trial: optuna.Trial) -> float:
        passage.release()
        return objective(trial)

    def show(study: optuna.Study, trial: optuna.trial.FrozenTrial) -> None:
        total = finished(study)
        value = (
            f"{trial.value:.2f} meV/atom" if trial.value is not None else trial.user_attrs.get("failure", "")
        )
        say(f"trial {trial.number}: {trial.state.name.lower()} {value} ({total} of {trials})")

    def run_one() -> bool:
        """Run a trial unless the study has enough."""
        passage.acquire()
        try:
            counted = study.get_trials(
                deepcopy=False, states=(TrialState.COMPLETE, TrialState.PRUNED, TrialState.RUNNING)
            )
            if len(counted) >= trials and (gate is not None or finished(study) >= trials):
                return False
            if _grid_is_exhausted(study):
                return False
            last = study.get_trials(deepcopy=False)[earlier:][-MAX_FAILURES_IN_A_ROW:]
            if len(last) == MAX_FAILURES_IN_A_ROW and all(t.state == TrialState.FAIL for t in last):
                raise HpoptError(
                    f"study {name!r}: the last {MAX_FAILURES_IN_A_ROW} trials failed "
                    f"({last[-1].user_attrs.get('failure', 'see the messages above')})",
                    remedy="narrow the search space (usually lr) or mend the data",
                )
            with warnings.catch_warnings():
                warnings.simplefilter("ignore", optuna.exceptions.ExperimentalWarning)
                study.optimize(run, n_trials=1, catch=(TrainingDivergedError,), callbacks=[show])
            return True
        finally:
            passage.release()

    more = True
    while more:
        with stops.held():
            more = run_one()


def _grid_is_exhausted(study: optuna.Study) -> bool:
    """Whether every point of a grid has a trial; Optuna would draw points again."""
    import optuna

    if not isinstance(study.sampler, optuna.samplers.GridSampler):
        return False
    started = {t.system_attrs.get("grid_id") for t in study.get_trials(deepcopy=False)} - {None}
    return len(started) >= study.sampler._n_min_trials


def _worker(name, config, storage, trials, worker, lock, failures) -> None:
    try:
        with interruptible() as stops:
            work(name, config, storage, trials, worker=worker, stops=stops, gate=lock)
    except HpoptError as error:
        failures.put((error.problem, error.remedy))
        raise SystemExit(1) from None
    except KeyboardInterrupt:
        raise SystemExit(130) from None


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


def _wait(workers: list[Any]) -> None:
    """Wait for all; when one was killed, end the others, since it may have held the lock."""
    alive = {process.sentinel: process for process in workers}
    while alive:
        for sentinel in multiprocessing.connection.wait(list(alive)):
            process = alive.pop(sentinel)
            process.join()
            if process.exitcode < 0:
                for other in alive.values():
                    other.terminate()


def work_in_processes(name, config, storage, trials, *, jobs: int, first_worker: int) -> None:
    """Share a study's trials among processes, and wait for them."""
    # spawned, not forked: neither torch's threads nor open databases survive a fork
    context = multiprocessing.get_context("spawn")
    lock, failures = context.Lock(), context.SimpleQueue()
    workers = [
        context.Process(
            target=_worker,
            args=(name, config, storage, trials, first_worker + k, lock, failures),
            name=f"worker-{k}",
        )
        for k in range(jobs)
    ]
    with interruptible() as stops:
        try:
            with stops.held():
                _start(workers)
            _wait(workers)
        except KeyboardInterrupt:
            for process in workers:
                process.terminate()
            for process in workers:
                process.join()
            raise
    if not failures.empty():
        problem, remedy = failures.get()
        raise HpoptError(problem, remedy=remedy)
    if any(process.exitcode for process in workers):
        codes = ", ".join(str(process.exitcode) for process in workers)
        raise HpoptError(
            f"study {name!r} in {mask(storage or DEFAULT_STORAGE)}: a worker ended with an error ({codes})",
            remedy="see the messages above; finished trials are kept, the same command goes on",
        )
