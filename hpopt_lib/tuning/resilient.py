"""A database storage whose calls survive a restart, a move or a short fault of the server."""

from __future__ import annotations

import datetime
import functools
import os
import random
import time
import warnings
from collections.abc import Callable
from typing import Any, TypeVar

import optuna
import sqlalchemy as sa
from optuna.exceptions import UpdateFinishedTrialError
from optuna.storages import RDBStorage
from optuna.storages._rdb import models
from optuna.trial import TrialState
from sqlalchemy import exc

from hpopt_lib.progress import say
from hpopt_lib.tuning import statements

T = TypeVar("T")

#: Longest outage that a call waits out before it gives up.
MAX_OUTAGE_S = 900.0
#: A running trial beats every so often; without a beat for the grace period its worker counts as dead.
HEARTBEAT_S, GRACE_S = 15, 120
#: Codes of MySQL and MariaDB for faults that pass: too many connections, shutting down, packets torn by a
#: dying connection, lock wait time-out, deadlock, gone away, cannot connect, killed.
# fmt: off
TRANSIENT = frozenset((
    1040, 1053, 1077, 1078, 1079, 1080, 1158, 1159, 1160, 1161, 1203, 1205, 1213, 1226, 1927, 2002, 2003,
    2006, 2013, 2055, 4031,
))
# fmt: on


def setting(name: str, default: float) -> float:
    """A number of seconds from the environment, for tests and for clusters with other habits."""
    return float(os.environ.get(name) or default)


def is_transient(error: BaseException | None) -> bool:
    """Whether an error of the database passes by itself.

    Optuna wraps the errors of SQLAlchemy, which wraps those of the driver: all causes are looked at.
    """
    seen: set[int] = set()
    while error is not None and id(error) not in seen:
        seen.add(id(error))
        if isinstance(error, exc.DBAPIError):
            code = (getattr(error.orig, "args", None) or [None])[0]
            if error.connection_invalidated or code in TRANSIENT or isinstance(error, exc.InterfaceError):
                return True
            if "locked" in str(error.orig) or "Packet sequence number wrong" in str(error.orig):
                return True
        elif isinstance(error, exc.TimeoutError | exc.PendingRollbackError | ConnectionError):
            return True
        error = error.__cause__ or error.__context__
    return False


class ResilientStorage(RDBStorage):
    """Optuna's database storage; every call is repeated until the server answers.

    Optuna itself repeats only the creation of trials, and its loop crashes when the server goes
    away while a result is written. Here a call that fails for a passing reason is repeated with
    growing pauses. When the first attempt had reached the server after all, the repetition finds
    its own result and counts it as success.

    Parameters
    ----------
    url : str
        Address as SQLAlchemy knows it.
    max_outage : float
        Seconds before a call gives up.
    heartbeat : bool
        Whether running trials beat.
    **options
        For `optuna.storages.RDBStorage`.
    """

    def __init__(self, url: str, *, max_outage: float = MAX_OUTAGE_S, heartbeat: bool = True, **options: Any):
        self.max_outage = max_outage
        self.grace_s = setting("HPOPT_GRACE_S", GRACE_S)
        beats = int(setting("HPOPT_HEARTBEAT_S", HEARTBEAT_S)) if heartbeat else None
        with warnings.catch_warnings():
            # the heartbeat is marked experimental and is used on purpose
            warnings.simplefilter("ignore", optuna.exceptions.ExperimentalWarning)
            self.retry(
                lambda: RDBStorage.__init__(
                    self, url, heartbeat_interval=beats, grace_period=max(int(self.grace_s), 1), **options
                ),
                "connect",
            )

    #: The address that the user gave, see `hpopt_lib.tuning.storage.open_storage`.
    hpopt_address: str | None = None

    def retry(self, call: Callable[[], T], what: str = "call") -> T:
        """Repeat a call while the server is away.

        Raises
        ------
        Exception
            The last error, when it is not a passing one or `max_outage` is over.
        """
        start, attempt, told = time.monotonic(), 0, False
        while True:
            try:
                value = call()
            except Exception as error:
                waited = time.monotonic() - start
                if not is_transient(error) or waited > self.max_outage:
                    raise
                if not told and waited > 2:
                    told = True
                    say(f"database: does not answer ({what}); trying again for {self.max_outage:.0f} s")
                attempt += 1
                # jitter, so that workers do not all come back at the same moment
                time.sleep(min(0.1 * 2**attempt, 10.0) * random.uniform(0.5, 1.0))
            else:
                if told:
                    say(f"database: answers again after {time.monotonic() - start:.0f} s")
                return value

    def lost_trial_ids(self, study_id: int) -> list[int]:
        """Running trials whose worker has given no sign of life for the grace period.

        Ages are measured by the server's clock. While the server was away nobody could beat, so
        within a grace period after its start no trial is called lost.

        Parameters
        ----------
        study_id : int
        """
        return self.retry(lambda: self._lost_trial_ids(study_id), "lost trials")

    def _lost_trial_ids(self, study_id: int) -> list[int]:
        grace = datetime.timedelta(seconds=self.grace_s)
        trials, beats = models.TrialModel.__table__.c, models.TrialHeartbeatModel.__table__
        columns: tuple[Any, ...] = (
            trials.trial_id, trials.datetime_start, beats.c.heartbeat, sa.func.now()
        )  # fmt: skip
        running = (
            sa.select(*columns)
            .join(beats, beats.c.trial_id == trials.trial_id, isouter=True)
            .where(trials.study_id == study_id, trials.state == TrialState.RUNNING)
        )
        # Optuna 5 writes the start of a trial in UTC, by the worker's clock
        utc = datetime.datetime.now(datetime.timezone.utc).replace(tzinfo=None)
        with self.engine.connect() as connection:
            lost = [
                trial_id
                for trial_id, started, beat, now in connection.execute(running).all()
                if (now.replace(tzinfo=None) - beat if beat is not None else utc - (started or utc)) > grace
            ]
            if lost and self.engine.dialect.name == "mysql":
                row = connection.execute(sa.text("SHOW GLOBAL STATUS LIKE 'Uptime'")).first()
                if row is not None and float(row[1]) < self.grace_s:
                    return []
        return lost

    def finished_trial_ids(self, study_id: int, *, among: set[int], after: int) -> set[int]:
        """Ids of the finished trials of a study.

        Parameters
        ----------
        study_id : int
        among : set of int
            Of the trials with these ids, and
        after : int
            of all with a higher id than this.
        """
        return self.retry(
            lambda: statements.finished_trial_ids(self.engine, study_id, among, after), "finished trials"
        )

    def get_n_trials(self, study_id: int, state: tuple[TrialState, ...] | TrialState | None = None) -> int:
        """See `optuna.storages.BaseStorage`; counted by the database."""
        states = None if state is None else [state] if isinstance(state, TrialState) else list(state)
        return self.retry(lambda: statements.count_trials(self.engine, study_id, states), "number of trials")

    def set_trial_user_attrs(self, trial_id: int, values: dict[str, Any]) -> None:
        """Store several attributes of a trial in one transaction.

        Parameters
        ----------
        trial_id : int
        values : dict
        """

        def call() -> None:
            if not statements.store_user_attrs(self.engine, trial_id, values):
                for key, value in values.items():
                    RDBStorage.set_trial_user_attr(self, trial_id, key, value)

        self.retry(call, "set_trial_user_attrs")

    def set_trial_intermediate_value(self, trial_id: int, step: int, intermediate_value: float) -> None:
        """See `optuna.storages.BaseStorage`."""
        self.set_trial_intermediate_values(trial_id, {step: intermediate_value})

    def set_trial_intermediate_values(self, trial_id: int, reports: dict[int, float]) -> None:
        """Store what a trial has reported, in one transaction.

        Parameters
        ----------
        trial_id : int
        reports : dict of int to float
            Values by their step.
        """

        def call() -> None:
            if not statements.store_reports(self.engine, trial_id, reports):
                # a finished trial, or none: Optuna says so
                for step, value in reports.items():
                    RDBStorage.set_trial_intermediate_value(self, trial_id, step, value)

        self.retry(call, "set_trial_intermediate_value")


def _resilient(name: str) -> Callable[..., Any]:
    original = getattr(RDBStorage, name)

    @functools.wraps(original)
    def method(self: ResilientStorage, *args: Any, **kwargs: Any) -> Any:
        attempts = 0

        def call() -> Any:
            nonlocal attempts
            attempts += 1
            try:
                return original(self, *args, **kwargs)
            except UpdateFinishedTrialError:
                if name == "set_trial_state_values" and attempts > 1:
                    trial_id = args[0] if args else kwargs["trial_id"]
                    state = args[1] if len(args) > 1 else kwargs["state"]
                    if RDBStorage.get_trial(self, trial_id).state == state:
                        return True  # the first attempt had reached the server
                raise
            except exc.IntegrityError:
                if attempts > 1:
                    return None  # the row of the first attempt is there
                raise

        return self.retry(call, name)

    return method


for _name in (
    "_create_new_trial", "_get_best_trial_id", "_get_trials", "_set_trial_param", "create_new_study",
    "create_new_trial", "delete_study", "get_all_studies", "get_all_trials", "get_best_trial",
    "get_study_directions", "get_study_id_from_name", "get_study_name_from_id", "get_study_system_attrs",
    "get_study_user_attrs", "get_trial", "get_trial_id_from_study_id_trial_number", "get_trial_system_attrs",
    "get_trial_user_attrs", "record_heartbeat", "set_study_system_attr", "set_study_user_attr",
    "set_trial_param", "set_trial_state_values", "set_trial_system_attr",
    "set_trial_user_attr",
):  # fmt: skip
    setattr(ResilientStorage, _name, _resilient(_name))
