"""What one training and many at once have in common: targets, fresh networks, loss, schedule, batches."""

from __future__ import annotations

import numpy as np
import torch

from hpopt_lib.potential.dataset import Dataset
from hpopt_lib.potential.model import Potential
from hpopt_lib.potential.network import SingleNetwork, feature_columns
from hpopt_lib.potential.settings import TrainSettings


def residuals(data: Dataset) -> tuple[np.ndarray, float]:
    """What the references leave of the training energies, and its spread.

    Returns
    -------
    per_atom : numpy.ndarray, shape (n_frames,)
        In eV/atom.
    spread : float
        Standard deviation of `per_atom` in eV/atom, the unit of a network's output.
    """
    known = data.reference.of_frames(data.train.numbers, data.train.n_atoms, data.train.info)
    per_atom = (data.train.energy - known) / data.train.n_atoms.astype(np.int64)
    # frames that the references explain fully leave no spread to divide by
    return per_atom, max(float(np.std(per_atom)), 1e-6)


def new_potential(data: Dataset, settings: TrainSettings, spread_ev_per_atom: float) -> Potential:
    """An untrained potential, its weights from PyTorch's current random numbers."""
    return Potential(
        SingleNetwork(len(feature_columns(data.gmp, settings)), settings),
        settings=settings,
        gmp=data.gmp,
        scaler=data.scaler,
        reference=data.reference,
        residual_spread_ev_per_atom=spread_ev_per_atom,
        dtype=data.dtype,
    )


def make_loss(settings: TrainSettings, reduction: str = "mean") -> torch.nn.Module:
    """The loss that the settings name; ``reduction="none"`` gives one for each frame."""
    if settings.loss == "huber":
        return torch.nn.HuberLoss(delta=0.5, reduction=reduction)
    return {"mae": torch.nn.L1Loss, "mse": torch.nn.MSELoss}[settings.loss](reduction=reduction)


def make_schedule(
    settings: TrainSettings, optimizer: torch.optim.Optimizer
) -> torch.optim.lr_scheduler.LRScheduler:
    """The learning rate over the epochs."""
    if settings.schedule == "step":
        return torch.optim.lr_scheduler.StepLR(optimizer, settings.step_size, settings.gamma)
    if settings.schedule == "cosine":
        return torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, settings.epochs)
    return torch.optim.lr_scheduler.ConstantLR(optimizer, factor=1.0)


def atoms_of(
    frames: np.ndarray, offsets: np.ndarray, n_atoms: np.ndarray
) -> tuple[torch.Tensor, torch.Tensor]:
    """Indices of the atoms of some frames, and the place of each atom's frame in the batch.

    Parameters
    ----------
    frames : numpy.ndarray of int, shape (n_frames,)
    offsets, n_atoms : numpy.ndarray of int
        Of all frames: number of the first atom, and atoms.
    """
    counts = n_atoms[frames]
    frame = np.repeat(np.arange(len(frames)), counts)
    first = np.repeat(offsets[frames] - np.concatenate([[0], np.cumsum(counts)[:-1]]), counts)
    return torch.from_numpy(first + np.arange(len(frame))), torch.from_numpy(frame)
