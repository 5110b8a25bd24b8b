"""Look at studies, export them, delete them."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

from hpopt_lib.errors import HpoptError
from hpopt_lib.files import atomic_path
from hpopt_lib.tuning.storage import load_study, open_storage

if TYPE_CHECKING:
    import optuna
    from optuna.trial import FrozenTrial

EXPORT_FORMATS = ("csv", "json")


def list_studies(storage: str | None = None) -> list[dict[str, Any]]:
    """Name, number of trials by state and best value of every study in a storage."""
    import optuna

    backend = open_storage(storage, create=False)
    rows = []
    for name in optuna.get_all_study_names(backend):
        study = optuna.load_study(study_name=name, storage=backend)
        metric = next(iter(study.metric_names or []), None)
        rows.append({"study": name, **trial_states(study), "best": best_value(study), "metric": metric})
    return rows


def trial_states(study: optuna.Study) -> dict[str, int]:
    """Number of trials in each state, by lower-case name."""
    from optuna.trial import TrialState

    trials = study.get_trials(deepcopy=False)
    return {state.name.lower(): sum(t.state == state for t in trials) for state in TrialState}


def best_value(study: optuna.Study) -> float | None:
    """Best objective so far in the study's own direction; None without one, or with several objectives."""
    from optuna.study import StudyDirection

    if len(study.directions) > 1:
        return None
    trials = study.get_trials(deepcopy=False)
    values = [t.value for t in trials if t.state.name == "COMPLETE" and t.value is not None]
    best = max if study.direction == StudyDirection.MAXIMIZE else min
    return best(values, default=None)


def values_of(trial: FrozenTrial, n_objectives: int) -> dict[str, Any]:
    """``value`` of a completed trial, else None; of several objectives ``value_0``, ``value_1``, …"""
    done = trial.state.name == "COMPLETE"
    if n_objectives == 1:
        return {"value": trial.value if done else None}
    return {f"value_{k}": trial.values[k] if done else None for k in range(n_objectives)}


def trial_records(study: optuna.Study) -> list[dict[str, Any]]:
    """One flat record for each trial: number, state, value, times, parameters, attributes."""
    records = []
    for trial in study.get_trials(deepcopy=False):
        seconds = trial.duration.total_seconds() if trial.duration is not None else None
        records.append(
            {
                "number": trial.number,
                "state": trial.state.name.lower(),
                # a pruned trial's value is its last report, not a result
                **values_of(trial, len(study.directions)),
                "seconds": seconds,
                "epochs": trial.user_attrs.get("epochs"),
                "failure": trial.user_attrs.get("failure"),
                "repeat_errors": trial.user_attrs.get("repeat_errors"),
                "stopped": trial.user_attrs.get("stopped"),
                "params": dict(trial.params),
                "settings": trial.user_attrs.get("settings"),
                "intermediate_values": {str(k): v for k, v in trial.intermediate_values.items()},
            }
        )
    return records


def export_study(name: str, out: str | Path, *, storage: str | None = None, overwrite: bool = False) -> Path:
    """Write all trials of a study as CSV (one row a trial) or JSON (with all curves).

    Parameters
    ----------
    name : str
    out : str or Path
        Its ending, .csv or .json, chooses the format.
    storage : str, optional
    overwrite : bool

    Raises
    ------
    HpoptError
        For an unknown study or ending, or an existing file.
    """
    import csv

    out = Path(out)
    kind = out.suffix.lower().lstrip(".")
    if kind not in EXPORT_FORMATS:
        raise HpoptError(f"{out}: unknown ending", remedy="end the name in .csv or .json")
    study = load_study(name, storage)
    records = trial_records(study)
    with atomic_path(out, overwrite=overwrite) as temporary:
        if kind == "json":
            content = {
                "study": name,
                "metric": study.metric_names,
                "config": study.user_attrs,
                "trials": records,
            }
            temporary.write_text(json.dumps(content, indent=1), encoding="utf-8")
        else:
            params = sorted({p for record in records for p in record["params"]})
            values = [key for key in (records[0] if records else {}) if key.startswith("value")] or ["value"]
            fields = ["number", "state", *values, "seconds", "epochs", "failure", *params]
            with open(temporary, "w", newline="", encoding="utf-8") as stream:
                writer = csv.DictWriter(stream, fields, extrasaction="ignore")
                writer.writeheader()
                writer.writerows({**record, **record["params"]} for record in records)
    return out


def delete_study(name: str, storage: str | None = None) -> None:
    """Delete a study and its trials for good; the caller has asked the user."""
    import optuna

    study = load_study(name, storage)
    optuna.delete_study(study_name=name, storage=study._storage)
