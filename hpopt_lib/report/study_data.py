"""What figures and tables need of a study, whoever made it: objective, units, parameters, trials."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from hpopt_lib.errors import HpoptError

if TYPE_CHECKING:
    import optuna
    from optuna.trial import FrozenTrial

#: Ends of metric names that tell the unit, longest first.
UNIT_SUFFIXES = {
    "_mev_per_angstrom": "meV/Å",
    "_ev_per_angstrom": "eV/Å",
    "_kcal_per_mol": "kcal/mol",
    "_mev_per_atom": "meV/atom",
    "_ev_per_atom": "eV/atom",
    "_mev": "meV",
    "_ev": "eV",
    "_us_per_atom": "µs/atom",
}
PARAMETER_UNITS = {"step_size": "epochs", "batch_size": "frames", "epochs": "", "cutoff": "Å"}
FOREIGN_LABEL = "objective value"


class NotDrawableError(HpoptError):
    """A figure that these data cannot give; the message is a sentence that says why."""


def metric_label(name: str) -> str:
    """A metric's name as text, with its unit in parentheses.

    Examples
    --------
    >>> metric_label("validation_energy_mae_mev_per_atom")
    'validation energy MAE (meV/atom)'
    """
    unit = ""
    for suffix, text in UNIT_SUFFIXES.items():
        if name.endswith(suffix):
            name, unit = name.removesuffix(suffix), f" ({text})"
            break
    words = [word.upper() if word in ("mae", "rmse", "mse") else word for word in name.split("_")]
    return " ".join(words) + unit


def label(parameter: str) -> str:
    """A hyperparameter's name, with its unit where it has one."""
    unit = PARAMETER_UNITS.get(parameter)
    return f"{parameter} ({unit})" if unit else parameter


@dataclass(frozen=True)
class ObjectiveView:
    """The one objective of a study.

    Attributes
    ----------
    label : str
        Name and unit; ``objective value`` when the study does not name its metric.
    unit : str
        Empty when not known.
    sign : int
        1 when smaller is better, -1 when larger is.
    step_name : str
        What trials report by: epoch, repeat, or step.
    """

    label: str
    unit: str
    sign: int
    step_name: str

    def quantity(self, value: float) -> str:
        """Name, value and unit in running text, such as ``validation energy MAE 27.4 meV/atom``."""
        name = self.label.removesuffix(f" ({self.unit})")
        return f"{name} {value:.4g} {self.unit}".rstrip()


def objective_view(study: optuna.Study) -> ObjectiveView:
    """What a study optimises.

    Raises
    ------
    HpoptError
        When the study has several objectives.
    """
    if len(study.directions) != 1:
        raise HpoptError(
            f"study {study.study_name!r}: has {len(study.directions)} objectives, reports are of one",
            remedy="use Optuna's own Pareto front plots",
        )
    names = study.metric_names
    text = metric_label(names[0]) if names else FOREIGN_LABEL
    unit = text[text.rindex("(") + 1 : -1] if text.endswith(")") else ""
    config = study.user_attrs.get("hpopt")
    step = "step" if config is None else "repeat" if config.get("pruner") == "wilcoxon" else "epoch"
    return ObjectiveView(text, unit, 1 if study.direction.name == "MINIMIZE" else -1, step)


def trials_in(study: optuna.Study, *states: str) -> list[FrozenTrial]:
    """Trials in the named states (upper case), in the order of their numbers."""
    return [trial for trial in study.get_trials(deepcopy=False) if trial.state.name in states]


def completed(study: optuna.Study) -> list[FrozenTrial]:
    """Completed trials with a finite value."""
    return [t for t in trials_in(study, "COMPLETE") if t.value is not None and math.isfinite(t.value)]


def need_completed(study: optuna.Study, what: str, *, at_least: int = 1) -> list[FrozenTrial]:
    """Completed trials, or `NotDrawableError` with a sentence when there are too few."""
    trials = completed(study)
    if len(trials) < at_least:
        count = f"{at_least} completed trial{'s' * (at_least > 1)}"
        raise NotDrawableError(f"{what} needs {count}, and the study has {len(trials) or 'none'}")
    return trials


def best_trial(trials: Sequence[FrozenTrial], view: ObjectiveView) -> FrozenTrial:
    """The best of completed trials; the first of equal ones."""
    return min(trials, key=lambda t: view.sign * float(t.value))  # type: ignore[arg-type]


def best_so_far(values: Iterable[float], sign: int = 1) -> np.ndarray:
    """Running minimum (maximum for ``sign=-1``) of values in the order of the trials."""
    array = np.asarray(list(values), dtype=float)
    return np.minimum.accumulate(array) if sign > 0 else np.maximum.accumulate(array)


def trial_rows(study: optuna.Study, view: ObjectiveView) -> list[dict[str, Any]]:
    """Completed trials as flat rows for tables."""
    rows = []
    for trial in completed(study):
        repeats = trial.user_attrs.get("repeat_errors") or []
        rows.append(
            {
                "number": trial.number,
                "value": float(trial.value),  # type: ignore[arg-type]
                "repeat_std": float(np.std(repeats, ddof=1)) if len(repeats) > 1 else None,
                "epochs": trial.user_attrs.get("epochs"),
                "seconds": round(trial.duration.total_seconds(), 1) if trial.duration is not None else None,
                "params": dict(trial.params),
            }
        )
    return rows


def parameter_names(study: optuna.Study) -> list[str]:
    """Every parameter that some trial drew, in the order of drawing."""
    names: dict[str, None] = {}
    for trial in study.get_trials(deepcopy=False):
        names.update(dict.fromkeys(trial.distributions))
    return list(names)


@dataclass(frozen=True)
class Axis:
    """One hyperparameter as an axis of a figure.

    Attributes
    ----------
    name : str
    low, high : float
        Ends of the search range (positions of the first and last choice).
    log : bool
    choices : tuple of str
        Empty for numbers.
    integer : bool
    """

    name: str
    low: float
    high: float
    log: bool
    choices: tuple[str, ...] = ()
    integer: bool = False

    def position(self, value: Any) -> float:
        """Where a value stands, in units of the axis (index of a choice)."""
        return float(self.choices.index(str(value))) if self.choices else float(value)

    def fraction(self, value: Any) -> float:
        """Where a value stands between the ends, 0 to 1 (0.5 when the ends coincide)."""
        low, high, x = self.low, self.high, self.position(value)
        if self.log:
            low, high, x = math.log(low), math.log(high), math.log(x)
        return 0.5 if high == low else (x - low) / (high - low)

    @property
    def label(self) -> str:
        return label(self.name)


def axes_of(study: optuna.Study, names: Sequence[str] | None = None) -> list[Axis]:
    """Axes of a study's parameters; ranges that changed between trials are joined."""
    from optuna.distributions import CategoricalDistribution

    axes = []
    for name in parameter_names(study) if names is None else names:
        found = [t.distributions[name] for t in study.get_trials(deepcopy=False) if name in t.distributions]
        if isinstance(found[0], CategoricalDistribution):
            choices = tuple(str(choice) for choice in found[0].choices)
            axes.append(Axis(name, 0.0, len(choices) - 1.0, False, choices))
        else:
            numbers: list[Any] = list(found)
            axes.append(
                Axis(
                    name,
                    float(min(d.low for d in numbers)),
                    float(max(d.high for d in numbers)),
                    log=all(d.log for d in numbers),
                    integer=type(numbers[0]).__name__ == "IntDistribution",
                )
            )
    return axes
