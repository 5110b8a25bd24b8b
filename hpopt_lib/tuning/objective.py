"""What a trial does: draw hyperparameters, train, report the validation error, be pruned."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import numpy as np

from hpopt_lib.potential.settings import TrainSettings
from hpopt_lib.potential.training import OBJECTIVE, Dataset, TrainingDivergedError, train
from hpopt_lib.tuning.interrupts import Interrupts

if TYPE_CHECKING:
    import optuna

    from hpopt_lib.tuning.space import SearchSpace

#: Name and unit of the number that studies minimise.
METRIC = f"validation_{OBJECTIVE}"


@dataclass
class Objective:
    """An Optuna objective: the best validation error of a training in meV/atom.

    Every epoch reports the **validation** error, so pruning never sees the training error.
    With several repeats the value is their mean; the Wilcoxon pruner then gets one report
    for each repeat (its steps are repeats), every other pruner one for each epoch of the
    first repeat.

    Attributes
    ----------
    data : Dataset
    space : SearchSpace
    seed : int
        Of the study; the seed of a training depends on it, the trial's number and the repeat.
    repeats : int
    report_repeats : bool
        Whether the pruner compares repeats instead of epochs.
    stops : Interrupts
        Lets an interrupt end the training, but not a report on its way to the storage.
    """

    data: Dataset
    space: SearchSpace
    seed: int
    repeats: int = 1
    report_repeats: bool = False
    stops: Interrupts = field(default_factory=Interrupts)

    def __call__(self, trial: optuna.Trial) -> float:
        """Train and return the objective.

        Raises
        ------
        optuna.TrialPruned
            When the pruner stops the trial.
        TrainingDivergedError
            When the loss is no longer finite; the reason is kept as the trial's ``failure``.
        """
        import optuna

        settings = TrainSettings.from_dict(self.space.suggest(trial))
        trial.set_user_attr("settings", settings.to_dict())
        errors, epochs = [], 0

        for repeat in range(self.repeats):

            def on_epoch(epoch: int, record: dict[str, float], repeat: int = repeat) -> None:
                nonlocal epochs
                epochs += 1
                if repeat == 0 and not self.report_repeats:
                    with self.stops.held():
                        trial.report(record[METRIC], step=epoch)
                        # a trial that has paid for its last epoch has a result: keep it
                        if epoch < settings.epochs and trial.should_prune():
                            trial.set_user_attr("epochs", epochs)
                            raise optuna.TrialPruned(f"pruned in epoch {epoch}")

            try:
                with self.stops.allowed():
                    result = train(
                        self.data,
                        settings,
                        seed=training_seed(self.seed, trial.number, repeat),
                        on_epoch=on_epoch,
                    )
            except TrainingDivergedError as error:
                trial.set_user_attr("failure", error.problem)
                raise
            except KeyboardInterrupt:
                trial.set_user_attr("failure", "interrupted")
                raise
            errors.append(result.best_error)
            if self.report_repeats:
                trial.report(result.best_error, step=repeat)
                if repeat + 1 < self.repeats and trial.should_prune():
                    trial.set_user_attr("epochs", epochs)
                    return float(np.mean(errors))  # the Wilcoxon pruner asks for the mean so far
        trial.set_user_attr("epochs", epochs)
        trial.set_user_attr("best_epoch", result.best_epoch)
        trial.set_user_attr("repeat_errors", errors)
        trial.set_user_attr("learning_curve", [record["train_loss"] for record in result.history])
        return float(np.mean(errors))


def training_seed(study_seed: int, trial_number: int, repeat: int) -> int:
    """Seed of one training: the same for the same study seed, trial and repeat."""
    text = f"{study_seed}/{trial_number}/{repeat}".encode()
    return int.from_bytes(hashlib.sha256(text).digest()[:4], "little")
