"""Search spaces as TOML files that a person can read and edit, and values from options."""

from __future__ import annotations

import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from hpopt_lib.errors import HpoptError
from hpopt_lib.potential.settings import TrainSettings, check_names
from hpopt_lib.tuning.space import Parameter, SearchSpace

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib

DEFAULT_SPACE = Path(__file__).with_name("default_space.toml")
_KEYS = {
    "float": {"type", "low", "high", "log", "step", "when"},
    "int": {"type", "low", "high", "log", "step", "when"},
    "categorical": {"type", "choices", "when"},
}


def load_space(path: str | Path | None = None, *, fixed: Mapping[str, Any] | None = None) -> SearchSpace:
    """Read a search space from a TOML file.

    Parameters
    ----------
    path : str or Path, optional
        The packaged default space when not given.
    fixed : dict, optional
        Hyperparameters to hold; they leave the space.

    Raises
    ------
    HpoptError
        For a missing or unreadable file, an unknown hyperparameter or key, or an invalid
        range; the message names file and parameter.
    """
    path = Path(path) if path is not None else DEFAULT_SPACE
    try:
        text = path.read_text(encoding="utf-8")
    except OSError as error:
        raise HpoptError(
            f"{path}: cannot be read: {error.strerror}", remedy="name a TOML file with --space"
        ) from error
    except UnicodeDecodeError as error:
        raise HpoptError(f"{path}: not a text file", remedy="name a TOML file with --space") from error
    return parse_space(text, where=str(path), fixed=fixed)


def parse_space(text: str, *, where: str, fixed: Mapping[str, Any] | None = None) -> SearchSpace:
    """Read a search space from TOML text; `where` names its source in messages."""
    try:
        tables = tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        raise HpoptError(
            f"{where}: not valid TOML: {error}", remedy="see the comments in the default space"
        ) from error
    fixed = dict(fixed or {})
    TrainSettings.from_dict(fixed)
    check_names(tables, where=where)
    parameters = [_parameter(name, table, where=f"{where}: {name}") for name, table in tables.items()]
    free = [parameter for parameter in parameters if parameter.name not in fixed]
    if not free:
        raise HpoptError(
            f"{where}: no parameter left to search", remedy="add a table or fix fewer with --set"
        )
    _check_conditions(parameters, fixed, where=where)
    return SearchSpace(tuple(free), fixed, text)


def _parameter(name: str, table: Any, *, where: str) -> Parameter:
    kind = table.get("type") if isinstance(table, dict) else None
    if kind not in _KEYS:
        raise HpoptError(f"{where}: type: {kind!r} is unknown", remedy=f"use {', '.join(_KEYS)}")
    for key in table:
        if key not in _KEYS[kind]:
            raise HpoptError(
                f"{where}: {key!r} is unknown", remedy=f"a {kind} has {', '.join(sorted(_KEYS[kind]))}"
            )
    conditions = table.get("when", {})
    if not isinstance(conditions, dict):
        raise HpoptError(
            f"{where}: when: {conditions!r}", remedy='write when = { other = "value" }, see the default space'
        )
    when = {k: tuple(v) if isinstance(v, list) else (v,) for k, v in conditions.items()}
    for other, allowed in when.items():
        for value in allowed:
            _check_value(other, value, where=f"{where}: when")
    if kind == "categorical":
        choices = table.get("choices")
        if not isinstance(choices, list) or not choices:
            raise HpoptError(f"{where}: choices: {choices!r}", remedy="give a list with at least one value")
        for value in choices:
            _check_value(name, value, where=f"{where}: choices")
        return Parameter(name, kind, choices=tuple(choices), when=when)
    low, high, log, step = table.get("low"), table.get("high"), table.get("log", False), table.get("step")
    number = int if kind == "int" else (int, float)
    for key, value in (("low", low), ("high", high)):
        if isinstance(value, bool) or not isinstance(value, number):
            raise HpoptError(
                f"{where}: {key}: {value!r} is not a number of type {kind}", remedy=f"give {key}"
            )
    if not isinstance(log, bool):
        raise HpoptError(f"{where}: log: {log!r}", remedy="give true or false")
    if kind == "float":
        low, high = float(low), float(high)
    if not low <= high:
        raise HpoptError(f"{where}: low {low} is above high {high}", remedy="swap them")
    if log and low <= 0:
        raise HpoptError(f"{where}: low: {low} with log = true", remedy="give a positive low")
    if log and step is not None:
        raise HpoptError(f"{where}: step: not possible with log = true", remedy="remove one of the two")
    if step is not None and (isinstance(step, bool) or not isinstance(step, number) or not step > 0):
        raise HpoptError(f"{where}: step: {step!r}", remedy="give a positive number")
    for value in (low, high):
        _check_value(name, value, where=where)
    return Parameter(name, kind, low=low, high=high, log=log, step=step, when=when)


def _check_value(name: str, value: Any, *, where: str) -> None:
    try:
        TrainSettings.from_dict({name: value})
    except HpoptError as error:
        raise HpoptError(f"{where}: {error.problem}", remedy=error.remedy) from error


def _check_conditions(parameters: Sequence[Parameter], fixed: Mapping[str, Any], *, where: str) -> None:
    above: list[str] = list(fixed)
    for parameter in parameters:
        for other in parameter.when:
            if other not in above:
                raise HpoptError(
                    f"{where}: {parameter.name}: when: {other!r} does not stand above it",
                    remedy="move its table up, or correct the name",
                )
        above.append(parameter.name)


def parse_assignments(assignments: Sequence[str]) -> dict[str, Any]:
    """Read ``name=value`` settings, values written as in TOML; a bare word is text.

    Raises
    ------
    HpoptError
        For a missing ``=``, an unknown name or a value of the wrong type or range.

    Examples
    --------
    >>> parse_assignments(["lr=1e-3", "schedule=step"])
    {'lr': 0.001, 'schedule': 'step'}
    """
    values: dict[str, Any] = {}
    for assignment in assignments:
        name, equals, text = assignment.partition("=")
        if not equals:
            raise HpoptError(f"--set: {assignment!r} has no '='", remedy="write name=value, such as lr=1e-3")
        try:
            values[name.strip()] = tomllib.loads(f"value = {text}")["value"]
        except tomllib.TOMLDecodeError:
            values[name.strip()] = text.strip()
    check_names(values, where="--set")
    settings = TrainSettings.from_dict(values)
    return {name: getattr(settings, name) for name in values}
