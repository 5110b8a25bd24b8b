"""How much each hyperparameter mattered, and how sure that is."""

from __future__ import annotations

import warnings
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from hpopt_lib.report.study_data import NotDrawableError, completed, need_completed

if TYPE_CHECKING:
    import optuna
    from optuna.importance import BaseImportanceEvaluator
    from optuna.trial import FrozenTrial

FANOVA, PED_ANOVA = "fANOVA", "PED-ANOVA"
EVALUATORS = (FANOVA, PED_ANOVA)
#: Completed trials below which importances would be read into noise.
MIN_TRIALS = 4
_TREES = 24


@dataclass(frozen=True)
class Importance:
    """Share of one hyperparameter in the variation of the objective.

    Attributes
    ----------
    name : str
    value : float
        0 to 1, of all completed trials once, as Optuna gives it.
    mean, low, high : float
        Mean, 10th and 90th percentile over bootstrap resamples of the trials. The shares of
        an evaluator add up to 1, in `value` as in `mean`.
    """

    name: str
    value: float
    mean: float
    low: float
    high: float


def importances(
    study: optuna.Study, evaluator: str = FANOVA, *, resamples: int | None = None, seed: int = 0
) -> list[Importance]:
    """Importances of one evaluator with their spread, most important first.

    fANOVA (Hutter et al. 2014) explains the variance of a random forest fitted to all
    completed trials, over the whole space; PED-ANOVA (Watanabe et al. 2023) compares the
    distribution of the best tenth with that of all completed trials, so it tells what matters
    near the top. Each resample of the trials is evaluated with a seed of its own, so the
    spread holds the luck of the trials and of the forest.

    Parameters
    ----------
    study : optuna.Study
    evaluator : {"fANOVA", "PED-ANOVA"}
    resamples : int, optional
        At most 10 for fANOVA and 40 for PED-ANOVA, fewer for many trials: a few seconds.
    seed : int

    Returns
    -------
    list of Importance
        By falling mean. fANOVA leaves out conditional parameters, and both leave out those
        that had one value only.

    Raises
    ------
    NotDrawableError
        With fewer than `MIN_TRIALS` completed trials, no parameter, or equal objectives.
    """
    trials = need_completed(study, "An importance", at_least=MIN_TRIALS)
    if len({t.value for t in trials}) == 1:
        raise NotDrawableError("All completed trials have the same objective, so no parameter can explain it")
    names = _names(trials, conditional=evaluator == PED_ANOVA)
    if not names:
        raise NotDrawableError("No parameter took more than one value in every completed trial")
    direction = study.direction
    full = _evaluate(trials, direction, evaluator, names, seed)
    draws: list[dict[str, float]] = []
    rng = np.random.default_rng(seed)
    if resamples is None:
        resamples = max(
            5, min(10, 1000 // len(trials)) if evaluator == FANOVA else min(40, 4000 // len(trials))
        )
    for k in range(resamples):
        sample = [trials[i] for i in rng.integers(len(trials), size=len(trials))]
        varied = _names(sample, conditional=evaluator == PED_ANOVA)
        if varied and len({t.value for t in sample}) > 1:
            draws.append(_evaluate(sample, direction, evaluator, varied, seed + 1 + k))
    rows = []
    for name in names:
        found = [draw.get(name, 0.0) for draw in draws] or [full[name]]
        low, high = np.percentile(found, [10, 90])
        rows.append(Importance(name, full[name], float(np.mean(found)), float(low), float(high)))
    return sorted(rows, key=lambda row: -row.mean)


def most_important(study: optuna.Study) -> list[str]:
    """Names of the parameters that every completed trial has, most important by fANOVA first.

    In the order of drawing when there are too few trials to tell.
    """
    trials = completed(study)
    names = _names(trials, conditional=False)
    if len(names) < 2 or len(trials) < MIN_TRIALS or len({t.value for t in trials}) == 1:
        return names
    try:
        found = _evaluate(trials, study.direction, FANOVA, names, seed=0)
    except NotDrawableError:
        return names
    return sorted(found, key=lambda name: -found[name])


def _names(trials: list[FrozenTrial], *, conditional: bool) -> list[str]:
    """Parameters with at least two values, among all trials or those in every trial."""
    names = dict.fromkeys(name for t in trials for name in t.params)
    varied = [name for name in names if len({t.params[name] for t in trials if name in t.params}) > 1]
    return varied if conditional else [name for name in varied if all(name in t.params for t in trials)]


def _evaluate(
    trials: list[FrozenTrial],
    direction: optuna.study.StudyDirection,
    evaluator: str,
    names: list[str],
    seed: int,
) -> dict[str, float]:
    import optuna

    verbosity = optuna.logging.get_verbosity()
    optuna.logging.set_verbosity(optuna.logging.WARNING)  # it would announce the study it only borrows
    try:
        study = optuna.create_study(direction=direction)
    finally:
        optuna.logging.set_verbosity(verbosity)
    study.add_trials(trials)
    with warnings.catch_warnings():
        # few trials per branch of a conditional space: that is what the spread is there to show
        warnings.filterwarnings("ignore", message="Some regimes for parameter", category=UserWarning)
        # PED-ANOVA is marked experimental in Optuna 5, and is named in the figure
        warnings.simplefilter("ignore", optuna.exceptions.ExperimentalWarning)
        judge: BaseImportanceEvaluator
        if evaluator == FANOVA:
            judge = optuna.importance.FanovaImportanceEvaluator(n_trees=_TREES, seed=seed)
        else:
            judge = optuna.importance.PedAnovaImportanceEvaluator()
        try:
            found = optuna.importance.get_param_importances(study, evaluator=judge, params=names)
        except RuntimeError as error:
            # the forest found nothing to split: every tree is one leaf
            raise NotDrawableError(f"{evaluator} found no variance that a parameter explains") from error
    return {name: float(found.get(name, 0.0)) for name in names}


def settled(rows: list[Importance]) -> str:
    """A sentence on whether the first place is told apart from the second."""
    if len(rows) < 2:
        return f"{rows[0].name} is the only parameter that varied."
    first, second = rows[:2]
    if first.low > second.high:
        return f"{first.name} is told apart from the rest: its interval lies above that of {second.name}."
    return (
        f"The order is not settled: the intervals of {first.name} ({first.low:.2f} to {first.high:.2f}) and "
        f"{second.name} ({second.low:.2f} to {second.high:.2f}) overlap."
    )
