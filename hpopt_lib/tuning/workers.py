"""One worker: it takes trials of a study, one after the other, until the study has enough."""

from __future__ import annotations

import time
import warnings
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from hpopt_lib.potential.epochs import TrainingDivergedError
from hpopt_lib.progress import say
from hpopt_lib.tuning.config import WORKERS
from hpopt_lib.tuning.interrupts import Interrupts, TrialStopped
from hpopt_lib.tuning.janitor import Janitor, checkpoint_path, root_number
from hpopt_lib.tuning.joining import finished, join_study
from hpopt_lib.tuning.objective import Objective
from hpopt_lib.tuning.origin import resolve_device
from hpopt_lib.tuning.queue import TrialQueue
from hpopt_lib.tuning.selection import trial_values
from hpopt_lib.tuning.storage import open_storage

if TYPE_CHECKING:
    import optuna


@dataclass(frozen=True)
class WorkerOptions:
    """What may differ between the workers of a study.

    Attributes
    ----------
    trials : int or None
        Finished trials that the study shall have; what is kept with the study when None.
    store : str or None
        A copy of the study's store, on the disk of the node for example.
    device : str
        ``auto``, ``cpu`` or ``cuda``.
    memory_mb : float or None
        Most memory that the frames take in this process; that of the study when None.
    on_result : callable or None
        See `hpopt_lib.tuning.objective.Objective`; a function of a module, since it goes to other processes.
    """

    trials: int | None = None
    store: str | None = None
    device: str = "cpu"
    memory_mb: float | None = None
    on_result: Callable[[Any, list[dict[str, float]]], None] | None = None


class Worker:
    """A worker of a study.

    Parameters
    ----------
    name : str
        Of the study.
    address : str or None
        Of its storage.
    options : WorkerOptions
    stops : Interrupts

    Raises
    ------
    HpoptError
        When the study or its store is not there.
    """

    def __init__(self, name: str, address: str | None, options: WorkerOptions, stops: Interrupts) -> None:
        import optuna
        import torch

        torch.set_num_threads(1)
        # a spawned process starts afresh; Optuna would warn of every failed trial with a traceback
        optuna.logging.set_verbosity(optuna.logging.ERROR)
        self.name, self.options, self.stops = name, options, stops
        self.device = resolve_device(options.device)
        storage = open_storage(address)
        self.study, config = join_study(name, storage, worker=0, store=options.store)
        if options.memory_mb is not None:
            config = replace(config, memory_mb=options.memory_mb)
        data, memory_mb = config.dataset(), config.memory_mb
        self.janitor = Janitor(self.study)
        with self.janitor.gate():
            self.number = int(self.study.user_attrs.get(WORKERS, 0))
            self.study.set_user_attr(WORKERS, self.number + 1)
        self.study, config = join_study(name, storage, worker=self.number, store=options.store)
        self.janitor = Janitor(self.study)
        self.janitor.presence.enter(self.number)
        self.space = config.search_space()
        self.objective = Objective(
            data,
            self.space,
            seed=config.seed,
            repeats=config.repeats,
            report_repeats=config.pruner == "wilcoxon",
            race=config.race,
            stops=stops,
            checkpoint=self._checkpoint if self.janitor.files is not None else None,
            device=self.device,
            training=config.training(),
            values=trial_values(config, data),
            on_result=options.on_result,
        )
        self.queue = TrialQueue(self.study, self.janitor, options.trials, self.number, self.device, memory_mb)

    def _checkpoint(self, root: int) -> Path:
        assert self.janitor.files is not None
        return checkpoint_path(self.janitor.files, self.name, root)

    def run(self) -> bool:
        """Take trials until the study has enough; False when told to stop before."""
        pause = 0.2
        try:
            while not self.stops.should_stop():
                for number in self.janitor.requeue_lost():
                    say(f"trial {number}: its worker died; it is in the queue again")
                trial = self.queue.take()
                if trial is None:
                    if finished(self.study) >= self.queue.wanted() or self.queue.exhausted():
                        return True
                    # the rest is with other workers; one of them may die and leave its trial
                    time.sleep(pause)
                    pause = min(1.5 * pause, 5.0)
                    continue
                pause = 0.2
                self._run_trial(trial)
            say(f"worker {self.number}: {self.stops.reason}; the study is not done yet")
            return False
        finally:
            self.janitor.presence.leave()

    def _run_trial(self, trial_id: int) -> None:
        import optuna
        from optuna.storages._heartbeat import get_heartbeat_thread
        from optuna.trial import TrialState

        # as Study.ask and Study.optimize do: read trials afresh, let the grid sampler say that it is done
        self.study._thread_local.cached_all_trials = None
        self.study._thread_local.in_optimize_loop = True
        start = time.monotonic()
        value: float | list[float] | None = None
        state, cause, failure, reason = TrialState.FAIL, "", "", ""
        with get_heartbeat_thread(trial_id, self.study._storage):
            with warnings.catch_warnings():
                warnings.simplefilter("ignore", optuna.exceptions.ExperimentalWarning)
                trial = optuna.Trial(self.study, trial_id)
            try:
                if (twin := self._twin(trial)) is not None:
                    raise _Duplicate(f"the same hyperparameters as trial {twin}")
                value, state = self.objective(trial), TrialState.COMPLETE
            except optuna.TrialPruned as error:
                state, reason = TrialState.PRUNED, str(error)
            except (TrialStopped, KeyboardInterrupt) as error:
                reason = str(error) or "interrupted"
                self._give_back(trial, reason)
                if isinstance(error, KeyboardInterrupt):
                    raise
                return
            except optuna.exceptions.UpdateFinishedTrialError:
                say(f"trial {trial.number}: was given to another worker, since this one seemed dead")
                return
            except TrainingDivergedError as error:
                cause, failure = "training", error.problem
            except _Duplicate as error:
                cause, failure = "duplicate", str(error)
            except Exception as error:
                if not _out_of_memory(error):
                    self.janitor.close(_frozen(trial), f"{type(error).__name__}: {error}", cause="defect")
                    raise
                cause, failure = "training", f"out of memory: {str(error).splitlines()[0][:200]}"
            self._tell(trial, value, state, cause, failure, reason, time.monotonic() - start)

    def _twin(self, trial: optuna.Trial) -> int | None:
        """Number of an earlier trial with the same hyperparameters; also draws all of this one's."""
        from optuna.samplers import GridSampler
        from optuna.trial import TrialState

        frozen = trial._cached_frozen_trial  # just read
        if "fixed_params" in frozen.system_attrs or frozen.system_attrs.get("retry_history"):
            return None  # asked for by somebody
        if isinstance(self.study.sampler, GridSampler):
            return None  # it keeps account itself
        self.space.suggest(trial)
        params = trial.params
        for other in self.study.get_trials(deepcopy=False):
            if (
                other.number < trial.number
                and other.state in (TrialState.COMPLETE, TrialState.PRUNED, TrialState.RUNNING)
                and other.params == params
            ):
                return other.number
        return None

    def _give_back(self, trial: optuna.Trial, reason: str) -> None:
        self.janitor.requeue_own(_frozen(trial), reason)
        say(f"trial {trial.number}: {reason}; it is in the queue again")

    def _tell(self, trial, value, state, cause, failure, reason, seconds) -> None:
        import optuna
        from optuna.study._tell import _tell_with_warning

        try:
            trial.set_user_attr("seconds", round(seconds, 3))
            if failure:
                self.janitor.close(_frozen(trial), failure, cause=cause)
            else:
                # what Study.tell does, without reading the trial once more for its answer
                _tell_with_warning(self.study, trial, value, state=state)
        except (optuna.exceptions.UpdateFinishedTrialError, ValueError):
            say(f"trial {trial.number}: was given to another worker, since this one seemed dead")
            return
        if self.janitor.files is not None:
            self._checkpoint(root_number(trial._cached_frozen_trial)).unlink(missing_ok=True)
        self.queue.duplicates = self.queue.duplicates + 1 if cause == "duplicate" else 0
        shown = _shown(value) if value is not None else failure or reason.removeprefix("pruned ")
        done = f"{finished(self.study)} of {self.queue.last_wanted}"
        say(f"trial {trial.number}: {state.name.lower()} {shown} ({done})")


def _shown(value: float | list[float]) -> str:
    if isinstance(value, float):
        return f"{value:.2f} meV/atom"
    in_domain, worst, network_us = value
    return f"{in_domain:.2f} and {worst:.2f} meV/atom, {network_us:.3g} µs/atom"


class _Duplicate(Exception):
    """These hyperparameters have a trial already."""


def _frozen(trial: optuna.Trial) -> Any:
    return trial.study._storage.get_trial(trial._trial_id)


def _out_of_memory(error: Exception) -> bool:
    import torch

    return isinstance(error, MemoryError | torch.OutOfMemoryError) or (
        isinstance(error, RuntimeError) and "not enough memory" in str(error)
    )
