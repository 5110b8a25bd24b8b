"""The front of a study of several objectives, as rows, figure and sentences."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

import numpy as np

from hpopt_lib.report.figures_splits import plot_front
from hpopt_lib.report.study_data import NotDrawableError, label, metric_label, parameter_names, trials_in
from hpopt_lib.tuning.pareto import PICK, front, picked_points

if TYPE_CHECKING:
    import optuna
    from matplotlib.figure import Figure


def objective_labels(study: optuna.Study) -> list[str]:
    """Name and unit of every objective."""
    names = study.metric_names or [f"objective {k + 1}" for k in range(len(study.directions))]
    return [metric_label(name) for name in names]


def front_rows(study: optuna.Study, top: int | None = None) -> tuple[list[dict[str, Any]], dict[str, str]]:
    """The trials of the front, by the first objective, with the points that have a name.

    Parameters
    ----------
    study : optuna.Study
    top : int, optional
        Largest number of rows; named points are always shown.
    """
    trials = front(study)
    names: dict[int, list[str]] = {}
    for name, trial in picked_points(trials).items() if trials else ():
        names.setdefault(trial.number, []).append(name)
    shown = [t for place, t in enumerate(trials) if top is None or place < top or t.number in names]
    labels = {f"value_{k}": text for k, text in enumerate(objective_labels(study))}
    drawn = [name for name in parameter_names(study) if any(name in t.params for t in shown)]
    rows = [
        {
            "trial": str(trial.number),
            "point": ", ".join(names.get(trial.number, [])) or None,
            **{key: float(value) for key, value in zip(labels, trial.values)},
            **{name: trial.params.get(name) for name in drawn},
        }
        for trial in shown
    ]
    return rows, {"trial": "trial", "point": "point", **labels, **{name: label(name) for name in drawn}}


def front_figure(study: optuna.Study) -> Figure:
    """All completed trials by the first two objectives, the front coloured by the third.

    Raises
    ------
    NotDrawableError
        When no trial is complete.
    """
    trials = [t for t in trials_in(study, "COMPLETE") if all(map(math.isfinite, t.values))]
    if not trials:
        raise NotDrawableError("The front needs a completed trial, and the study has none")
    on_front = front(study)
    numbers = {trial.number for trial in on_front}
    places = {trial.number: row for row, trial in enumerate(trials)}
    points: dict[int, list[str]] = {}
    for name, trial in picked_points(on_front).items():
        points.setdefault(places[trial.number], []).append(name)
    return plot_front(
        np.array([trial.values for trial in trials]),
        np.array([trial.number in numbers for trial in trials]),
        labels=objective_labels(study),
        marks={", ".join(names): row for row, names in points.items()},
    )


def front_sentences(study: optuna.Study) -> list[str]:
    """Size of the search and of the front, its points with a name, and what they trade."""
    n = len(study.get_trials(deepcopy=False))
    done, failed = len(trials_in(study, "COMPLETE")), len(trials_in(study, "FAIL"))
    sentences = [
        f"The study has {n} trial{'s' * (n != 1)}: {done} complete, {failed} failed; nothing is pruned."
    ]
    trials = front(study)
    if not trials:
        return [*sentences, "No trial is complete, so there is no front."]
    sentences.append(
        f"{len(trials)} of {done} completed trials are on the front: no other is at least as good in every "
        "objective and better in one."
    )
    labels, points = objective_labels(study), picked_points(trials)
    for name, trial in points.items():
        values = ", ".join(f"{text} {value:.4g}" for text, value in zip(labels, trial.values))
        chosen = "; it becomes the final model unless another is asked for" if name == PICK else ""
        sentences.append(f"Point {name}: trial {trial.number} ({values}){chosen}.")
    if points["in-domain"].number == points["worst-domain"].number:
        sentences.append(
            "The best trial in domain is also the best in the worst domain: the two do not conflict."
        )
    else:
        gain = points["in-domain"].values[1] - points["worst-domain"].values[1]
        cost = points["worst-domain"].values[0] - points["in-domain"].values[0]
        sentences.append(
            f"From the best in domain to the best in the worst domain one wins {gain:.2f} there and pays "
            f"{cost:.2f} in domain. These are the errors that the search saw, and so too good."
        )
    return sentences
