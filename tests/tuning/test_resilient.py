"""Faults of the database in every call: before it reached the server, and after."""

from __future__ import annotations

import time
import warnings

import optuna
import pytest
from optuna.storages import RDBStorage
from optuna.trial import TrialState
from sqlalchemy import exc

from hpopt_lib.tuning import cache, resilient, statements
from hpopt_lib.tuning.attributes import describe, should_prune
from hpopt_lib.tuning.cache import StudyCache
from hpopt_lib.tuning.resilient import ResilientStorage, is_transient
from hpopt_lib.tuning.storage import open_storage


class Driver(Exception):
    """Like the errors of a driver: a code, then a text."""


def fault(code: int = 2013) -> exc.OperationalError:
    return exc.OperationalError("SELECT 1", {}, Driver(code, "Lost connection to MySQL server during query"))


def wrapped(error: Exception) -> Exception:
    """As Optuna raises it."""
    try:
        try:
            raise error
        except exc.SQLAlchemyError as cause:
            raise optuna.exceptions.StorageInternalError(
                "An exception is raised during the commit"
            ) from cause
    except optuna.exceptions.StorageInternalError as outer:
        return outer


@pytest.mark.parametrize(
    ("error", "expected"),
    [
        (fault(2013), True),
        (fault(1213), True),
        (fault(1205), True),
        (wrapped(fault(2006)), True),
        (wrapped(fault(1040)), True),
        (fault(1045), False),  # wrong password
        (fault(1142), False),  # no right
        (exc.OperationalError("INSERT", {}, Driver("database is locked")), True),
        (exc.OperationalError("INSERT", {}, Driver("no such table: x")), False),
        (exc.TimeoutError("QueuePool limit"), True),
        (ConnectionResetError(), True),
        (ValueError("2013"), False),
        (None, False),
    ],
    ids=str,
)
def test_which_errors_pass_by_themselves(error, expected):
    assert is_transient(error) == expected


@pytest.fixture
def quick(monkeypatch):
    """Retries without pauses."""
    monkeypatch.setattr(resilient.time, "sleep", lambda seconds: None)


#: Every method that a study in work calls.
METHODS = [
    "_create_new_trial", "_get_trials", "_set_trial_param", "get_study_id_from_name", "get_study_user_attrs",
    "get_trial", "set_study_user_attr", "set_trial_intermediate_value", "set_trial_state_values",
    "set_trial_user_attr", "set_trial_system_attr", "get_study_system_attrs", "get_study_directions",
]  # fmt: skip


@pytest.mark.parametrize("moment", ["before", "after"])
@pytest.mark.parametrize("method", METHODS)
def test_a_study_survives_a_fault_in_any_call(tmp_path, monkeypatch, quick, method, moment):
    """The second call of the method fails twice; the study is the same as without faults."""
    original, calls = getattr(RDBStorage, method), []

    def failing(self, *args, **kwargs):
        calls.append(method)
        if len(calls) in (2, 3):
            if moment == "after":
                original(self, *args, **kwargs)
            raise wrapped(fault())
        return original(self, *args, **kwargs)

    failing.__name__ = method
    monkeypatch.setattr(ResilientStorage, method, _rewrapped(method, failing))
    storage = open_storage(f"sqlite:///{tmp_path}/s.db")
    study = optuna.create_study(
        storage=storage, study_name="s", sampler=optuna.samplers.RandomSampler(seed=0),
        pruner=optuna.pruners.MedianPruner(n_startup_trials=1),
    )  # fmt: skip

    def objective(trial: optuna.Trial) -> float:
        x = trial.suggest_float("x", 0, 1)
        trial.set_user_attr("twice", 2 * x)
        trial.study._storage.set_trial_system_attr(trial._trial_id, "half", x / 2)
        for step in range(3):
            trial.report(x + step, step)
            if trial.should_prune():
                raise optuna.TrialPruned
        return x

    study.set_user_attr("k", 1)
    study.set_user_attr("k", 2)
    study.optimize(objective, n_trials=4)
    expected = optuna.create_study(
        sampler=optuna.samplers.RandomSampler(seed=0), pruner=optuna.pruners.MedianPruner(n_startup_trials=1)
    )
    expected.optimize(objective, n_trials=4)
    loaded = [optuna.load_study(study_name="s", storage=storage) for _ in range(3)]
    assert {(s.directions[0], s.user_attrs["k"], s.metric_names) for s in loaded} == {
        (optuna.study.StudyDirection.MINIMIZE, 2, None)
    }
    found = [t for t in loaded[-1].trials if t.params]
    assert [(t.state, t.params, t.values, t.intermediate_values, t.user_attrs) for t in found] == [
        (t.state, t.params, t.values, t.intermediate_values, t.user_attrs) for t in expected.trials
    ]
    assert all(t.system_attrs == {"half": t.params["x"] / 2} for t in found)
    # a trial whose creation was repeated leaves an empty one, which the janitor closes
    orphans = [t for t in study.trials if not t.params]
    assert len(orphans) == (2 if (method, moment) == ("_create_new_trial", "after") else 0)
    assert len(calls) >= 3, "the faults did happen"
    storage.engine.dispose()


def _rewrapped(name: str, original):
    """The wrapper of the class around another original."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(RDBStorage, name, original)
        return resilient._resilient(name)


@pytest.mark.parametrize("moment", ["before", "after"])
@pytest.mark.parametrize("name", ["store_reports", "store_user_attrs", "finished_trial_ids"])
@pytest.mark.parametrize("kind", ["sqlite", "server"])
def test_the_short_statements_survive_faults_and_store_what_optuna_stores(
    tmp_path, monkeypatch, quick, request, name, moment, kind
):
    """A study through the workers' cache, with every third short statement failing twice."""
    if kind == "server":
        address = request.getfixturevalue("server")
        monkeypatch.setattr(resilient.time, "sleep", lambda seconds: None)
    else:
        address = f"sqlite:///{tmp_path}/s.db"
    original, calls = getattr(statements, name), []

    def failing(*args):
        calls.append(name)
        if len(calls) % 3:
            if moment == "after":
                original(*args)
            raise fault()
        return original(*args)

    def objective(trial: optuna.Trial) -> float:
        x = trial.suggest_float("x", 0, 1)
        describe(trial, {"twice": 2 * x, "list": [1, None, "å"]})
        describe(trial, {"twice": 3 * x})
        for step, value in enumerate((x, x + 1)):
            trial.report(value, step)
            if should_prune(trial):
                raise optuna.TrialPruned
        for step, value in enumerate((float("inf"), float("-inf"), float("nan"))):
            trial.report(value, 10 + step)
        return x

    def run(storage) -> list:
        study = optuna.create_study(
            storage=storage, study_name="faults", sampler=optuna.samplers.RandomSampler(seed=0),
            pruner=optuna.pruners.MedianPruner(n_startup_trials=1),
        )  # fmt: skip
        study.optimize(objective, n_trials=6)
        return [
            (t.number, t.state, t.values, t.params, repr(t.intermediate_values), t.user_attrs)
            for t in study.trials
        ]

    expected = run(optuna.storages.InMemoryStorage())
    assert {state.name for _, state, *_ in expected} == {"COMPLETE", "PRUNED"}
    monkeypatch.setattr(statements, name, failing)
    monkeypatch.setattr("hpopt_lib.tuning.attributes.PRUNER_AGE_S", 0.0)
    backend = open_storage(address)
    try:
        assert run(StudyCache(backend)) == expected
        assert len(calls) >= 6, "the faults did happen"
        finished = optuna.load_study(study_name="faults", storage=backend).trials[0]
        with pytest.raises(optuna.exceptions.UpdateFinishedTrialError):
            backend.set_trial_intermediate_value(finished._trial_id, 9, 1.0)
        with pytest.raises(optuna.exceptions.UpdateFinishedTrialError):
            backend.set_trial_user_attrs(finished._trial_id, {"late": 1})
    finally:
        if kind == "server":
            optuna.delete_study(study_name="faults", storage=backend)
        backend.engine.dispose()


def test_reports_go_to_the_database_together(tmp_path, monkeypatch):
    clock = [100.0]
    monkeypatch.setattr(cache.time, "monotonic", lambda: clock[0])
    backend = open_storage(f"sqlite:///{tmp_path}/s.db")
    storage = StudyCache(backend)
    study = optuna.create_study(storage=storage, study_name="s")
    other = optuna.load_study(study_name="s", storage=open_storage(f"sqlite:///{tmp_path}/s.db"))

    def stored(number: int) -> list[int]:
        return sorted(other.get_trials(deepcopy=False)[number].intermediate_values)

    trial = study.ask()
    trial.report(1.0, 1)
    assert stored(0) == [1], "the first report is stored at once"
    for step in (2, 3):
        clock[0] += 0.5
        trial.report(float(step), step)
    assert stored(0) == [1] and len(trial._cached_frozen_trial.intermediate_values) == 3
    clock[0] += 1.0
    trial.report(4.0, 4)
    assert stored(0) == [1, 2, 3, 4], "all that waited, with the first report after two seconds"
    trial.report(5.0, 5)
    assert sorted(storage.get_trial(trial._trial_id).intermediate_values) == [1, 2, 3, 4, 5]
    trial.report(6.0, 6)
    study.tell(trial, 1.0)
    assert stored(0) == [1, 2, 3, 4, 5, 6], "the end of a trial leaves nothing waiting"

    lost = study.ask()
    lost.report(1.0, 1)
    lost.report(2.0, 2)
    other._storage.set_trial_state_values(lost._trial_id, TrialState.FAIL)
    assert storage.get_trial(lost._trial_id).state == TrialState.FAIL
    clock[0] += 2.0
    with pytest.raises(optuna.exceptions.UpdateFinishedTrialError):
        lost.report(3.0, 3)
    backend.engine.dispose()
    other._storage._backend.engine.dispose()


def test_a_call_gives_up_after_the_longest_outage(tmp_path, monkeypatch):
    storage = open_storage(f"sqlite:///{tmp_path}/s.db", max_outage=0.3)
    start = time.monotonic()
    with pytest.raises(exc.OperationalError):
        storage.retry(lambda: (_ for _ in ()).throw(fault()))
    assert 0.3 < time.monotonic() - start < 5
    calls = []
    with pytest.raises(ValueError):  # what does not pass by itself is not tried again
        storage.retry(lambda: calls.append(1) or int("x"))
    assert calls == [1]
    storage.engine.dispose()


def test_heartbeats_are_for_servers_only_and_ages_are_the_servers(tmp_path, monkeypatch):
    monkeypatch.setenv("HPOPT_GRACE_S", "2")
    monkeypatch.delenv("HPOPT_HEARTBEAT_S", raising=False)
    storage = ResilientStorage(f"sqlite:///{tmp_path}/s.db", heartbeat=True)
    assert storage.get_heartbeat_interval() == resilient.HEARTBEAT_S
    assert open_storage(f"sqlite:///{tmp_path}/s.db").get_heartbeat_interval() is None
    study = optuna.create_study(storage=storage)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)
        beating, silent, done = (study.ask() for _ in range(3))
    study.tell(done, 1.0)
    storage.record_heartbeat(beating._trial_id)
    assert storage.lost_trial_ids(study._study_id) == []
    time.sleep(3.1)
    storage.record_heartbeat(beating._trial_id)
    assert storage.lost_trial_ids(study._study_id) == [silent._trial_id]
    time.sleep(3.1)
    assert storage.lost_trial_ids(study._study_id) == [beating._trial_id, silent._trial_id]
    assert [t.state for t in study.trials] == [TrialState.RUNNING] * 2 + [TrialState.COMPLETE]
    storage.engine.dispose()
