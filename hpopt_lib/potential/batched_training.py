"""Many small networks trained at once, their weights stacked: one call of the library serves them all."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch

from hpopt_lib.errors import HpoptError
from hpopt_lib.metrics import energy_metrics
from hpopt_lib.potential.batches import OBJECTIVE, atoms_of
from hpopt_lib.potential.dataset import Dataset
from hpopt_lib.potential.epochs import TrainingDivergedError
from hpopt_lib.potential.model import Potential
from hpopt_lib.potential.settings import TrainSettings
from hpopt_lib.potential.stacked import StackedAdamW, StackedNetwork
from hpopt_lib.potential.training import TrainResult
from hpopt_lib.potential.training_parts import make_loss, make_schedule, new_potential

#: What may differ between networks that are trained together.
OWN = ("lr", "weight_decay", "schedule", "step_size", "gamma", "epochs", "patience")
#: Numbers of a layer's output that a validation holds at once, over all networks.
VALIDATION_NUMBERS = 1 << 24


@dataclass
class Member:
    """A training among others.

    Attributes
    ----------
    settings : TrainSettings
    seed : int
    """

    settings: TrainSettings
    seed: int


def why_not(settings: TrainSettings) -> str:
    """Why a training cannot be one of many at once; empty when it can.

    Dropout draws from a stream of random numbers of its own in each training, and batch
    normalisation takes its statistics over the atoms of one network. Forces need the gradient of each
    network, which the stack does not give.
    """
    if settings.dropout_rate > 0:
        return "dropout_rate is not zero"
    if settings.normalization == "batch":
        return "normalization is batch"
    if settings.force_weight > 0:
        return "force_weight is not zero"
    return ""


def groups(members: Sequence[Member]) -> list[list[int]]:
    """Positions of the members that can be trained together, each group for itself.

    A member that cannot be one of many (see `why_not`) is a group of its own.
    """
    found: dict[Any, list[int]] = {}
    for index, member in enumerate(members):
        shared = replace(member.settings, **{name: getattr(TrainSettings(), name) for name in OWN})
        found.setdefault(index if why_not(member.settings) else shared, []).append(index)
    return list(found.values())


class BatchedTraining:
    """Trainings on the same data, an epoch of all at a time.

    Each network sees the batches, in the order, that `hpopt_lib.potential.training.Training` would
    show it, and is updated as there: the results are the same up to the rounding of sums that are
    taken in another order.

    Parameters
    ----------
    data : Dataset
    members : sequence of Member
        Of one of the `groups`.
    device : str

    Raises
    ------
    HpoptError
        When the members cannot be trained together.

    Examples
    --------
    >>> batch = BatchedTraining(data, [Member(TrainSettings(), k) for k in range(8)])  # doctest: +SKIP
    >>> while batch.active:  # doctest: +SKIP
    ...     batch.step()
    """

    def __init__(self, data: Dataset, members: Sequence[Member], *, device: str = "cpu") -> None:
        if len(groups(members)) != 1 or why_not(members[0].settings):
            reason = why_not(members[0].settings) if members else "there is none"
            raise HpoptError(
                f"trainings: cannot be done together: {reason or 'their settings differ'}",
                remedy=f"they may differ in {', '.join(OWN)} and their seed; train the others one by one",
            )
        self.data, self.members, self.device = data, list(members), torch.device(device)
        first = members[0].settings
        self._n_atoms = data.train.n_atoms.astype(np.int64)
        per_atom, self._spread = data.residuals_ev_per_atom(), data.residual_spread_ev_per_atom()
        self._potentials = [self._potential(member) for member in members]
        some = self._potentials[0]
        self._inputs, self._validation = some.inputs(data.train.features), some.prepare(data.validation)
        self._targets = torch.from_numpy(per_atom / self._spread).to(self.device, data.dtype)
        self._counts = torch.from_numpy(self._n_atoms).to(self.device)
        self._offsets = np.concatenate([[0], np.cumsum(self._n_atoms)])
        self._loss = make_loss(first, reduction="none")
        self._stack = StackedNetwork([potential.network for potential in self._potentials], first)
        self._optimizer = StackedAdamW(self._stack, [member.settings.weight_decay for member in members])
        self._schedules = [make_schedule(member.settings, _rate(member.settings)) for member in members]
        self._rngs = [np.random.default_rng(member.seed) for member in members]
        n = len(members)
        #: Members that go on, by their place among all; the rows of the stack.
        self.active = list(range(n))
        self.epoch, self.seconds = 0, 0.0
        self.history: list[list[dict[str, float]]] = [[] for _ in range(n)]
        self.failures: dict[int, TrainingDivergedError] = {}
        self.best_epoch, self.best_error = [0] * n, [float("inf")] * n
        self._best = [self._stack.weights(k) for k in range(n)]

    def _potential(self, member: Member) -> Potential:
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(member.seed)
            return new_potential(self.data, member.settings, self._spread).to(self.device)

    def step(self) -> dict[int, dict[str, float]]:
        """Train all active members for one epoch and validate them; their records, by member.

        A member whose loss is no longer finite leaves with an error in `failures`; one that has
        all its epochs, or whose patience ran out, leaves too.
        """
        start = time.perf_counter()
        rates = [float(self._schedules[k].get_last_lr()[0]) for k in self.active]
        losses = self._train_epoch(rates)
        errors = self._validate()
        self.epoch += 1
        records = {}
        for row, k in enumerate(self.active):
            self._schedules[k].optimizer.step()
            self._schedules[k].step()
            loss, error = float(losses[row]), errors[row]
            if not (np.isfinite(loss) and np.isfinite(error)):
                self.failures[k] = TrainingDivergedError(
                    f"training: the loss is not finite in epoch {self.epoch}, "
                    f"lr {self.members[k].settings.lr:g}",
                    remedy="lower lr or choose a normalization",
                )
                continue
            records[k] = {
                "epoch": float(self.epoch),
                "lr": rates[row],
                "train_loss": loss,
                f"validation_{OBJECTIVE}": error,
            }
            self.history[k].append(records[k])
            if error < self.best_error[k]:
                self.best_epoch[k], self.best_error[k] = self.epoch, error
                self._best[k] = self._stack.weights(row)
        self.seconds += time.perf_counter() - start
        self.drop([k for k in self.active if k in self.failures or self._done(k)])
        return records

    def _done(self, k: int) -> bool:
        settings = self.members[k].settings
        waited = self.epoch - self.best_epoch[k]
        return self.epoch >= settings.epochs or bool(settings.patience and waited >= settings.patience)

    def drop(self, members: Sequence[int]) -> None:
        """Leave some members out from now on; what they have reached stays."""
        rows = [row for row, k in enumerate(self.active) if k not in members]
        if len(rows) < len(self.active):
            self.active = [self.active[row] for row in rows]
            if rows:
                self._stack.keep(rows)
                self._optimizer.keep(rows)

    def _train_epoch(self, rates: Sequence[float]) -> torch.Tensor:
        size = self.members[0].settings.batch_size
        n, members = len(self._n_atoms), len(self.active)
        orders = np.stack([self._rngs[k].permutation(n) for k in self.active])
        total = torch.zeros(members, device=self.device, dtype=self._targets.dtype)
        for batch in np.array_split(orders, -(-n // size), axis=1):
            atoms, places = self._atoms(batch)
            frames = torch.from_numpy(batch).to(self.device)
            atomic = self._stack(self._inputs[atoms])
            # atoms that only fill up go to a frame behind the last
            sums = atomic.new_zeros(members, batch.shape[1] + 1).scatter_add(1, places, atomic)[:, :-1]
            losses = self._losses(sums / self._counts[frames], self._targets[frames])
            self._optimizer.step(self._stack.gradient(losses), rates)
            total += losses.detach() * batch.shape[1]
        return total / n

    def _losses(self, predicted: torch.Tensor, targets: torch.Tensor) -> torch.Tensor:
        """Mean loss of each member."""
        return self._loss(predicted, targets).mean(dim=1)

    def _atoms(self, batch: np.ndarray) -> tuple[torch.Tensor, torch.Tensor]:
        """Atoms of each member's frames and their places in the batch, filled up to equal numbers."""
        counts = self._n_atoms[batch].sum(axis=1)
        atoms = np.zeros((len(batch), counts.max()), dtype=np.int64)
        places = np.full(atoms.shape, batch.shape[1], dtype=np.int64)
        for row, frames in enumerate(batch):
            some, place = atoms_of(frames, self._offsets, self._n_atoms)
            atoms[row, : counts[row]], places[row, : counts[row]] = some.numpy(), place.numpy()
        return torch.from_numpy(atoms).to(self.device), torch.from_numpy(places).to(self.device)

    @torch.no_grad()
    def _validation_energies(self) -> np.ndarray:
        """Energies in eV of the validation frames by each active member, shape (n_active, n_frames)."""
        inputs, validation = self._validation.inputs, self.data.validation
        width = max(inputs.shape[1], self.members[0].settings.num_nodes)
        chunk = max(1, VALIDATION_NUMBERS // (width * len(self.active)))
        atomic = torch.cat([self._stack(piece) for piece in inputs.split(chunk)], dim=1)
        sums = atomic.new_zeros(len(self.active), len(validation))
        outputs = sums.index_add(1, self._validation.frame_of_atom, atomic).double().cpu().numpy()
        return np.asarray(self._validation.reference_ev + outputs * self._spread)

    def _validate(self) -> list[float]:
        validation = self.data.validation
        with np.errstate(over="ignore"):  # of one that diverges
            return [
                energy_metrics(validation.energy, energy, validation.n_atoms)[OBJECTIVE]
                if np.isfinite(energy).all()
                else float("nan")
                for energy in self._validation_energies()
            ]

    def results(self) -> list[TrainResult | TrainingDivergedError]:
        """The outcome of each member, with the weights of its best epoch, on the processor."""
        found: list[TrainResult | TrainingDivergedError] = []
        for k, potential in enumerate(self._potentials):
            if k in self.failures:
                found.append(self.failures[k])
                continue
            potential.network.load_state_dict(self._stack.state(self._best[k]))
            potential.network.eval()
            share = self.seconds / len(self.members)
            found.append(
                TrainResult(
                    potential.to("cpu"), self.best_epoch[k], self.best_error[k], self.history[k], share
                )
            )
        return found


def _rate(settings: TrainSettings) -> torch.optim.Optimizer:
    """Bears the learning rate for PyTorch's schedules, and moves nothing."""
    return torch.optim.SGD([torch.zeros(1, requires_grad=True)], lr=settings.lr)
