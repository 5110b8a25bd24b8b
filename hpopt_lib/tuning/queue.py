"""Which trial a worker takes next, and whether there is one."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from hpopt_lib.errors import HpoptError
from hpopt_lib.tuning.attributes import set_user_attrs
from hpopt_lib.tuning.config import TRIALS
from hpopt_lib.tuning.janitor import Janitor, backend_of
from hpopt_lib.tuning.origin import origin
from hpopt_lib.tuning.presence import WORKER

if TYPE_CHECKING:
    import optuna

MAX_FAILURES_IN_A_ROW = 20
#: A worker that draws known points only, so many times in a row, says so and stops.
MAX_DUPLICATES_IN_A_ROW = 50


class TrialQueue:
    """The trials of a study as one worker sees them.

    The number of trials belongs to the study: one worker at a time counts them and takes one.

    Parameters
    ----------
    study : optuna.Study
    janitor : Janitor
        Of the study.
    trials : int or None
        Finished trials that the study shall have; what is kept with the study when None.
    worker : int
        Number of the worker.
    device : str
        What it trains on.
    memory_mb : float, optional
        Bound of its memory for frames.

    Attributes
    ----------
    duplicates : int
        Known points that the worker has drawn in a row.
    last_wanted : int
        What `wanted` said last.
    """

    def __init__(
        self,
        study: optuna.Study,
        janitor: Janitor,
        trials: int | None,
        worker: int,
        device: str,
        memory_mb: float | None = None,
    ) -> None:
        self.study, self.janitor, self.trials = study, janitor, trials
        self.worker, self.device, self.memory_mb = worker, device, memory_mb
        self.earlier = len(study.get_trials(deepcopy=False))
        self.duplicates = 0
        self.last_wanted = self.wanted()

    def wanted(self) -> int:
        """Finished trials that the study shall have."""
        wanted = self.trials or self.study.user_attrs.get(TRIALS)
        if wanted is None:
            raise HpoptError(
                f"study {self.study.study_name!r}: it is not known how many trials it shall have",
                remedy="pass --trials",
            )
        self.last_wanted = int(wanted)
        return self.last_wanted

    def take(self) -> int | None:
        """Reserve a trial, from the queue or a new one; None when none is left to start."""
        from optuna.trial import TrialState

        with self.janitor.gate():
            trials = self.study.get_trials(deepcopy=False)  # one look for all questions: others wait
            self._check_failures(trials)
            counted = sum(
                trial.state in (TrialState.COMPLETE, TrialState.PRUNED, TrialState.RUNNING)
                for trial in trials
            )
            if counted >= self.wanted():
                return None
            trial_id = None
            if any(trial.state == TrialState.WAITING for trial in trials):
                trial_id = self.study._pop_waiting_trial_id()
            if trial_id is None:
                if self.exhausted():
                    return None
                trial_id = self.study._storage.create_new_trial(self.study._study_id)
            storage = self.study._storage
            if (backend := backend_of(self.study)) and getattr(backend, "heartbeat_interval", None):
                backend.record_heartbeat(trial_id)
            # who runs it, where and with what
            values = {WORKER: self.worker, **origin(), "device": self.device}
            if self.memory_mb is not None:  # the order of the batches depends on it
                values["memory_mb"] = self.memory_mb
            set_user_attrs(storage, trial_id, values)
        return trial_id

    def _check_failures(self, trials: list[Any]) -> None:
        """Raise when the last twenty trials of this run all failed in their training."""
        from optuna.trial import TrialState

        last = [
            trial
            for trial in trials[self.earlier :]
            if trial.state in (TrialState.COMPLETE, TrialState.PRUNED)
            or trial.user_attrs.get("cause") == "training"
        ][-MAX_FAILURES_IN_A_ROW:]
        if len(last) == MAX_FAILURES_IN_A_ROW and all(trial.state == TrialState.FAIL for trial in last):
            raise HpoptError(
                f"study {self.study.study_name!r}: the last {MAX_FAILURES_IN_A_ROW} trials failed "
                f"({last[-1].user_attrs.get('failure', 'see the messages above')})",
                remedy="narrow the search space (usually lr) or mend the data",
            )

    def exhausted(self) -> bool:
        """Whether every point of a grid has a trial, or only known points were drawn for long."""
        import optuna

        if self.duplicates >= MAX_DUPLICATES_IN_A_ROW:
            return True
        if not isinstance(self.study.sampler, optuna.samplers.GridSampler):
            return False
        trials = self.study.get_trials(deepcopy=False)
        started = {t.system_attrs.get("grid_id") for t in trials} - {None}
        return len(started) >= self.study.sampler._n_min_trials
