"""A study as plain numbers and texts: a run on a cluster, kept to be looked at where there is none."""

from __future__ import annotations

import datetime
from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING, Any

from hpopt_lib.errors import HpoptError

if TYPE_CHECKING:
    import optuna

#: User attributes that are kept; others are long, or of this machine.
KEPT = (
    "worker", "host", "job_id", "device", "cause", "failure", "losses", "resumed_from", "resumed_epoch",
    "epochs", "best_epoch", "seconds",
)  # fmt: skip
#: Recorded times are seconds; any day will do.
_DAY = datetime.datetime(2000, 1, 1)


def first_start(study: optuna.Study) -> datetime.datetime:
    """When the first trial of a study began.

    Raises
    ------
    HpoptError
        When none has.
    """
    starts = [t.datetime_start for t in study.get_trials(deepcopy=False) if t.datetime_start is not None]
    if not starts:
        raise HpoptError(f"study {study.study_name!r}: no trial has started", remedy="run it first")
    return min(starts)


def record_trials(study: optuna.Study) -> list[dict[str, Any]]:
    """Trials as JSON can hold them, with times in seconds since the first one began.

    Parameters
    ----------
    study : optuna.Study
    """
    zero = first_start(study)

    def seconds(moment: datetime.datetime | None) -> float | None:
        return None if moment is None else round((moment - zero).total_seconds(), 3)

    return [
        {
            "number": trial.number,
            "state": trial.state.name,
            "value": trial.value,
            "start_s": seconds(trial.datetime_start),
            "end_s": seconds(trial.datetime_complete),
            "params": dict(trial.params),
            "reports": len(trial.intermediate_values),
            "attrs": {key: trial.user_attrs[key] for key in KEPT if key in trial.user_attrs},
        }
        for trial in study.get_trials(deepcopy=False)
    ]


def recorded_study(records: Iterable[Mapping[str, Any]], *, name: str = "recorded") -> optuna.Study:
    """The inverse of `record_trials`: a study in memory, for figures and tables.

    Parameters
    ----------
    records : iterable of mappings
    name : str

    Returns
    -------
    optuna.Study
        Hyperparameters have no ranges, since those were not kept: they are the user attribute ``params``.

    Raises
    ------
    HpoptError
        When the trials are not numbered from 0 without gaps.
    """
    import optuna
    from optuna.trial import TrialState, create_trial

    study = optuna.create_study(study_name=name)
    for position, record in enumerate(records):
        if record["number"] != position:
            raise HpoptError(f"{name}: trial {record['number']} stands where {position} belongs")
        trial = create_trial(
            state=TrialState[record["state"]],
            value=record["value"] if record["state"] == "COMPLETE" else None,
            user_attrs={**record["attrs"], "params": record["params"], "reports": record["reports"]},
        )
        for name_, field in (("datetime_start", "start_s"), ("datetime_complete", "end_s")):
            offset = record[field]
            setattr(trial, name_, None if offset is None else _DAY + datetime.timedelta(seconds=offset))
        study.add_trial(trial)
    return study
