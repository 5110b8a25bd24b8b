"""What is known of a study's trials, and one short question whether there is more."""

from __future__ import annotations

import copy
import math
import time
from collections.abc import Container, Iterator, Sequence
from contextlib import contextmanager, suppress
from typing import TYPE_CHECKING, Any

from optuna.exceptions import UpdateFinishedTrialError
from optuna.storages import _CachedStorage
from optuna.trial import FrozenTrial, TrialState

if TYPE_CHECKING:
    from hpopt_lib.tuning.resilient import ResilientStorage

#: Seconds within which reports of a trial are stored together.
REPORTS_S = 2.0
_FINISHED = tuple(state for state in TrialState if state.is_finished())
_UNFINISHED = (TrialState.RUNNING, TrialState.WAITING)


class StudyCache(_CachedStorage):
    """Optuna's cache of finished trials, with cheaper questions and reports to the database.

    A pruner asks for the completed trials after every epoch. Optuna then reads all trials that are
    not finished, with their attributes and values, in seven statements. Here one statement finds the
    trials that have finished, and those only are read; mostly there are none.

    Values that a trial reports within `REPORTS_S` after the last ones that were stored go to the database
    together: with the next report after that time, before anybody here looks at the trial, or with its end.
    A worker that is killed loses those seconds of reports; who goes on with its trial reports what the
    checkpoint holds once more.

    Parameters
    ----------
    backend : ResilientStorage
    """

    _backend: ResilientStorage

    def __init__(self, backend: ResilientStorage) -> None:
        super().__init__(backend)
        self._patience, self._asked = 0.0, -math.inf
        self._reports: dict[int, dict[int, float]] = {}
        self._reported = -math.inf
        self._system_attrs: dict[int, dict[str, Any]] = {}

    @contextmanager
    def patient(self, seconds: float) -> Iterator[None]:
        """Answer questions for finished trials without the database when it was asked so recently."""
        self._patience = seconds
        try:
            yield
        finally:
            self._patience = 0.0

    def get_all_trials(
        self, study_id: int, deepcopy: bool = True, states: Container[TrialState] | None = None
    ) -> list[FrozenTrial]:
        """See `optuna.storages.BaseStorage`."""
        finished = states is not None and not any(state in states for state in _UNFINISHED)
        if not finished or study_id not in self._studies:
            self._flush_to_look()
            self._asked = time.monotonic()
            return super().get_all_trials(study_id, deepcopy=deepcopy, states=states)
        assert states is not None
        if time.monotonic() - self._asked >= self._patience:
            self._read_finished(study_id)
        with self._lock:
            known = [trial for trial in self._studies[study_id].trials.values() if trial.state in states]
        known.sort(key=lambda trial: trial.number)
        return copy.deepcopy(known) if deepcopy else known

    def get_n_trials(self, study_id: int, state: tuple[TrialState, ...] | TrialState | None = None) -> int:
        """See `optuna.storages.BaseStorage`."""
        return self._backend.get_n_trials(study_id, state)

    def get_trial(self, trial_id: int) -> FrozenTrial:
        """See `optuna.storages.BaseStorage`."""
        self._flush_to_look()
        return super().get_trial(trial_id)

    def set_trial_intermediate_value(self, trial_id: int, step: int, intermediate_value: float) -> None:
        """See `optuna.storages.BaseStorage`; stored at once when the last ones were a while ago."""
        self._reports.setdefault(trial_id, {})[step] = intermediate_value
        if time.monotonic() - self._reported >= REPORTS_S:
            self.flush()

    def get_trial_system_attrs(self, trial_id: int) -> dict[str, Any]:
        """See `optuna.storages.BaseStorage`; a pruner gets what this worker has set, without a look."""
        if self._patience and trial_id in self._system_attrs:
            return dict(self._system_attrs[trial_id])
        found = super().get_trial_system_attrs(trial_id)
        self._system_attrs[trial_id] = dict(found)
        return found

    def set_trial_system_attr(self, trial_id: int, key: str, value: Any) -> None:
        """See `optuna.storages.BaseStorage`."""
        super().set_trial_system_attr(trial_id, key, value)
        if trial_id in self._system_attrs:
            self._system_attrs[trial_id][key] = value

    def set_trial_state_values(
        self, trial_id: int, state: TrialState, values: Sequence[float] | None = None
    ) -> bool:
        """See `optuna.storages.BaseStorage`."""
        self.flush(trial_id)
        self._system_attrs.pop(trial_id, None)
        return super().set_trial_state_values(trial_id, state, values)

    def flush(self, trial_id: int | None = None) -> None:
        """Store the reports that wait, of one trial or of all.

        Raises
        ------
        optuna.exceptions.UpdateFinishedTrialError
            When somebody else has finished the trial.
        """
        for waiting in list(self._reports) if trial_id is None else [trial_id]:
            if reports := self._reports.pop(waiting, None):
                self._reported = time.monotonic()
                self._backend.set_trial_intermediate_values(waiting, reports)

    def _flush_to_look(self) -> None:
        # who only looks shall see that somebody else has finished the trial, and not fail of it
        with suppress(UpdateFinishedTrialError):
            self.flush()

    def _read_finished(self, study_id: int) -> None:
        self._asked = time.monotonic()
        with self._lock:
            study = self._studies[study_id]
            # the marks that Optuna reads by stay where they are: it looks at the running trials too
            ids = self._backend.finished_trial_ids(
                study_id, among=study.unfinished_trial_ids, after=study.last_finished_trial_id
            )
            new = ids - {trial._trial_id for trial in study.trials.values() if trial.state.is_finished()}
            if new:
                trials = self._backend._get_trials(
                    study_id, states=_FINISHED, included_trial_ids=new, trial_id_greater_than=max(new)
                )
                self._add_trials_to_cache(study_id, trials)
