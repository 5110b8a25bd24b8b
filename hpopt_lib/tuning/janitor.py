"""Trials whose training was cut short go back into the queue, once and only once."""

from __future__ import annotations

import copy
import urllib.parse
import warnings
from pathlib import Path
from typing import TYPE_CHECKING, Any

from hpopt_lib.tuning.addresses import files_folder, is_file
from hpopt_lib.tuning.gate import gate_of
from hpopt_lib.tuning.presence import Presence

if TYPE_CHECKING:
    import optuna

#: A trial that has lost its worker so many times is not tried again: it may be what kills them.
MAX_LOSSES = 3
#: User attributes of the attempt, not of the trial: a continued trial gets its own.
OF_THE_ATTEMPT = ("worker", "host", "job_id", "device", "commit", "failure", "cause", "seconds")


def root_number(trial: Any) -> int:
    """Number of the first attempt at a trial; the seed and the checkpoint go by it."""
    history = trial.system_attrs.get("retry_history") or [trial.number]
    return int(history[0])


def checkpoint_path(files: Path, study: str, root: int) -> Path:
    """Where the checkpoint of a trial lies, by the number of its first attempt."""
    return files / "checkpoints" / urllib.parse.quote(study, safe="") / f"trial-{root}.npz"


def backend_of(study: optuna.Study) -> Any:
    """The storage itself, without Optuna's cache around it."""
    from optuna.storages import _CachedStorage

    storage = study._storage
    return storage._backend if isinstance(storage, _CachedStorage) else storage


class Janitor:
    """Re-queues the trials of a study.

    The old attempt becomes a failed trial that says why; a waiting copy of it, with the same
    hyperparameters and the values reported up to its checkpoint, takes its place. The copy is made
    first: if this process dies in between, the next one finds the copy and only marks the old attempt.

    Parameters
    ----------
    study : optuna.Study
        In a storage of `hpopt_lib.tuning.storage.open_storage`, or in memory.

    Attributes
    ----------
    files : Path or None
        `hpopt_lib.tuning.addresses.files_folder`, where the checkpoints are; None in memory.
    locks : Path or None
        The same for storages in files, whose gates and workers' locks lie there; None for servers.
    """

    def __init__(self, study: optuna.Study) -> None:
        self.study = study
        address = getattr(backend_of(study), "hpopt_address", None)
        self.files = files_folder(address) if address else None
        self.locks = self.files if address and is_file(address) else None
        self.presence = Presence(backend_of(study), self.locks, study.study_name)

    def gate(self) -> Any:
        """Context manager: one process at a time, among all that work on the study."""
        return gate_of(backend_of(self.study), self.locks, self.study.study_name)

    def requeue_lost(self) -> list[int]:
        """Re-queue the trials of dead workers; returns the numbers of the lost attempts."""
        from optuna.trial import TrialState

        def running() -> list[Any]:
            return self.study.get_trials(deepcopy=False, states=(TrialState.RUNNING,))

        # a first look without the gate: mostly there is nothing to do
        if not self.presence.may_be_lost(self.study._study_id, running):
            return []
        with self.gate():
            lost = self.presence.lost(self.study._study_id, running())
            return [trial.number for trial in lost if self._requeue_one(trial)]

    def _requeue_one(self, trial: Any) -> bool:
        losses = int(trial.user_attrs.get("losses", 0)) + 1
        if not trial.params:
            return self.close(trial, "the worker died before it drew hyperparameters", cause="lost")
        again = losses < MAX_LOSSES
        reason = "the worker died" + ("" if again else f", for the {losses}th time: not tried again")
        if again:
            self.enqueue_copy(trial, losses=losses)
        return self.close(trial, reason, cause="lost")

    def requeue_own(self, trial: Any, reason: str) -> None:
        """Re-queue a trial that this process runs and has to stop."""
        with self.gate():
            self.enqueue_copy(trial, losses=int(trial.user_attrs.get("losses", 0)))
            self.close(trial, reason, cause="stopped")

    def close(self, trial: Any, reason: str, *, cause: str) -> bool:
        """Mark a trial as failed, with the reason; False when somebody else has closed it."""
        from optuna.exceptions import UpdateFinishedTrialError
        from optuna.trial import TrialState

        storage = self.study._storage
        try:
            storage.set_trial_user_attr(trial._trial_id, "failure", reason)
            storage.set_trial_user_attr(trial._trial_id, "cause", cause)
            return storage.set_trial_state_values(trial._trial_id, state=TrialState.FAIL)
        except UpdateFinishedTrialError:
            return False

    def enqueue_copy(self, trial: Any, *, losses: int) -> None:
        """Put a waiting copy of a trial into the queue, unless it is there already."""
        import optuna
        from optuna.storages import RetryHeartbeatStaleTrialCallback

        if any(
            (t.system_attrs.get("retry_history") or [None])[-1] == trial.number
            for t in self.study.get_trials(deepcopy=False)
        ):
            return
        epoch = self.checkpoint_epoch(root_number(trial))
        attempt = copy.deepcopy(trial)
        attempt.user_attrs = {k: v for k, v in attempt.user_attrs.items() if k not in OF_THE_ATTEMPT}
        attempt.user_attrs |= {"resumed_from": trial.number, "resumed_epoch": epoch, "losses": losses}
        # what was reported after the checkpoint will be reported again
        attempt.intermediate_values = {k: v for k, v in trial.intermediate_values.items() if k <= epoch}
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", optuna.exceptions.ExperimentalWarning)
            retry = RetryHeartbeatStaleTrialCallback(max_retry=None, inherit_intermediate_values=True)
        retry(self.study, attempt)

    def checkpoint_epoch(self, root: int) -> int:
        """Epoch of a trial's checkpoint; 0 without one, also when it is damaged."""
        from hpopt_lib.errors import HpoptError
        from hpopt_lib.potential.checkpoint import load_checkpoint
        from hpopt_lib.progress import say

        if self.files is None:
            return 0
        try:
            state = load_checkpoint(checkpoint_path(self.files, self.study.study_name, root))
        except HpoptError as error:
            say(f"{error.problem}: the trial starts again")
            return 0
        return int(state["reported_epoch"]) if state else 0


def requeue_lost(study: optuna.Study) -> list[int]:
    """Re-queue the trials of dead workers; safe to call by anybody at any time.

    Parameters
    ----------
    study : optuna.Study
        In a storage of `hpopt_lib.tuning.storage.open_storage`.

    Returns
    -------
    list of int
        Numbers of the trials that were lost.
    """
    return Janitor(study).requeue_lost()
