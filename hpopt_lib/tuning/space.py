"""Search spaces: hyperparameters with their ranges and conditions."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from hpopt_lib.potential.settings import TrainSettings


@dataclass(frozen=True)
class Parameter:
    """One dimension of the search space.

    Attributes
    ----------
    name : str
        A field of `hpopt_lib.potential.settings.TrainSettings`.
    kind : {"float", "int", "categorical"}
    low, high : float or int, optional
        Ends of the range, both included.
    log : bool
        Whether the logarithm is drawn evenly.
    step : float or int, optional
    choices : tuple
    when : dict
        Values that other parameters must have: name to tuple of values.
    """

    name: str
    kind: str
    low: float | int = 0
    high: float | int = 0
    log: bool = False
    step: float | int | None = None
    choices: tuple[Any, ...] = ()
    when: Mapping[str, tuple[Any, ...]] = field(default_factory=dict)

    def suggest(self, trial: Any) -> Any:
        """Draw a value from an Optuna trial."""
        if self.kind == "categorical":
            return trial.suggest_categorical(self.name, self.choices)
        if self.kind == "int":
            return trial.suggest_int(self.name, self.low, self.high, step=self.step or 1, log=self.log)
        return trial.suggest_float(self.name, self.low, self.high, step=self.step, log=self.log)

    def grid(self, points: int) -> list[Any]:
        """Evenly spread values for a grid search, at most `points` of them."""
        import numpy as np

        if self.kind == "categorical":
            return list(self.choices)
        if self.step is not None:
            values = np.arange(self.low, self.high + 0.5 * self.step, self.step)
        else:
            spread = np.geomspace if self.log else np.linspace
            values = spread(self.low, self.high, points)
        if self.kind == "int":
            return sorted({int(v) for v in np.round(values)})
        return [float(v) for v in values]


@dataclass(frozen=True)
class SearchSpace:
    """Parameters in the order in which they are drawn, and fixed values.

    Attributes
    ----------
    parameters : tuple of Parameter
    fixed : dict
        Hyperparameters that are not searched, by name.
    text : str
        The TOML text, kept with the study.
    """

    parameters: tuple[Parameter, ...]
    fixed: Mapping[str, Any]
    text: str

    def suggest(self, trial: Any) -> dict[str, Any]:
        """Draw the hyperparameters of a trial, with the fixed ones."""
        values: dict[str, Any] = dict(self.fixed)
        for parameter in self.parameters:
            if all(values.get(other) in allowed for other, allowed in parameter.when.items()):
                values[parameter.name] = parameter.suggest(trial)
        return values

    @property
    def names(self) -> list[str]:
        """Names of the searched parameters."""
        return [parameter.name for parameter in self.parameters]

    def largest(self, name: str) -> Any:
        """Largest value that a numeric hyperparameter can get, or None when it keeps its default."""
        for parameter in self.parameters:
            if parameter.name == name:
                return max(parameter.choices) if parameter.kind == "categorical" else parameter.high
        return self.fixed.get(name)

    def allows(self, name: str, value: Any) -> bool:
        """Whether a categorical hyperparameter can get a value."""
        for parameter in self.parameters:
            if parameter.name == name:
                return value in parameter.choices
        return self.fixed.get(name, getattr(TrainSettings(), name)) == value

    @property
    def is_conditional(self) -> bool:
        """Whether some parameters are drawn only for certain values of others."""
        return any(parameter.when for parameter in self.parameters)
