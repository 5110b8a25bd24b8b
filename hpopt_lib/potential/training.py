"""Train a potential on energies, and forces if asked, validating every epoch and keeping the best epoch."""

from __future__ import annotations

import copy
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch

from hpopt_lib.errors import HpoptError
from hpopt_lib.potential.batches import OBJECTIVE, Batch
from hpopt_lib.potential.dataset import Dataset
from hpopt_lib.potential.epochs import EpochLoop
from hpopt_lib.potential.forces import FORCE_ERROR, ForceTerm
from hpopt_lib.potential.memory_bound import refuse_forces
from hpopt_lib.potential.model import Potential
from hpopt_lib.potential.random_numbers import RandomStream
from hpopt_lib.potential.settings import TrainSettings
from hpopt_lib.potential.streaming import StreamingDataset
from hpopt_lib.potential.training_parts import (
    make_loss,
    make_schedule,
    new_potential,
    optimizer_state,
    restore_optimizer,
)


@dataclass
class TrainResult:
    """Outcome of one training.

    Attributes
    ----------
    potential : Potential
        With the weights of the best epoch.
    best_epoch : int
        Counted from 1.
    best_error : float
        Validation energy MAE of that epoch in meV/atom.
    history : list of dict
        For every epoch: ``epoch``, ``lr``, ``train_loss`` (in the loss's own unit, dropout
        and normalisation as in training) and ``validation_`` + the objective's name; with a force
        weight also ``validation_force_mae_mev_per_angstrom``.
    seconds : float
        Wall time.
    """

    potential: Potential
    best_epoch: int
    best_error: float
    history: list[dict[str, float]] = field(default_factory=list)
    seconds: float = 0.0


def train(
    data: Dataset | StreamingDataset,
    settings: TrainSettings,
    *,
    seed: int,
    on_epoch: Callable[[int, dict[str, float]], None] | None = None,
    device: str = "cpu",
    training: Callable[..., Any] | None = None,
    matrix_mb: float | None = None,
) -> TrainResult:
    """Train one potential.

    Parameters
    ----------
    data : Dataset or StreamingDataset
    settings : TrainSettings
    seed : int
        Of the initial weights, the order of the batches and dropout. The same seed, data,
        settings and machine give the same weights.
    on_epoch : callable, optional
        Called after every epoch with its number (from 1) and its history record; an
        exception from it ends the training, which is how a trial is pruned.
    device : str
        Where PyTorch computes, such as ``cpu`` or ``cuda``.
    training : callable, optional
        What to train with instead of :class:`Training`, see `hpopt_lib.tuning.backends.TrainingBackend`.
    matrix_mb : float, optional
        Memory in MB that the derivatives of one split's features may take, see
        `hpopt_lib.potential.derivatives`; used with a force weight only.

    Returns
    -------
    TrainResult

    Raises
    ------
    TrainingDivergedError
        When the loss is no longer finite.
    """
    own = {"matrix_mb": matrix_mb} if training is None else {}
    run = (training or Training)(data, settings, seed=seed, device=device, **own)
    for record in run:
        if on_epoch is not None:
            on_epoch(run.epoch, record)
    return run.result()


class Training(EpochLoop):
    """One training, an epoch at a time; it can be stopped between epochs and go on elsewhere.

    Parameters
    ----------
    data : Dataset or StreamingDataset
    settings : TrainSettings
    seed : int
    device : str
    matrix_mb : float, optional
        See `train`.

    Attributes
    ----------
    epoch : int
        Epochs done.
    history : list of dict
        One record for each of them, see `TrainResult`.

    Examples
    --------
    >>> training = Training(data, settings, seed=0)  # doctest: +SKIP
    >>> for record in training:  # doctest: +SKIP
    ...     print(training.epoch, record["validation_energy_mae_mev_per_atom"])
    """

    def __init__(
        self,
        data: Dataset | StreamingDataset,
        settings: TrainSettings,
        *,
        seed: int,
        device: str = "cpu",
        matrix_mb: float | None = None,
    ) -> None:
        super().__init__(settings, seed)
        self.data, self.device = data, torch.device(device)
        if settings.normalization == "batch" and settings.batch_size == 1 and data.largest_frame == 1:
            raise HpoptError(
                "normalization: batch needs two atoms, and every batch is a single atom",
                remedy="raise batch_size, or choose another normalization",
            )
        # the caller's random numbers are left alone; this training has a stream of its own
        self._random = RandomStream(seed, self.device)
        with self._random.drawn():
            self.potential = self._new_potential(data.residual_spread_ev_per_atom()).to(self.device)
        self._batches = data.batches(self.potential)
        self._loss = make_loss(settings)
        self._forces = self._force_term(matrix_mb) if settings.force_weight > 0 else None
        self._optimizer = torch.optim.AdamW(
            self.potential.network.parameters(), lr=settings.lr, weight_decay=settings.weight_decay
        )
        self._schedule = make_schedule(settings, self._optimizer)
        self._rng = np.random.default_rng(seed)
        self._best_weights = self.weights()

    def _new_potential(self, spread_ev_per_atom: float) -> Potential:
        return new_potential(self.data, self.settings, spread_ev_per_atom)

    def _force_term(self, matrix_mb: float | None) -> ForceTerm:
        data = self.data
        if isinstance(data, StreamingDataset):
            refuse_forces()
        return ForceTerm(self.potential, data.train, data.validation, self._loss, matrix_mb=matrix_mb)

    def weights(self) -> dict[str, torch.Tensor]:
        """A copy of the weights as they are now."""
        return copy.deepcopy(self.potential.network.state_dict())

    def step(self) -> dict[str, float]:
        """Train for one epoch and validate; returns its history record.

        Raises
        ------
        TrainingDivergedError
            When the loss is no longer finite.
        """
        start = time.perf_counter()
        with self._random.drawn():
            lr, loss = float(self._schedule.get_last_lr()[0]), self._train_epoch()
        self._schedule.step()
        record = self.note(lr, loss, self.validate(), remedy="lower lr or choose a normalization")
        if self._forces is not None:
            record[f"validation_{FORCE_ERROR}"] = self._forces.validation_error()
        self.seconds += time.perf_counter() - start
        return record

    def validate(self) -> dict[str, float]:
        """``validation_`` + the objective's name: the error on the validation split now, in meV/atom."""
        return {f"validation_{OBJECTIVE}": self._batches.validation_error()}

    def _train_epoch(self) -> float:
        self.potential.network.train()
        total = 0.0
        for batch in self._batches.epoch(self._rng, self.settings.batch_size):
            if self.settings.normalization == "batch" and len(batch.inputs) < 2:
                continue  # batch statistics of a single atom are not defined
            outputs, force_loss = self._outputs(batch)
            loss = self._loss(outputs / batch.n_atoms, batch.targets)
            if force_loss is not None:
                loss = loss + force_loss
            self._optimizer.zero_grad()
            loss.backward()
            self._optimizer.step()
            total += float(loss.detach()) * len(batch)
        return total / self._batches.n_frames

    def _outputs(self, batch: Batch) -> tuple[torch.Tensor, torch.Tensor | None]:
        """The network's outputs for a batch, and the weighted loss of its forces when they are trained on."""
        if self._forces is None:
            return self.potential.network(batch.inputs, batch.frame_of_atom, len(batch)), None
        return self._forces(batch.inputs, batch.frame_of_atom, batch.frames, batch.atoms)

    def result(self) -> TrainResult:
        """The outcome, with the weights of the best epoch, on the processor."""
        network = self.potential.network
        network.load_state_dict(self._best_weights)
        network.eval()
        return TrainResult(
            self.potential.to("cpu"), self.best_epoch, self.best_error, self.history, self.seconds
        )

    def state(self) -> dict[str, Any]:
        """Everything that the next epoch depends on: plain numbers, texts and tensors.

        A training with the same data, settings and seed that is given this by `restore` goes on
        as if it had never been stopped, to the last bit on the same kind of machine.
        """
        return {
            **self.account(),
            "numpy_random": self._rng.bit_generator.state,
            "schedule": self._schedule.state_dict(),
            "weights": {k: v.cpu() for k, v in self.potential.network.state_dict().items()},
            "best_weights": {k: v.cpu() for k, v in self._best_weights.items()},
            **optimizer_state(self._optimizer),
            **self._random.state(),
        }

    def restore(self, state: dict[str, Any]) -> None:
        """Take up the `state` of a training with the same data, settings and seed.

        Raises
        ------
        HpoptError
            When the state is of another training.
        """
        self.take_account(state)
        self._rng.bit_generator.state = state["numpy_random"]
        self._random.restore(state)
        self.potential.network.load_state_dict(state["weights"])
        self._best_weights = {k: v.to(self.device) for k, v in state["best_weights"].items()}
        restore_optimizer(self._optimizer, state)
        self._schedule.load_state_dict({**self._schedule.state_dict(), **state["schedule"]})
