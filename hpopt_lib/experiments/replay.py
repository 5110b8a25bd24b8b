"""Replay recorded trainings through pruners: which trial would have been stopped in which epoch."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import numpy as np

from hpopt_lib.experiments.trial_table import TrialTable
from hpopt_lib.tuning.samplers import make_pruner


@dataclass(frozen=True)
class Order:
    """Trials of a study in the order in which they ran.

    Attributes
    ----------
    name : str
        Hyperband deals trials to its brackets by the study's name.
    points : numpy.ndarray of int, shape (n_trials,)
        In the table, all different.
    seeds : numpy.ndarray of int, shape (n_trials, n_seeds)
        Places of the table's seeds, shuffled for each trial; a trial of one training has the first.
    """

    name: str
    points: np.ndarray
    seeds: np.ndarray

    def curves(self, table: TrialTable) -> np.ndarray:
        """Validation error after each epoch of the first training, shape (n_trials, n_epochs)."""
        return np.asarray(table.curves[self.points, self.seeds[:, 0]], dtype=float)

    def repeats(self, table: TrialTable) -> np.ndarray:
        """Best validation error of each training of each trial, shape (n_trials, n_seeds)."""
        return np.asarray(table.errors[table.validation][self.points[:, None], self.seeds], dtype=float)


def draw_orders(table: TrialTable, n_orders: int, n_trials: int, *, seed: int) -> list[Order]:
    """Random draws of points without replacement, in random order.

    Raises
    ------
    ValueError
        When the table has fewer points.
    """
    if not 0 < n_trials <= len(table):
        raise ValueError(f"{n_trials} trials cannot be drawn from {len(table)} points")
    orders = []
    for k in range(n_orders):
        rng = np.random.default_rng([seed, k])
        points = rng.permutation(len(table))[:n_trials]
        seeds = np.array([rng.permutation(len(table.seeds)) for _ in points])
        orders.append(Order(f"order-{seed}-{k}", points, seeds))
    return orders


def stop_epochs(curves: np.ndarray, pruner: str, warmup_epochs: int, *, name: str = "order") -> np.ndarray:
    """Epochs that each trial would have been given.

    As in `hpopt_lib.tuning.objective`: the validation error is reported after every epoch, a trial is
    not stopped after its last one, and its value is the best epoch's error.

    Parameters
    ----------
    curves : numpy.ndarray, shape (n_trials, n_epochs)
        In meV/atom; NaN from the epoch on in which a training diverged, which fails the trial.
    pruner : str
        See `hpopt_lib.tuning.samplers.make_pruner`.
    warmup_epochs : int
    name : str
        Of the study.

    Returns
    -------
    numpy.ndarray of int, shape (n_trials,)
    """
    import optuna
    from optuna.trial import TrialState

    n_epochs = curves.shape[1]
    stops = np.full(len(curves), n_epochs)
    with quiet_optuna():
        study = optuna.create_study(
            study_name=name,
            sampler=optuna.samplers.RandomSampler(seed=0),
            pruner=make_pruner(pruner, epochs=n_epochs, warmup_epochs=warmup_epochs),
        )
        for place, curve in enumerate(curves):
            trial = study.ask()
            for epoch, value in enumerate(curve.tolist(), start=1):
                if np.isnan(value):
                    study.tell(trial, state=TrialState.FAIL)
                    stops[place] = epoch
                    break
                trial.report(value, epoch)
                if epoch < n_epochs and trial.should_prune():
                    study.tell(trial, state=TrialState.PRUNED)
                    stops[place] = epoch
                    break
            else:
                study.tell(trial, float(curve.min()))
    return stops


def trainings_used(repeats: np.ndarray) -> np.ndarray:
    """Trainings of each trial that the Wilcoxon pruner would have run.

    Parameters
    ----------
    repeats : numpy.ndarray, shape (n_trials, n_repeats)
        Error of each training in meV/atom.

    Returns
    -------
    numpy.ndarray of int, shape (n_trials,)
        A trial that is stopped counts with the mean of its trainings so far.
    """
    import optuna

    n_repeats = repeats.shape[1]
    used = np.full(len(repeats), n_repeats)
    with quiet_optuna():
        study = optuna.create_study(
            sampler=optuna.samplers.RandomSampler(seed=0),
            pruner=make_pruner("wilcoxon", epochs=1, repeats=n_repeats),
        )
        for place, errors in enumerate(repeats.tolist()):
            trial = study.ask()
            for repeat, error in enumerate(errors):
                trial.report(error, repeat)
                if repeat + 1 < n_repeats and trial.should_prune():
                    used[place] = repeat + 1
                    break
            study.tell(trial, float(np.mean(errors[: used[place]])))
    return used


@contextmanager
def quiet_optuna() -> Iterator[None]:
    """Without Optuna's line for every trial: hundreds of studies are replayed."""
    import optuna

    before = optuna.logging.get_verbosity()
    optuna.logging.set_verbosity(optuna.logging.ERROR)
    try:
        yield
    finally:
        optuna.logging.set_verbosity(before)
