"""What a study selects on: one validation split, or several of them."""

from __future__ import annotations

import functools
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from hpopt_lib.errors import HpoptError
from hpopt_lib.potential.training import OBJECTIVE, TrainResult
from hpopt_lib.store import SplitArrays, Store
from hpopt_lib.tuning.pareto import OBJECTIVES, PICKS, pareto_values
from hpopt_lib.tuning.samplers import PRUNER

if TYPE_CHECKING:
    from hpopt_lib.potential.dataset import Dataset
    from hpopt_lib.potential.streaming import StreamingDataset
    from hpopt_lib.tuning.config import StudyConfig

#: Ways to select: on one split, by the mean or largest of the errors on several, or by several objectives.
ONE, MEAN, WORST, PARETO = "one", "mean", "worst-domain", "pareto"
SELECTS = (ONE, MEAN, WORST, PARETO)
#: Name and unit of the objective of each; several have commas between.
METRICS = {
    ONE: f"validation_{OBJECTIVE}",
    MEAN: f"mean_over_domains_{OBJECTIVE}",
    WORST: f"worst_domain_{OBJECTIVE}",
    PARETO: ",".join(OBJECTIVES),
}
#: What the best epoch is best by.
COMBINE: dict[str, Callable[[Any], Any]] = {MEAN: np.mean, WORST: np.max, PARETO: np.mean}


def choose_domains(store: Store, select: str, domains: Sequence[str] | None) -> list[str]:
    """The splits to select on; empty for `ONE`.

    When none are named: all validation splits but those whose name begins with ``test``, and where none is
    called so, all but the last of three or more. So a split is left that no choice has seen.

    Raises
    ------
    HpoptError
        For names that are not there, and when there are fewer than two splits.
    """
    if select not in SELECTS:
        raise HpoptError(f"--select: {select!r} is unknown", remedy=f"use one of {', '.join(SELECTS)}")
    if select == ONE:
        if domains:
            raise HpoptError("--domains: belongs to a selection on several", remedy="add --select mean")
        return []
    others = store.validation_splits()
    if len(others) < 2:
        found = f"only {len(others)} validation split" if others else "no validation split"
        raise HpoptError(
            f"--select {select}: {store.path} has {found}",
            remedy="preprocess with another file of another domain, or leave --select out",
        )
    if domains is None:
        tests = [split for split in others if split.startswith("test")]
        rest = [split for split in others if split not in tests]
        domains = rest if tests else others[:-1] if len(others) > 2 else others
    for split in domains:
        if store.check_split(split) == store.train_split:
            raise HpoptError(
                f"--domains: {split!r} is the training split", remedy=f"use some of {', '.join(others)}"
            )
    if len(domains) < 2 or len(set(domains)) < len(domains):
        raise HpoptError(
            f"--domains {','.join(domains)}: two different splits are needed at least",
            remedy=f"use some of {', '.join(others)}",
        )
    return list(domains)


def selected_on(config: StudyConfig) -> list[str]:
    """Splits that trials were compared on."""
    return list(config.domains) or [config.validation]


def selection_sentence(config: StudyConfig, store: Store) -> str:
    """What is selected on, and which splits nothing has been selected on."""
    used = selected_on(config)
    unseen = [split for split in store.validation_splits() if split not in used]
    rest = f"not selected on: {', '.join(unseen)}" if unseen else "no split is left that was not selected on"
    return f"selects on {', '.join(used)} ({config.select}); {rest}"


def study_training(config: StudyConfig, training: Callable[..., Any] | None) -> Callable[..., Any] | None:
    """What trains the trials of a study.

    Parameters
    ----------
    config : StudyConfig
    training : callable or None
        Of the backend.

    Raises
    ------
    HpoptError
        When another backend should select on several domains.
    """
    if config.select == ONE:
        return training
    if training is not None:
        raise HpoptError(
            f"--select {config.select}: the backend {config.backend} validates on one split",
            remedy="leave --select out, or use --backend hpopt",
        )
    if len(config.domains) < 2 or config.domains[0] != config.validation:
        raise HpoptError(
            f"select {config.select}: domains {config.domains} are too few, or the first is "
            f"not {config.validation!r}",
            remedy="name two splits or more, the validation split first",
        )
    from hpopt_lib.potential.domains import DomainTraining

    with Store.open(config.store) as store:
        others = {name: store.read(name) for name in config.domains[1:]}
    return functools.partial(
        DomainTraining, first=config.domains[0], others=others, combine=COMBINE[config.select]
    )


def check_objectives(config: StudyConfig) -> None:
    """Raise when the sampler, the pruner or a race does not go with several objectives."""
    if config.select != PARETO:
        return
    if config.sampler == "cmaes":
        raise HpoptError(
            "--sampler cmaes: is for one objective, and --select pareto has three",
            remedy="use tpe, nsga2, gp, random, quasi-random or grid",
        )
    if config.pruner != "none":
        raise HpoptError(
            f"--pruner {config.pruner}: Optuna does not prune studies of several objectives",
            remedy="leave it out with --select pareto, or use --select worst-domain",
        )
    if config.race is not None:
        raise HpoptError(
            f"--race {config.race}: compares one mean, and --select pareto has three objectives",
            remedy="leave it out with --select pareto, or use --select worst-domain",
        )


def check_pick(config: StudyConfig, pick: str | None) -> None:
    """Raise when a point of the front is asked for by a name that there is not, or of a study without one."""
    if pick is None:
        return
    if config.select != PARETO:
        raise HpoptError(f"--pick {pick}: belongs to --select pareto", remedy="leave it out")
    if pick not in PICKS and not pick.isdecimal():
        raise HpoptError(
            f"--pick {pick}: is unknown", remedy=f"use {', '.join(PICKS)} or the number of a trial"
        )


def default_pruner(select: str) -> str:
    """The pruner of a study that names none."""
    return "none" if select == PARETO else PRUNER


def trial_values(
    config: StudyConfig, data: Dataset | StreamingDataset
) -> Callable[[TrainResult], list[float]] | None:
    """What gives the values of a training's trial; None when that is its validation error.

    Parameters
    ----------
    config : StudyConfig
    data : Dataset or StreamingDataset
        In memory when the study has several objectives (`hpopt_lib.tuning.store_checks` sees to that).
    """
    if config.select != PARETO:
        return None
    assert isinstance(data.validation, SplitArrays)
    return pareto_values(config.validation, data.validation)
