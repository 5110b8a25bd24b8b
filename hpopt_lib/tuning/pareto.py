"""Studies of three objectives: error in domain, worst error out of domain, inference time."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

from hpopt_lib.errors import HpoptError
from hpopt_lib.potential.domains import domain_errors
from hpopt_lib.potential.model import Potential
from hpopt_lib.potential.training import OBJECTIVE, TrainResult
from hpopt_lib.store import SplitArrays

if TYPE_CHECKING:
    import optuna
    from optuna.trial import FrozenTrial

#: Names and units of the objectives, in their order; all are to be small.
OBJECTIVES = (f"in_domain_{OBJECTIVE}", f"worst_out_of_domain_{OBJECTIVE}", "network_us_per_atom")
#: Points of the front that can be asked for by name, and the objective that is smallest there.
PICKS = {"worst-domain": 1, "in-domain": 0, "fastest": 2}
#: The point that is taken when none is asked for.
PICK = "worst-domain"
#: Passes over the first domain, of which the fastest counts.
PASSES = 7


def network_us_per_atom(potential: Potential, arrays: SplitArrays) -> float:
    """Processor time of the network for an atom in microseconds, from features in memory.

    The least of some passes over all frames on the processor, in the time of this process, so that other
    work on the machine counts little. The features cost the same in all trials and are not in it.
    """
    prepared, seconds = potential.prepare(arrays), []
    for _ in range(PASSES):
        start = time.process_time()
        potential.predict(prepared)
        seconds.append(time.process_time() - start)
    return 1e6 * min(seconds) / int(arrays.n_atoms.sum())


def pareto_values(first: str, arrays: SplitArrays) -> Callable[[TrainResult], list[float]]:
    """What a trial of a training is worth: a function that gives the values of `OBJECTIVES`.

    Parameters
    ----------
    first : str
        Name of the in-domain split.
    arrays : SplitArrays
        Its frames.
    """

    def values(result: TrainResult) -> list[float]:
        errors = domain_errors(result.history, result.best_epoch)
        worst = max(error for name, error in errors.items() if name != first)
        return [errors[first], worst, network_us_per_atom(result.potential, arrays)]

    return values


def is_pareto(study: optuna.Study) -> bool:
    """Whether a study has several objectives."""
    return len(study.directions) > 1


def front(study: optuna.Study) -> list[FrozenTrial]:
    """Completed trials that no other beats in one objective without losing in another, by the first one."""
    return sorted(study.best_trials, key=lambda trial: (trial.values, trial.number))


def chosen_trial(study: optuna.Study, pick: str | None = None) -> FrozenTrial:
    """The best completed trial; of several objectives a point of the front.

    Parameters
    ----------
    study : optuna.Study
    pick : str, optional
        One of `PICKS` (`PICK` by default), or the number of a trial on the front.

    Raises
    ------
    HpoptError
        When no trial is complete, or there is no such point.
    """
    if not is_pareto(study):
        if pick is not None:
            raise HpoptError(
                f"--pick {pick}: study {study.study_name!r} has one objective, and so one best trial",
                remedy="leave it out",
            )
        try:
            return study.best_trial
        except ValueError:
            raise _none_complete(study) from None
    trials = front(study)
    if not trials:
        raise _none_complete(study)
    pick = pick or PICK
    if pick in PICKS:
        return picked_points(trials)[pick]
    found = [trial for trial in trials if str(trial.number) == pick]
    if not found:
        numbers = ", ".join(str(trial.number) for trial in trials)
        raise HpoptError(
            f"--pick {pick}: not a point of the front",
            remedy=f"use {', '.join(PICKS)} or the number of a trial on it: {numbers}",
        )
    return found[0]


def picked_points(trials: Sequence[FrozenTrial]) -> dict[str, FrozenTrial]:
    """The point of a front under each name of `PICKS`."""
    return {
        name: min(trials, key=lambda trial: (trial.values[place], trial.values))
        for name, place in PICKS.items()
    }


def _none_complete(study: Any) -> HpoptError:
    return HpoptError(
        f"study {study.study_name!r}: no trial is complete yet", remedy="run more trials with hpopt tune"
    )
