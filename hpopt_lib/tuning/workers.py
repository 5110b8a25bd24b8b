"""The processes that share a study's trials, and how they stop."""

from __future__ import annotations

import multiprocessing
import signal
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from hpopt_lib.errors import HpoptError
from hpopt_lib.potential.training import TrainingDivergedError
from hpopt_lib.progress import say
from hpopt_lib.tuning.config import StudyConfig, finished, open_study
from hpopt_lib.tuning.objective import Objective
from hpopt_lib.tuning.storage import DEFAULT_STORAGE, mask, open_storage

if TYPE_CHECKING:
    import optuna

MAX_FAILURES_IN_A_ROW = 20


@contextmanager
def interruptible() -> Iterator[None]:
    """Let SIGTERM end the block as Ctrl-C does, so that running trials are marked failed."""

    def interrupt(*_: object) -> None:
        raise KeyboardInterrupt

    previous = signal.signal(signal.SIGTERM, interrupt)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, previous)


class _Gate:
    """Lets one worker at a time look at the budget and start its trial."""

    def __init__(self, lock: Any) -> None:
        self.lock, self.held = lock, False

    def acquire(self) -> None:
        if self.lock is not None:
            self.lock.acquire()
            self.held = True

    def release(self) -> None:
        if self.held:
            self.held = False
            self.lock.release()


def work(name: str, config: StudyConfig, storage: str | None, trials: int, *, worker: int, gate: Any) -> None:
    """Run trials until the study has enough; one process's share."""
    import optuna
    import torch
    from optuna.trial import TrialState

    torch.set_num_threads(1)
    optuna.logging.set_verbosity(optuna.logging.WARNING)  # a spawned process starts afresh
    study = open_study(name, config, open_storage(storage), worker=worker)
    objective = Objective(
        config.dataset(),
        config.search_space(),
        seed=config.seed,
        repeats=config.repeats,
        report_repeats=config.pruner == "wilcoxon",
    )
    passage = _Gate(gate)

    def run(trial: optuna.Trial) -> float:
        passage.release()
        return objective(trial)

    def show(study: optuna.Study, trial: optuna.trial.FrozenTrial) -> None:
        total = finished(study)
        value = (
            f"{trial.value:.2f} meV/atom" if trial.value is not None else trial.user_attrs.get("failure", "")
        )
        say(f"trial {trial.number}: {trial.state.name.lower()} {value} ({total} of {trials})")

    while True:
        passage.acquire()
        try:
            counted = study.get_trials(
                deepcopy=False, states=(TrialState.COMPLETE, TrialState.PRUNED, TrialState.RUNNING)
            )
            if len(counted) >= trials and (gate is not None or finished(study) >= trials):
                return
            last = study.get_trials(deepcopy=False)[-MAX_FAILURES_IN_A_ROW:]
            if len(last) == MAX_FAILURES_IN_A_ROW and all(t.state == TrialState.FAIL for t in last):
                raise HpoptError(
                    f"study {name!r}: the last {MAX_FAILURES_IN_A_ROW} trials failed "
                    f"({last[-1].user_attrs.get('failure', 'see the messages above')})",
                    remedy="narrow the search space (usually lr) or mend the data",
                )
            with warnings.catch_warnings():
                warnings.simplefilter("ignore", optuna.exceptions.ExperimentalWarning)
                study.optimize(run, n_trials=1, catch=(TrainingDivergedError,), callbacks=[show])
        finally:
            passage.release()


def _worker(name, config, storage, trials, worker, lock, failures) -> None:
    try:
        with interruptible():
            work(name, config, storage, trials, worker=worker, gate=lock)
    except HpoptError as error:
        failures.put((error.problem, error.remedy))
        raise SystemExit(1) from None
    except KeyboardInterrupt:
        raise SystemExit(130) from None


def work_in_processes(name, config, storage, trials, *, jobs: int, first_seed: int) -> None:
    # spawned, not forked: neither torch's threads nor open databases survive a fork
    context = multiprocessing.get_context("spawn")
    lock, failures = context.Lock(), context.SimpleQueue()
    workers = [
        context.Process(
            target=_worker,
            args=(name, config, storage, trials, first_seed + 1 + k, lock, failures),
            name=f"worker-{k}",
        )
        for k in range(jobs)
    ]
    with interruptible():
        try:
            for process in workers:
                process.start()
            for process in workers:
                process.join()
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
