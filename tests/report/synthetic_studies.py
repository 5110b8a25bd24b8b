"""Optuna studies made from lists of numbers, without running anything."""

from __future__ import annotations

import datetime
import warnings
from collections.abc import Sequence
from dataclasses import asdict
from typing import Any

import numpy as np
import optuna
from optuna.distributions import CategoricalDistribution, FloatDistribution, IntDistribution
from optuna.trial import TrialState, create_trial

from hpopt_lib.potential.settings import TrainSettings
from hpopt_lib.tuning.config import StudyConfig
from hpopt_lib.tuning.objective import METRIC

SPACE = {
    "lr": FloatDistribution(1e-4, 1e-1, log=True),
    "num_layers": IntDistribution(1, 5),
    "schedule": CategoricalDistribution(["cosine", "step"]),
    "gamma": FloatDistribution(0.1, 0.9),
}
START = datetime.datetime(2026, 1, 1, 12, 0, 0)
SPACE_TEXT = '[lr]\ntype = "float"\nlow = 1e-4\nhigh = 1e-1\nlog = true\n'


def empty_study(*, foreign: bool = False, direction: str = "minimize", name: str = "tiny") -> optuna.Study:
    """A study in memory, with the settings of hpopt unless it is foreign."""
    study = optuna.create_study(study_name=name, direction=direction)
    if not foreign:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", optuna.exceptions.ExperimentalWarning)
            study.set_metric_names([METRIC])
        config = StudyConfig(store="missing.lmdb", space=SPACE_TEXT, validation="val", fixed={"epochs": 4})
        study.set_user_attr("hpopt", asdict(config))
    return study


def draw(number: int) -> dict[str, Any]:
    """Parameters of a trial: `gamma` only where the schedule is step."""
    rng = np.random.default_rng(number)
    params: dict[str, Any] = {
        "lr": float(10 ** rng.uniform(-4, -1)),
        "num_layers": int(rng.integers(1, 6)),
        "schedule": ["cosine", "step"][number % 2],
    }
    if params["schedule"] == "step":
        params["gamma"] = float(rng.uniform(0.1, 0.9))
    return params


def add(
    study: optuna.Study,
    value: float | None,
    *,
    state: TrialState = TrialState.COMPLETE,
    params: dict[str, Any] | None = None,
    curve: Sequence[float] | None = None,
    failure: str | None = None,
    repeats: Sequence[float] = (),
) -> None:
    """Add one trial of ten seconds, after those that are there."""
    number = len(study.trials)
    params = draw(number) if params is None else params
    attrs: dict[str, Any] = {"epochs": len(curve or ())}
    if params.keys() <= {"lr", "num_layers", "schedule", "gamma"}:
        attrs["settings"] = TrainSettings(**params).to_dict()
    if failure is not None:
        attrs["failure"] = failure
    if repeats:
        attrs["repeat_errors"] = list(repeats)
    trial = create_trial(
        state=state,
        value=value if state == TrialState.COMPLETE else None,
        params=params,
        distributions={name: SPACE[name] for name in params},
        user_attrs=attrs,
        intermediate_values=dict(enumerate(curve or (), 1)),
    )
    trial.datetime_start = START + datetime.timedelta(seconds=10 * number)
    if state.is_finished():
        trial.datetime_complete = trial.datetime_start + datetime.timedelta(seconds=10)
    study.add_trial(trial)


def usual_study(n: int = 10, *, foreign: bool = False) -> optuna.Study:
    """A study with completed, two pruned and one failed trial; the objective falls with lr."""
    study = empty_study(foreign=foreign)
    for number in range(n):
        value = 20.0 - 8.0 * np.log10(draw(number)["lr"]) + number % 3
        add(study, float(value), curve=[value + 9.0, value + 4.0, value + 1.0, float(value)])
    add(study, None, state=TrialState.PRUNED, curve=[90.0, 80.0])
    add(study, None, state=TrialState.PRUNED, curve=[95.0])
    add(study, None, state=TrialState.FAIL, failure="training: the loss is not finite in epoch 1 (lr 0.1)")
    return study


def final_record(*, study: str = "tiny", trial: int = 3, seeds: int = 3) -> dict[str, Any]:
    """A record as `hpopt_lib.tuning.final.final_model` gives it, with errors chosen by hand."""
    from hpopt_lib.tuning.final import summarise

    def scores(errors: Sequence[float], *, median: float, linear: float) -> list[dict[str, Any]]:
        return [
            {
                "energy_mae_mev_per_atom": error,
                "energy_mae_ev": error / 100.0,
                "energy_mae_mev_per_atom_interval": [error - 2.0, error + 4.0],
                "median_energy_mae_mev_per_atom": median,
                "linear_energy_mae_mev_per_atom": linear,
                "skill_over_median": 1 - error / median,
                "skill_over_linear": 1 - error / linear,
                "n_frames": 12.0,
                "n_systems": 4,
            }
            for error in errors
        ]

    splits = {
        "val": scores([10.0, 12.0, 14.0][:seeds], median=60.0, linear=30.0),
        "val_ood": scores([41.0, 43.0, 39.0][:seeds], median=80.0, linear=40.0),
        "val_far": scores([90.0, 91.0, 92.0][:seeds], median=95.0, linear=50.0),
    }
    history = [{"epoch": e, "lr": 1e-3, "train_loss": 1.0 / e, METRIC: 40.0 / e} for e in (1, 2, 3)]
    return {
        "study": study,
        "trial": trial,
        "tuned_on": "val",
        "tuned_error": 11.0,
        "settings": TrainSettings().to_dict(),
        "seeds": seeds,
        "runs": [
            {"seed": 100 + k, "best_epoch": 3, "seconds": 1.0, "history": history} for k in range(seeds)
        ],
        "splits": splits,
        "summary": {name: summarise(entries) for name, entries in splits.items()},
        "date": "2026-01-01T12:00:00+00:00",
        "hpopt_version": "0.1.0",
    }
