"""What every training keeps account of: epochs, errors, the best epoch, and when it is over."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np

from hpopt_lib.errors import HpoptError
from hpopt_lib.potential.batches import OBJECTIVE
from hpopt_lib.potential.settings import TrainSettings


class TrainingDivergedError(HpoptError):
    """The loss became infinite or not a number."""


class EpochLoop:
    """Steps through the epochs of a training until all are done or patience ran out.

    A training has `step`, which trains for one epoch and calls `note`.

    Parameters
    ----------
    settings : TrainSettings
    seed : int

    Attributes
    ----------
    epoch, best_epoch : int
        Finished epochs; the one with the smallest validation error.
    best_error : float
        That error in meV/atom.
    history : list of dict of str to float
        A record for every epoch.
    seconds : float
        Time spent in epochs.
    """

    def __init__(self, settings: TrainSettings, seed: int) -> None:
        self.settings, self.seed = settings, seed
        self.epoch, self.best_epoch, self.best_error = 0, 0, float("inf")
        self.history: list[dict[str, float]] = []
        self.seconds = 0.0

    @property
    def finished(self) -> bool:
        """Whether all epochs are done, or patience ran out."""
        patience = self.settings.patience
        return self.epoch >= self.settings.epochs or bool(
            patience and self.epoch and self.epoch - self.best_epoch >= patience
        )

    def __iter__(self) -> Iterator[dict[str, float]]:
        while not self.finished:
            yield self.step()

    def step(self) -> dict[str, float]:
        """Train for one epoch and validate; returns its history record."""
        raise NotImplementedError

    def weights(self) -> dict[str, Any]:
        """A copy of the weights as they are now."""
        raise NotImplementedError

    def note(self, lr: float, loss: float, found: dict[str, float], *, remedy: str) -> dict[str, float]:
        """Close an epoch: its record goes into the history, and the best weights are kept.

        Parameters
        ----------
        lr, loss : float
        found : dict of str to float
            What the validation gave, ``validation_`` and the objective among it.
        remedy : str
            What to do when an error is not finite.

        Raises
        ------
        TrainingDivergedError
            When the loss or the error is no longer finite.
        """
        self.epoch += 1
        error = found[f"validation_{OBJECTIVE}"]
        if not np.isfinite(loss) or not np.isfinite(error):
            raise TrainingDivergedError(
                f"training: the loss is not finite in epoch {self.epoch}, lr {self.settings.lr:g}",
                remedy=remedy,
            )
        record = {"epoch": float(self.epoch), "lr": lr, "train_loss": loss, **found}
        self.history.append(record)
        if error < self.best_error:
            self.best_epoch, self.best_error = self.epoch, error
            self._best_weights = self.weights()
        return record

    def account(self) -> dict[str, Any]:
        """The part of a checkpoint that all trainings have: numbers, records, settings and seed."""
        return {
            "epoch": self.epoch,
            "best_epoch": self.best_epoch,
            "best_error": self.best_error,
            "seconds": self.seconds,
            "history": self.history,
            "settings": self.settings.to_dict(),
            "seed": self.seed,
        }

    def take_account(self, state: dict[str, Any]) -> None:
        """Take up the `account` of a training with the same settings and seed.

        Raises
        ------
        HpoptError
            When it is of another training.
        """
        # by value: a checkpoint of an earlier version does not name what came later
        if TrainSettings.from_dict(state["settings"]) != self.settings or state["seed"] != self.seed:
            raise other_training()
        self.epoch, self.best_epoch = int(state["epoch"]), int(state["best_epoch"])
        self.best_error, self.seconds = float(state["best_error"]), float(state["seconds"])
        self.history = list(state["history"])


def other_training() -> HpoptError:
    """What is raised for a checkpoint of another training."""
    return HpoptError("checkpoint: of a training with other settings", remedy="remove it")
