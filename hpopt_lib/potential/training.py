"""Train a potential on energies, and forces if asked, validating every epoch and keeping the best epoch."""

from __future__ import annotations

import copy
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch

from hpopt_lib.errors import HpoptError
from hpopt_lib.metrics import energy_metrics
from hpopt_lib.potential.dataset import Dataset
from hpopt_lib.potential.forces import FORCE_ERROR, ForceTerm
from hpopt_lib.potential.model import Potential, Prepared
from hpopt_lib.potential.settings import TrainSettings
from hpopt_lib.potential.training_parts import atoms_of, make_loss, make_schedule, new_potential, residuals
from hpopt_lib.store import SplitArrays

#: The error that early stopping, pruning and tuning look at, on the validation split.
OBJECTIVE = "energy_mae_mev_per_atom"


class TrainingDivergedError(HpoptError):
    """The loss became infinite or not a number."""


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
    data: Dataset,
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
    data : Dataset
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


class Training:
    """One training, an epoch at a time; it can be stopped between epochs and go on elsewhere.

    Parameters
    ----------
    data : Dataset
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
        data: Dataset,
        settings: TrainSettings,
        *,
        seed: int,
        device: str = "cpu",
        matrix_mb: float | None = None,
    ) -> None:
        self.data, self.settings, self.seed, self.device = data, settings, seed, torch.device(device)
        n_atoms = data.train.n_atoms.astype(np.int64)
        if settings.normalization == "batch" and settings.batch_size == 1 and n_atoms.max() == 1:
            raise HpoptError(
                "normalization: batch needs two atoms, and every batch is a single atom",
                remedy="raise batch_size, or choose another normalization",
            )
        per_atom, spread = residuals(data)
        # the caller's random numbers are left alone; this training has a stream of its own
        with self._own_random_numbers(start=seed):
            self.potential = new_potential(data, settings, spread).to(self.device)
        self._inputs = self.potential.inputs(data.train.features)
        self._validation = self.potential.prepare(data.validation)
        self._targets = torch.from_numpy(per_atom / spread).to(self.device, data.dtype)
        self._counts = torch.from_numpy(n_atoms).to(self.device)
        self._n_atoms, self._offsets = n_atoms, np.concatenate([[0], np.cumsum(n_atoms)])
        self._loss = make_loss(settings)
        self._forces = None
        if settings.force_weight > 0:
            self._forces = ForceTerm(
                self.potential, data.train, data.validation, self._loss, matrix_mb=matrix_mb
            )
        self._optimizer = torch.optim.AdamW(
            self.potential.network.parameters(), lr=settings.lr, weight_decay=settings.weight_decay
        )
        self._schedule = make_schedule(settings, self._optimizer)
        self._rng = np.random.default_rng(seed)
        self.epoch, self.best_epoch, self.best_error = 0, 0, float("inf")
        self.history: list[dict[str, float]] = []
        self.seconds = 0.0
        self._best_weights = copy.deepcopy(self.potential.network.state_dict())

    _torch_state: torch.Tensor
    _cuda_state: torch.Tensor

    @contextmanager
    def _own_random_numbers(self, *, start: int | None = None) -> Iterator[None]:
        devices = [self.device] if self.device.type == "cuda" else []
        with torch.random.fork_rng(devices=devices):
            if start is not None:
                torch.manual_seed(start)
            else:
                torch.set_rng_state(self._torch_state)
                for device in devices:
                    torch.cuda.set_rng_state(self._cuda_state, device)
            yield
            self._torch_state = torch.get_rng_state()
            for device in devices:
                self._cuda_state = torch.cuda.get_rng_state(device)

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
        """Train for one epoch and validate; returns its history record.

        Raises
        ------
        TrainingDivergedError
            When the loss is no longer finite.
        """
        start = time.perf_counter()
        with self._own_random_numbers():
            lr, loss = float(self._schedule.get_last_lr()[0]), self._train_epoch()
        self._schedule.step()
        self.epoch += 1
        found = self.validate()
        error = found[f"validation_{OBJECTIVE}"]
        if not np.isfinite(loss) or not np.isfinite(error):
            raise TrainingDivergedError(
                f"training: the loss is not finite in epoch {self.epoch}, lr {self.settings.lr:g}",
                remedy="lower lr or choose a normalization",
            )
        record = {
            "epoch": float(self.epoch),
            "lr": lr,
            "train_loss": loss,
            **found,
        }
        if self._forces is not None:
            record[f"validation_{FORCE_ERROR}"] = self._forces.validation_error()
        self.history.append(record)
        if error < self.best_error:
            self.best_epoch, self.best_error = self.epoch, error
            self._best_weights = copy.deepcopy(self.potential.network.state_dict())
        self.seconds += time.perf_counter() - start
        return record

    def validate(self) -> dict[str, float]:
        """``validation_`` + the objective's name: the error on the validation split now, in meV/atom."""
        error = split_error(self.potential, self._validation, self.data.validation)
        return {f"validation_{OBJECTIVE}": error}

    def _train_epoch(self) -> float:
        network, total = self.potential.network.train(), 0.0
        order = self._rng.permutation(len(self._n_atoms))
        for batch in np.array_split(order, -(-len(order) // self.settings.batch_size)):
            if self.settings.normalization == "batch" and self._n_atoms[batch].sum() < 2:
                continue  # batch statistics of a single atom are not defined
            atoms, frame = atoms_of(batch, self._offsets, self._n_atoms)
            atoms, frame = atoms.to(self.device), frame.to(self.device)
            frames = torch.from_numpy(batch).to(self.device)
            inputs, force_loss = self._inputs[atoms], None
            if self._forces is None:
                outputs = network(inputs, frame, len(batch))
            else:
                outputs, force_loss = self._forces(inputs, frame, batch, atoms)
            loss = self._loss(outputs / self._counts[frames], self._targets[frames])
            if force_loss is not None:
                loss = loss + force_loss
            self._optimizer.zero_grad()
            loss.backward()
            self._optimizer.step()
            total += float(loss.detach()) * len(batch)
        return total / len(order)

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
        optimizer = self._optimizer.state_dict()
        state: dict[str, Any] = {
            "epoch": self.epoch,
            "best_epoch": self.best_epoch,
            "best_error": self.best_error,
            "seconds": self.seconds,
            "history": self.history,
            "settings": self.settings.to_dict(),
            "seed": self.seed,
            "numpy_random": self._rng.bit_generator.state,
            "schedule": self._schedule.state_dict(),
            "groups": [{k: v for k, v in g.items() if k != "params"} for g in optimizer["param_groups"]],
            "torch_random": self._torch_state,
            "weights": {k: v.cpu() for k, v in self.potential.network.state_dict().items()},
            "best_weights": {k: v.cpu() for k, v in self._best_weights.items()},
            "moments": {
                f"{index}/{k}": v.cpu()
                for index, moments in optimizer["state"].items()
                for k, v in moments.items()
            },
        }
        if self.device.type == "cuda":
            state["cuda_random"] = self._cuda_state
        return state

    def restore(self, state: dict[str, Any]) -> None:
        """Take up the `state` of a training with the same data, settings and seed.

        Raises
        ------
        HpoptError
            When the state is of another training.
        """
        # by value: a checkpoint of an earlier version does not name what came later
        if TrainSettings.from_dict(state["settings"]) != self.settings or state["seed"] != self.seed:
            raise HpoptError("checkpoint: of a training with other settings", remedy="remove it")
        self.epoch, self.best_epoch = int(state["epoch"]), int(state["best_epoch"])
        self.best_error, self.seconds = float(state["best_error"]), float(state["seconds"])
        self.history = list(state["history"])
        self._rng.bit_generator.state = state["numpy_random"]
        self._torch_state = state["torch_random"]
        if self.device.type == "cuda" and "cuda_random" in state:
            self._cuda_state = state["cuda_random"]
        self.potential.network.load_state_dict(state["weights"])
        self._best_weights = {k: v.to(self.device) for k, v in state["best_weights"].items()}
        optimizer = self._optimizer.state_dict()
        moments: dict[int, dict[str, torch.Tensor]] = {}
        for name, value in state["moments"].items():
            index, key = name.split("/")
            moments.setdefault(int(index), {})[key] = value
        groups = [
            {**saved, "params": own["params"]}
            for saved, own in zip(state["groups"], optimizer["param_groups"])
        ]
        self._optimizer.load_state_dict({"state": moments, "param_groups": groups})
        self._schedule.load_state_dict({**self._schedule.state_dict(), **state["schedule"]})


def split_error(potential: Potential, prepared: Prepared, arrays: SplitArrays) -> float:
    """Energy MAE on a split that was prepared for the potential, in meV/atom; NaN when not finite."""
    predicted = potential.predict(prepared)
    if not np.isfinite(predicted).all():
        return float("nan")
    return energy_metrics(arrays.energy, predicted, arrays.n_atoms)[OBJECTIVE]
