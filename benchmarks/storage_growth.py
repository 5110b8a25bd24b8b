"""What a trial costs in a study that has many already."""

from __future__ import annotations

import datetime
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
from measure import table
from storage_load import REPORTS, RESULTS, Cost, Load, run

#: By name of the storage and number of trials.
Grown = dict[str, dict[int, Cost]]


def fill(study: Any, n: int) -> None:
    """Put finished trials into a study, in rows at once where it is in a database.

    Parameters
    ----------
    study : optuna.Study
    n : int
    """
    import optuna

    rng, now = np.random.default_rng(0), datetime.datetime.now()
    distributions = {
        "lr": optuna.distributions.FloatDistribution(1e-4, 1e-1, log=True),
        "weight_decay": optuna.distributions.FloatDistribution(1e-6, 1e-2, log=True),
    }
    attributes = {**RESULTS, "worker": 0, "host": "node", "job_id": "", "commit": "0" * 7, "device": "cpu"}
    trials = [
        optuna.trial.FrozenTrial(
            number=number,
            state=optuna.trial.TrialState.COMPLETE,
            value=float(rng.random()),
            datetime_start=now,
            datetime_complete=now,
            params={name: float(rng.uniform(d.low, d.high)) for name, d in distributions.items()},
            distributions=distributions,
            user_attrs={**attributes, "seconds": 5.0},
            system_attrs={},
            intermediate_values={k: float(rng.random()) for k in range(1, REPORTS + 1)},
            trial_id=-1,
        )
        for number in range(n)
    ]
    backend = getattr(study._storage, "_backend", None)
    if hasattr(backend, "engine"):
        _insert(backend, study._study_id, trials)
    else:
        study.add_trials(trials)


def _insert(backend: Any, study_id: int, trials: Sequence[Any]) -> None:
    import json

    import optuna
    import sqlalchemy as sa
    from optuna.storages._rdb import models

    def rows(model: Any, values: list[dict[str, Any]]) -> None:
        for k in range(0, len(values), 5000):
            connection.execute(sa.insert(model.__table__), values[k : k + 5000])

    with backend.engine.begin() as connection:
        rows(
            models.TrialModel,
            [
                {
                    "number": t.number,
                    "study_id": study_id,
                    "state": t.state,
                    "datetime_start": t.datetime_start,
                    "datetime_complete": t.datetime_complete,
                }
                for t in trials
            ],
        )
        columns = models.TrialModel.__table__.c
        ids = [
            number
            for (number,) in connection.execute(
                sa.select(columns.trial_id).where(columns.study_id == study_id).order_by(columns.number)
            )
        ]
        pairs = list(zip(ids, trials))
        rows(
            models.TrialValueModel,
            [{"trial_id": i, "objective": 0, "value": t.value, "value_type": "FINITE"} for i, t in pairs],
        )
        rows(
            models.TrialIntermediateValueModel,
            [
                {"trial_id": i, "step": k, "intermediate_value": v, "intermediate_value_type": "FINITE"}
                for i, t in pairs
                for k, v in t.intermediate_values.items()
            ],
        )
        rows(
            models.TrialUserAttributeModel,
            [
                {"trial_id": i, "key": key, "value_json": json.dumps(value)}
                for i, t in pairs
                for key, value in t.user_attrs.items()
            ],
        )
        rows(
            models.TrialParamModel,
            [
                {
                    "trial_id": i,
                    "param_name": name,
                    "param_value": value,
                    "distribution_json": optuna.distributions.distribution_to_json(t.distributions[name]),
                }
                for i, t in pairs
                for name, value in t.params.items()
            ],
        )


def growth(
    everywhere: Mapping[str, Any],
    make: Callable[[str, int], str],
    grown: Grown,
    *,
    sizes: Sequence[int],
    trials: int,
) -> str:
    """Cost of a trial after so many; the first one of a worker reads them all. Fills in `grown`.

    Parameters
    ----------
    everywhere : mapping of str to bench_storage.Place
    make : callable
        Gives the name of a fresh study in a storage by its address and the trials it shall have.
    grown : dict
        Is given what each storage took, by the number of trials.
    sizes : sequence of int
    trials : int
        So many are measured.
    """
    from hpopt_lib.tuning.storage import load_study

    rows = []
    for name, place in everywhere.items():
        for size in sizes:
            study = make(place.address, size + trials)
            fill(load_study(study, place.address), size)
            cost = run(Load(study, 1, trials), place.prepare, *place.arguments, server=place.server)
            grown.setdefault(name, {})[size] = cost
            later = 1e3 * np.array(cost.overhead_s[1:])
            rows.append(
                [name, f"{size:,}", f"{cost.overhead_s[0]:.2f}", f"{np.median(later):.0f}",
                 f"{later.min():.0f}–{later.max():.0f}", f"{1e3 * cost.cpu_s:.0f}"]
            )  # fmt: skip
    head = ["storage", "trials there", "first trial, s", "ms of a later one", "range", "CPU-ms in the worker"]
    return table(head, rows)
