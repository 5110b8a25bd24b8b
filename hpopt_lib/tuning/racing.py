"""An early end of a trial's repeats: when its mean over all of them can no longer become the best."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from hpopt_lib.errors import HpoptError

if TYPE_CHECKING:
    import optuna


@dataclass(frozen=True)
class Standing:
    """A trial between two of its repeats, beside the best finished trial.

    Attributes
    ----------
    done, repeats : int
        Trainings that it had, and shall have.
    mean : float
        Of those that it had, in meV/atom.
    margin : float
        By so much at most, with the chosen confidence, the mean over all repeats will be smaller; meV/atom.
    best : float
        Smallest mean over all repeats among the finished trials, in meV/atom.
    """

    done: int
    repeats: int
    mean: float
    margin: float
    best: float

    @property
    def cannot_win(self) -> bool:
        """Whether even the lower end of what the mean may become is above the best."""
        return self.mean - self.margin > self.best

    def __str__(self) -> str:
        return (
            f"after {self.done} of {self.repeats} repeats: {self.mean:.1f} ± {self.margin:.1f} meV/atom, "
            f"best {self.best:.1f}"
        )


def standing(
    errors: Sequence[float], finished: Iterable[Sequence[float]], *, repeats: int, confidence: float
) -> Standing | None:
    """Compare a trial that has had some of its repeats with the finished ones.

    The mean of all N repeats, seen after k of them, is a random number around the mean so far; with
    seeds that are independent and normal its standard deviation is :math:`\\sigma\\sqrt{(N-k)/(N k)}`
    (a mean of a finite population of N). :math:`\\sigma` is pooled over the finished trials and this one, and
    the quantile is Student's. A trial is looked at N - 1 times at most, so every look has its share of the
    risk (Bonferroni): a trial that would win is stopped with a probability of at most 1 - `confidence`.

    The comparison is not paired: each trial's trainings have seeds of their own, so that its k-th repeat has
    nothing in common with the k-th repeat of another.

    Parameters
    ----------
    errors : sequence of float
        Of the repeats so far, in meV/atom.
    finished : iterable of sequence of float
        Errors of all repeats of each finished trial.
    repeats : int
        N, at least 2.
    confidence : float
        Between 0.5 and 1.

    Returns
    -------
    Standing or None
        None while there is nothing to compare with: no repeat yet, or no finished trial.
    """
    from scipy.special import stdtrit  # scipy.stats takes half a second to import

    others = np.array(list(finished), dtype=float)
    if not len(others) or not len(errors):
        return None
    own, k = np.asarray(errors, dtype=float), len(errors)
    squares = ((others - others.mean(axis=1, keepdims=True)) ** 2).sum() + ((own - own.mean()) ** 2).sum()
    freedom = len(others) * (repeats - 1) + k - 1
    quantile = float(stdtrit(freedom, 1 - (1 - confidence) / (repeats - 1)))
    margin = quantile * float(np.sqrt(squares / freedom * (repeats - k) / (repeats * k)))
    return Standing(k, repeats, float(own.mean()), margin, float(others.mean(axis=1).min()))


def finished_repeats(study: optuna.Study, repeats: int) -> list[list[float]]:
    """Errors of all repeats of the completed trials, whichever worker had them."""
    from optuna.trial import TrialState

    trials = study.get_trials(deepcopy=False, states=(TrialState.COMPLETE,))
    found = [trial.user_attrs.get("repeat_errors") or [] for trial in trials]
    return [errors for errors in found if len(errors) == repeats]


def check_race(confidence: float | None, *, repeats: int, pruner: str) -> None:
    """Refuse a race that cannot be run.

    Raises
    ------
    HpoptError
        For a confidence outside of 0.5 to 1, a single repeat, or beside the Wilcoxon pruner.
    """
    if confidence is None:
        return
    if not 0.5 <= confidence < 1:
        raise HpoptError(
            f"--race {confidence}: no confidence from 0.5 to below 1",
            remedy="pass --race 0.95, or leave it out",
        )
    if repeats < 2:
        raise HpoptError(
            f"--race {confidence}: it stops repeats of a training, and --repeats is {repeats}",
            remedy="pass --repeats 3 or more, or leave --race out",
        )
    if pruner == "wilcoxon":
        raise HpoptError(
            f"--race {confidence}: --pruner wilcoxon decides on the same repeats",
            remedy="choose another pruner, or leave --race out",
        )
