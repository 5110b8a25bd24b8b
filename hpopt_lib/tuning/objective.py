"""What a trial does: draw hyperparameters, train, report the validation error, be pruned or stopped."""

from __future__ import annotations

import hashlib
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from hpopt_lib.errors import HpoptError
from hpopt_lib.metrics import skill
from hpopt_lib.potential.checkpoint import load_checkpoint, save_checkpoint
from hpopt_lib.potential.dataset import Dataset
from hpopt_lib.potential.domains import domain_errors
from hpopt_lib.potential.forces import FORCE_ERROR
from hpopt_lib.potential.model import Potential
from hpopt_lib.potential.settings import TrainSettings
from hpopt_lib.potential.streaming import StreamingDataset
from hpopt_lib.potential.training import OBJECTIVE, Training, TrainResult
from hpopt_lib.progress import say
from hpopt_lib.tuning.attributes import describe, should_prune
from hpopt_lib.tuning.interrupts import Interrupts, TrialStopped
from hpopt_lib.tuning.janitor import root_number
from hpopt_lib.tuning.racing import finished_repeats, standing

if TYPE_CHECKING:
    import optuna

    from hpopt_lib.tuning.space import SearchSpace

#: Name and unit of the number that studies minimise.
METRIC = f"validation_{OBJECTIVE}"
#: Seconds between two checkpoints of a running trial, so that a killed worker costs little.
CHECKPOINT_EVERY_S = 60.0


@dataclass
class Objective:
    """An Optuna objective: the best validation error of a training in meV/atom.

    Every epoch reports the **validation** error, so pruning never sees the training error.
    With several repeats the value is their mean; the Wilcoxon pruner then gets one report
    for each repeat (its steps are repeats), every other pruner one for each epoch of the
    first repeat. With `race` a trial whose mean can no longer become the best has no further
    repeats and is pruned; the reason and its mean so far stay with it.

    Attributes
    ----------
    data : Dataset or StreamingDataset
    space : SearchSpace
    seed : int
        Of the study; the seed of a training depends on it, the number of the trial's first
        attempt and the repeat.
    repeats : int
    report_repeats : bool
        Whether the pruner compares repeats instead of epochs.
    race : float or None
        Confidence of `hpopt_lib.tuning.racing.standing`; every trial has all repeats when None.
    stops : Interrupts
        Tells after every epoch whether to stop, and holds signals back during a report.
    checkpoint : callable, optional
        Gives the path of a trial's checkpoint by the number of its first attempt.
    device : str
        Where PyTorch computes.
    training : callable, optional
        See `hpopt_lib.tuning.backends.TrainingBackend`.
    values : callable, optional
        Gives the values of several objectives from the result of a training; without it the value is the
        best validation error. Nothing is reported and nothing pruned then, as Optuna asks.
    on_result : callable, optional
        Called with the trial and the history of its last training before its result is told.
    """

    data: Dataset | StreamingDataset
    space: SearchSpace
    seed: int
    repeats: int = 1
    report_repeats: bool = False
    race: float | None = None
    stops: Interrupts = field(default_factory=Interrupts)
    checkpoint: Callable[[int], Path] | None = None
    device: str = "cpu"
    training: Callable[..., Any] | None = None
    values: Callable[[TrainResult], list[float]] | None = None
    on_result: Callable[[Any, list[dict[str, float]]], None] | None = None

    def __call__(self, trial: optuna.Trial) -> float | list[float]:
        """Train and return the objective.

        Raises
        ------
        optuna.TrialPruned
            When the pruner or the race stops the trial.
        TrialStopped
            When a signal or the time limit stops it; the checkpoint is stored.
        TrainingDivergedError
            When the loss is no longer finite.
        """
        return _Attempt(self, trial).run()


class _Attempt:
    """One go at a trial: from its start, or from the checkpoint of an earlier attempt."""

    def __init__(self, objective: Objective, trial: optuna.Trial) -> None:
        self.of, self.trial, self.stops = objective, trial, objective.stops
        self.settings = TrainSettings.from_dict(objective.space.suggest(trial))
        trial.set_user_attr("settings", self.settings.to_dict())
        frozen = trial._cached_frozen_trial  # read when the trial started
        self.root, self.reported = root_number(frozen), set(frozen.intermediate_values)
        self.path = objective.checkpoint(self.root) if objective.checkpoint else None
        self.errors: list[Any] = []  # of the repeats; lists when there are several objectives
        self.history: list[dict[str, float]] = []
        self.epochs = 0
        self.last_save = time.monotonic()

    def run(self) -> float | list[float]:
        """Train all repeats; see `Objective.__call__`."""
        state = self._load()
        if state is not None:
            self.errors, self.epochs = list(state["errors"]), int(state["epochs"])
        for repeat in range(len(self.errors), self.of.repeats):
            self._race()  # also when a trial goes on: the others have not stood still
            result = self._train(repeat, state)
            state, self.history = None, result.history
            self.errors.append(self.of.values(result) if self.of.values else result.best_error)
            if self.of.report_repeats:
                if repeat not in self.reported:
                    self.trial.report(result.best_error, step=repeat)
                if repeat + 1 < self.of.repeats and self.trial.should_prune():
                    break  # the Wilcoxon pruner asks for the mean so far
        self._describe(result)
        value: float | list[float] = np.mean(self.errors, axis=0).tolist()
        return value

    def _race(self) -> None:
        import optuna

        if self.of.race is None or not self.errors:
            return
        repeats = self.of.repeats
        others = finished_repeats(self.trial.study, repeats)
        now = standing(self.errors, others, repeats=repeats, confidence=self.of.race)
        if now is None or not now.cannot_win:
            return
        known = {"epochs": self.epochs, "repeat_errors": self.errors, "mean_so_far": now.mean}
        describe(self.trial, {**known, "stopped": str(now)})
        self._show(self.history)
        raise optuna.TrialPruned(str(now))

    def _train(self, repeat: int, state: dict[str, Any] | None) -> TrainResult:
        import optuna

        seed = training_seed(self.of.seed, self.root, repeat)
        make = self.of.training or Training
        training = make(self.of.data, self.settings, seed=seed, device=self.of.device)
        if state is not None:
            training.restore(state)
            for record in training.history:
                self._report(repeat, int(record["epoch"]), record, may_prune=False)
        while not training.finished:
            start = time.monotonic()
            with self.stops.allowed():
                record = training.step()
            self.epochs += 1
            may_prune = training.epoch < self.settings.epochs
            try:
                self._report(repeat, training.epoch, record, may_prune=may_prune)
            except optuna.TrialPruned:
                self._show(training.history)
                raise
            self._stop_or_save(repeat, training, time.monotonic() - start)
        return training.result()

    def _report(self, repeat: int, epoch: int, record: dict[str, float], *, may_prune: bool) -> None:
        import optuna

        if repeat > 0 or self.of.report_repeats or self.of.values is not None:
            return
        if epoch not in self.reported:
            self.trial.report(record[METRIC], step=epoch)
        # a trial that has paid for its last epoch has a result: keep it
        if may_prune and should_prune(self.trial):
            self.trial.set_user_attr("epochs", self.epochs)
            raise optuna.TrialPruned(f"pruned in epoch {epoch}")

    def _stop_or_save(self, repeat: int, training: Training, epoch_s: float) -> None:
        reason = "" if training.finished else self.stops.should_stop(epoch_s)
        if self.path is None:
            if reason:
                raise TrialStopped(reason)
            return
        if reason or time.monotonic() - self.last_save > CHECKPOINT_EVERY_S:
            last = repeat - 1 if self.of.report_repeats else training.epoch if repeat == 0 else 10**9
            state = {
                **training.state(),
                "errors": self.errors,
                "epochs": self.epochs,
                "reported_epoch": last,
            }
            save_checkpoint(self.path, state)
            self.last_save = time.monotonic()
        if reason:
            raise TrialStopped(f"{reason} after epoch {training.epoch}")

    def _load(self) -> dict[str, Any] | None:
        if self.path is None:
            return None
        try:
            state = load_checkpoint(self.path)
        except HpoptError as error:
            say(f"{error.problem}: trial {self.trial.number} starts again")
            return None
        if state is None or TrainSettings.from_dict(state["settings"]) != self.settings:
            return None
        say(f"trial {self.trial.number}: goes on after epoch {state['epoch']} of trial {self.root}")
        return state

    def _describe(self, result: TrainResult) -> None:
        scores = validation_scores(result.potential, self.of.data)
        values = {
            "epochs": self.epochs,
            "best_epoch": result.best_epoch,
            "repeat_errors": self.errors,
            "learning_curve": [record["train_loss"] for record in result.history],
            # for reading; the objective has all digits
            **{name: round(value, 5) for name, value in scores.items()},
        }
        if errors := domain_errors(result.history, result.best_epoch):
            values["domain_errors"] = {name: round(error, 5) for name, error in errors.items()}
        describe(self.trial, values)
        self._show(result.history)

    def _show(self, history: list[dict[str, float]]) -> None:
        if self.of.on_result is None:
            return
        try:
            self.of.on_result(self.trial, history)
        except Exception as error:  # a figure is not worth a trial
            say(f"trial {self.trial.number}: its learning curve could not be stored: {error}")


def validation_scores(potential: Potential, data: Dataset | StreamingDataset) -> dict[str, float]:
    """Errors of a potential on the validation split in two units, and its skill over both baselines.

    Returns
    -------
    dict of str to float
        ``energy_mae_mev_per_atom``, ``energy_mae_ev``, ``skill_over_median``, ``skill_over_linear``; a skill
        is missing where the baseline has no error. After a training on forces also
        ``force_mae_mev_per_angstrom``.
    """
    errors = data.validation_errors(potential)
    scores = {name: errors[name] for name in (OBJECTIVE, "energy_mae_ev", FORCE_ERROR) if name in errors}
    for name in ("median", "linear"):
        if (error := errors[f"{name}_{OBJECTIVE}"]) > 0:
            scores[f"skill_over_{name}"] = skill(errors[OBJECTIVE], error)
    return scores


def training_seed(study_seed: int, trial_number: int, repeat: int) -> int:
    """Seed of one training: the same for the same study seed, first attempt and repeat."""
    text = f"{study_seed}/{trial_number}/{repeat}".encode()
    return int.from_bytes(hashlib.sha256(text).digest()[:4], "little")
