"""Train a potential on energies, validating every epoch and keeping the best epoch."""

from __future__ import annotations

import copy
import time
from collections.abc import Callable
from dataclasses import dataclass, field

import numpy as np
import torch

from hpopt_lib.errors import HpoptError
from hpopt_lib.gmp.settings import GMPSettings
from hpopt_lib.metrics import energy_metrics
from hpopt_lib.potential.model import Potential, Prepared
from hpopt_lib.potential.network import SingleNetwork, feature_columns
from hpopt_lib.potential.settings import TrainSettings
from hpopt_lib.references import LinearReference, composition
from hpopt_lib.scaling import FeatureScaler
from hpopt_lib.store import SplitArrays, Store

#: The error that early stopping, pruning and tuning look at, on the validation split.
OBJECTIVE = "energy_mae_mev_per_atom"


class TrainingDivergedError(HpoptError):
    """The loss became infinite or not a number."""


@dataclass
class Dataset:
    """What a training needs, in memory: two splits and what was fitted on the first.

    Memory is about ``n_atoms_total * n_features`` numbers for each split; the arrays are
    shared by all trainings of a process.
    """

    train: SplitArrays
    validation: SplitArrays
    gmp: GMPSettings
    scaler: FeatureScaler
    reference: LinearReference
    dtype: torch.dtype = torch.float32

    @classmethod
    def from_store(
        cls, store: Store, *, validation: str | None = None, n_train: int | None = None, seed: int = 0
    ):
        """Load the training split and one validation split.

        Parameters
        ----------
        store : Store
        validation : str, optional
            Name of the validation split; the store's second split by default.
        n_train : int, optional
            Use only so many training frames, drawn at random; the scaler and the references
            stay those of the whole training split.
        seed : int
            Of that draw.

        Raises
        ------
        HpoptError
            When the store has no validation split, or too few frames.
        """
        others = store.validation_splits()
        if not others:
            raise HpoptError(
                f"{store.path}: only the training split {store.train_split!r}",
                remedy="preprocess again with a validation file as second input",
            )
        validation = store.check_split(validation or others[0])
        if validation == store.train_split:
            raise HpoptError(
                f"--validation: {validation!r} is the training split",
                remedy=f"use one of {', '.join(others)}",
            )
        train = store.read(store.train_split)
        if n_train is not None:
            if not 2 <= n_train <= len(train):
                raise HpoptError(f"n_train: {n_train} is out of range", remedy=f"give 2 to {len(train)}")
            train = train.take(np.sort(np.random.default_rng(seed).permutation(len(train))[:n_train]))
        dtype = {"float32": torch.float32, "float64": torch.float64}[store.header["dtype"]]
        return cls(train, store.read(validation), store.settings, store.scaler, store.reference, dtype)


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
        and normalisation as in training) and ``validation_`` + the objective's name.
    seconds : float
        Wall time.
    """

    potential: Potential
    best_epoch: int
    best_error: float
    history: list[dict[str, float]] = field(default_factory=list)
    seconds: float = 0.0


def _loss(settings: TrainSettings) -> torch.nn.Module:
    kinds = {"mae": torch.nn.L1Loss(), "mse": torch.nn.MSELoss(), "huber": torch.nn.HuberLoss(delta=0.5)}
    return kinds[settings.loss]


def _schedule(
    settings: TrainSettings, optimizer: torch.optim.Optimizer
) -> torch.optim.lr_scheduler.LRScheduler:
    if settings.schedule == "step":
        return torch.optim.lr_scheduler.StepLR(optimizer, settings.step_size, settings.gamma)
    if settings.schedule == "cosine":
        return torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, settings.epochs)
    return torch.optim.lr_scheduler.ConstantLR(optimizer, factor=1.0)


def train(
    data: Dataset,
    settings: TrainSettings,
    *,
    seed: int,
    on_epoch: Callable[[int, dict[str, float]], None] | None = None,
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

    Returns
    -------
    TrainResult

    Raises
    ------
    TrainingDivergedError
        When the loss is no longer finite.
    """
    start = time.perf_counter()
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        return _train(data, settings, seed, on_epoch, start)


def _train(data, settings, seed, on_epoch, start) -> TrainResult:
    columns = feature_columns(data.gmp, settings)
    n_atoms = data.train.n_atoms.astype(np.int64)
    if settings.normalization == "batch" and settings.batch_size == 1 and n_atoms.max() == 1:
        raise HpoptError(
            "normalization: batch needs two atoms, and every batch is a single atom",
            remedy="raise batch_size, or choose another normalization",
        )
    residual = data.train.energy - data.reference.energy(composition(data.train.numbers, data.train.n_atoms))
    per_atom = residual / n_atoms
    # frames that the references explain fully leave no spread to divide by
    spread = max(float(np.std(per_atom)), 1e-6)
    potential = Potential(
        SingleNetwork(len(columns), settings),
        settings=settings,
        gmp=data.gmp,
        scaler=data.scaler,
        reference=data.reference,
        residual_spread_ev_per_atom=spread,
        dtype=data.dtype,
    )
    inputs = potential.inputs(data.train.features)
    validation = potential.prepare(data.validation)
    targets = torch.from_numpy(per_atom / spread).to(data.dtype)
    counts = torch.from_numpy(n_atoms)
    offsets = np.concatenate([[0], np.cumsum(n_atoms)])
    network, loss_function = potential.network, _loss(settings)
    optimizer = torch.optim.AdamW(network.parameters(), lr=settings.lr, weight_decay=settings.weight_decay)
    schedule = _schedule(settings, optimizer)
    rng = np.random.default_rng(seed)
    result = TrainResult(potential, best_epoch=0, best_error=float("inf"))
    best_weights = copy.deepcopy(network.state_dict())
    for epoch in range(1, settings.epochs + 1):
        network.train()
        order, total, lr = rng.permutation(len(n_atoms)), 0.0, float(schedule.get_last_lr()[0])
        for batch in np.array_split(order, -(-len(order) // settings.batch_size)):
            if settings.normalization == "batch" and n_atoms[batch].sum() < 2:
                continue  # batch statistics of a single atom are not defined
            atoms, frame = _atoms_of(batch, offsets, n_atoms)
            predicted = network(inputs[atoms], frame, len(batch)) / counts[batch]
            loss = loss_function(predicted, targets[batch])
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            total += float(loss.detach()) * len(batch)
        schedule.step()
        error = _validation_error(potential, validation, data.validation)
        if not np.isfinite(total) or not np.isfinite(error):
            raise TrainingDivergedError(
                f"training: the loss is not finite in epoch {epoch}, lr {settings.lr:g}",
                remedy="lower lr or choose a normalization",
            )
        record = {
            "epoch": float(epoch),
            "lr": lr,
            "train_loss": total / len(order),
            f"validation_{OBJECTIVE}": error,
        }
        result.history.append(record)
        if error < result.best_error:
            result.best_epoch, result.best_error = epoch, error
            best_weights = copy.deepcopy(network.state_dict())
        if on_epoch is not None:
            on_epoch(epoch, record)
        if settings.patience and epoch - result.best_epoch >= settings.patience:
            break
    network.load_state_dict(best_weights)
    network.eval()
    result.seconds = time.perf_counter() - start
    return result


def _atoms_of(
    frames: np.ndarray, offsets: np.ndarray, n_atoms: np.ndarray
) -> tuple[torch.Tensor, torch.Tensor]:
    """Indices of the atoms of some frames, and the place of each atom's frame in the batch."""
    counts = n_atoms[frames]
    frame = np.repeat(np.arange(len(frames)), counts)
    first = np.repeat(offsets[frames] - np.concatenate([[0], np.cumsum(counts)[:-1]]), counts)
    return torch.from_numpy(first + np.arange(len(frame))), torch.from_numpy(frame)


def _validation_error(potential: Potential, prepared: Prepared, arrays: SplitArrays) -> float:
    predicted = potential.predict(prepared)
    if not np.isfinite(predicted).all():
        return float("nan")
    return energy_metrics(arrays.energy, predicted, arrays.n_atoms)[OBJECTIVE]
