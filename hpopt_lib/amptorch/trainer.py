"""AMPtorch's `AtomsTrainer`, given features that are there already and a validation error of our own."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import numpy as np
import torch

from hpopt_lib.amptorch.callbacks import validation_callback
from hpopt_lib.amptorch.recipe import SCALING


def upstream_data(
    data_class: Any,
    *,
    features: np.ndarray,
    numbers: np.ndarray,
    n_atoms: np.ndarray,
    energy: np.ndarray,
    dtype: torch.dtype,
) -> list[Any]:
    """Frames as the data objects that AMPtorch trains on.

    Parameters
    ----------
    data_class : type
        `torch_geometric.data.Data`.
    features : numpy.ndarray, shape (n_atoms_total, n_columns)
    numbers : numpy.ndarray of int, shape (n_atoms_total,)
    n_atoms : numpy.ndarray of int, shape (n_frames,)
    energy : numpy.ndarray, shape (n_frames,)
        In eV.
    dtype : torch.dtype
        Of the features.

    Returns
    -------
    list of torch_geometric.data.Data
        With ``fingerprint``, ``atomic_numbers``, ``num_nodes`` and ``energy``.
    """
    ends = np.cumsum(n_atoms)
    return [
        data_class(
            fingerprint=torch.tensor(features[end - n : end], dtype=dtype),
            atomic_numbers=torch.tensor(numbers[end - n : end], dtype=torch.int64),
            num_nodes=int(n),
            energy=float(value),
        )
        for n, end, value in zip(n_atoms, ends, energy, strict=True)
    ]


def scale_data(amptorch: Any, frames: list[Any]) -> tuple[Any, Any]:
    """Scale features and energies in place, as AMPtorch does; returns its two scalers."""
    feature_scaler = amptorch.preprocessing.FeatureScaler(frames, False, dict(SCALING))
    target_scaler = amptorch.preprocessing.TargetScaler(frames, False)
    feature_scaler.norm(frames, disable_tqdm=True)
    target_scaler.norm(frames, disable_tqdm=True)
    return feature_scaler, target_scaler


def upstream_trainer(
    amptorch: Any, config: dict[str, Any], frames: list[Any], *, loss: str, error: Any
) -> Any:
    """AMPtorch's trainer, loaded and ready for skorch.

    Parameters
    ----------
    amptorch : module
        From `hpopt_lib.amptorch.compat.running`.
    config : dict
        From `hpopt_lib.amptorch.recipe.upstream_config`.
    frames : list of torch_geometric.data.Data
        Training frames, not scaled yet.
    loss : {"mae", "mse", "huber"}
        Huber is not AMPtorch's own: it enters as the configuration's ``loss_fn``.
    error : callable
        See `hpopt_lib.amptorch.callbacks.validation_callback`.

    Returns
    -------
    amptorch.trainer.AtomsTrainer
    """

    class Trainer(amptorch.trainer.AtomsTrainer):
        callbacks: list[Any]
        elements: list[str]

        def load_dataset(self) -> None:
            self.feature_scaler, self.target_scaler = scale_data(amptorch, frames)
            self.train_dataset = _Frames(frames, self.target_scaler)
            self.elements, self.atomic_correction_scaler = [], None
            self.input_dim = frames[0].fingerprint.shape[1]

        def load_extras(self) -> None:
            super().load_extras()
            # hpopt keeps the best epoch and the checkpoints; AMPtorch's would write below the working folder
            self.callbacks = [c for c in self.callbacks if type(c).__name__ != "Checkpoint"]
            self.callbacks.append(validation_callback(error))

    if loss == "huber":
        config["optim"]["loss_fn"] = _huber(amptorch)
    trainer = Trainer(config)
    trainer.load()
    return trainer


class _Frames(torch.utils.data.Dataset):
    """Training frames; AMPtorch's scoring asks its data set for the scale of energies."""

    def __init__(self, frames: list[Any], target_scaler: Any) -> None:
        self.frames, self.target_scaler = frames, target_scaler

    def __len__(self) -> int:
        return len(self.frames)

    def __getitem__(self, index: int) -> Any:
        return self.frames[index]


def _huber(amptorch: Any) -> type:
    class Huber(amptorch.model.CustomLoss):
        def __init__(self, force_coefficient: float = 0, loss: str = "mse") -> None:
            super().__init__(force_coefficient, "mse")
            self.loss = torch.nn.HuberLoss(delta=0.5)

    return Huber


def batch_of(features: torch.Tensor, n_atoms: np.ndarray, **more: Any) -> SimpleNamespace:
    """Scaled features of frames, shape (n_atoms_total, n_columns), as AMPtorch's network takes them."""
    counts = torch.from_numpy(np.asarray(n_atoms)).long()
    image = torch.repeat_interleave(torch.arange(len(counts)), counts)
    return SimpleNamespace(fingerprint=features, batch=image, **more)
