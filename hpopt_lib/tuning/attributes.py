"""Questions and notes of a running trial, in few transactions."""

from __future__ import annotations

from contextlib import nullcontext
from typing import Any

#: A pruner may judge by what the other workers had finished so many seconds ago.
PRUNER_AGE_S = 2.0


def set_user_attrs(storage: Any, trial_id: int, values: dict[str, Any]) -> None:
    """Store attributes of a trial, in one transaction where the storage is a database."""
    backend = getattr(storage, "_backend", storage)
    if hasattr(backend, "set_trial_user_attrs"):
        backend.set_trial_user_attrs(trial_id, values)
        return
    for key, value in values.items():
        storage.set_trial_user_attr(trial_id, key, value)


def describe(trial: Any, values: dict[str, Any]) -> None:
    """The same for an `optuna.Trial`, which then knows them too."""
    set_user_attrs(trial.study._storage, trial._trial_id, values)
    trial._cached_frozen_trial.user_attrs.update(values)


def should_prune(trial: Any) -> bool:
    """`optuna.Trial.should_prune`, which asks the database every `PRUNER_AGE_S` at most."""
    patient = getattr(trial.study._storage, "patient", None)
    with patient(PRUNER_AGE_S) if patient else nullcontext():
        return bool(trial.should_prune())
