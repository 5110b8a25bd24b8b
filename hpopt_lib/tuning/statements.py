"""What a running trial writes and asks most, in as few statements as the database allows."""

from __future__ import annotations

import json
from typing import Any

import sqlalchemy as sa
from optuna.storages._rdb import models
from optuna.trial import TrialState
from sqlalchemy.dialects import mysql, sqlite

_OPEN = [TrialState.RUNNING, TrialState.WAITING]
_TRIALS = models.TrialModel.__table__.c


def finished_trial_ids(engine: sa.Engine, study_id: int, among: set[int], after: int) -> set[int]:
    """Ids of a study's finished trials: of those `among` ids, and of all with a higher id than `after`."""
    older = sorted(number for number in among if number <= after)
    query = sa.select(_TRIALS.trial_id).where(
        _TRIALS.study_id == study_id,
        _TRIALS.state.not_in(_OPEN),
        sa.or_(_TRIALS.trial_id > after, _TRIALS.trial_id.in_(older)),
    )
    with engine.connect() as connection:
        return set(connection.execute(query).scalars())


def count_trials(engine: sa.Engine, study_id: int, states: list[TrialState] | None) -> int:
    """Number of a study's trials in these states, or in any."""
    query = sa.select(sa.func.count()).where(_TRIALS.study_id == study_id)
    if states is not None:
        query = query.where(_TRIALS.state.in_(states))
    with engine.connect() as connection:
        return int(connection.execute(query).scalar_one())


def store_user_attrs(engine: sa.Engine, trial_id: int, values: dict[str, Any]) -> bool:
    """Store attributes of a running trial at once; False when nothing was stored.

    That is so for a trial that is not there or finished, of which Optuna raises the right error,
    and for databases other than MySQL, MariaDB and SQLite.
    """
    if (insert := _insert(engine)) is None or not values:
        return False
    rows = [
        {"trial_id": trial_id, "key": key, "value_json": json.dumps(value)} for key, value in values.items()
    ]
    statement = insert(models.TrialUserAttributeModel).values(rows)
    statement = _or_update(statement, ("trial_id", "key"), ("value_json",))
    state = sa.select(_TRIALS.state).where(_TRIALS.trial_id == trial_id)
    with engine.begin() as connection:
        if connection.execute(state).scalar() not in _OPEN:
            return False
        connection.execute(statement)
    return True


def store_reports(engine: sa.Engine, trial_id: int, reports: dict[int, float]) -> bool:
    """Store intermediate values of a running trial, by step; False when not, see `store_user_attrs`."""
    if (insert := _insert(engine)) is None or not reports:
        return False
    model = models.TrialIntermediateValueModel
    rows = []
    for step, value in reports.items():
        stored, kind = model.intermediate_value_to_stored_repr(value)
        rows.append(
            {
                "trial_id": trial_id,
                "step": step,
                "intermediate_value": stored,
                "intermediate_value_type": kind,
            }
        )
    names = ("intermediate_value", "intermediate_value_type")
    statement = _or_update(insert(model).values(rows), ("trial_id", "step"), names)
    state = sa.select(_TRIALS.state).where(_TRIALS.trial_id == trial_id)
    with engine.begin() as connection:
        if connection.execute(state).scalar() not in _OPEN:
            return False
        connection.execute(statement)
    return True


def _insert(engine: sa.Engine) -> Any:
    """The insert of a dialect that can update rows which are there; None for other dialects."""
    if engine.dialect.name in ("mysql", "mariadb"):
        return mysql.insert
    return sqlite.insert if engine.dialect.name == "sqlite" else None


def _or_update(statement: Any, key: tuple[str, ...], columns: tuple[str, ...]) -> Any:
    if hasattr(statement, "on_duplicate_key_update"):
        return statement.on_duplicate_key_update({name: statement.inserted[name] for name in columns})
    new = {name: statement.excluded[name] for name in columns}
    return statement.on_conflict_do_update(index_elements=list(key), set_=new)
