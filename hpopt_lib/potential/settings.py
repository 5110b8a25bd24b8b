"""Hyperparameters of the network and of its training."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields
from typing import Any

from hpopt_lib.errors import HpoptError

ACTIVATIONS = ("silu", "tanh", "relu", "gelu")
NORMALIZATIONS = ("none", "batch", "layer")
LOSSES = ("mae", "mse", "huber")
SCHEDULES = ("constant", "step", "cosine")


@dataclass(frozen=True)
class TrainSettings:
    """Everything that fixes a training run but its data and seed.

    Parameters
    ----------
    num_layers : int
        Hidden layers.
    num_nodes : int
        Nodes of each hidden layer.
    activation : {"silu", "tanh", "relu", "gelu"}
    dropout_rate : float
        Share of hidden nodes set to zero while training, in [0, 1).
    normalization : {"none", "batch", "layer"}
        Normalisation after each hidden layer.
    lr : float
        Initial learning rate of AdamW.
    weight_decay : float
        Decoupled weight decay of AdamW.
    batch_size : int
        Frames in a batch.
    loss : {"mae", "mse", "huber"}
        Of the energy per atom in units of its spread on the training frames; the Huber loss
        turns linear at half a spread.
    schedule : {"constant", "step", "cosine"}
        Learning rate over the epochs: constant; multiplied by `gamma` every `step_size`
        epochs; or half a cosine down to zero at the last epoch.
    step_size : int
        Epochs, used by ``schedule="step"`` only.
    gamma : float
        Factor in (0, 1], used by ``schedule="step"`` only.
    epochs : int
        Largest number of passes over the training frames.
    patience : int
        Stop when the validation error has not improved for so many epochs; 0 never stops.
    max_order : int
        Highest angular order of the features that the network sees; -1 uses all stored.
    num_sigmas : int
        Number of probe widths that the network sees, spread evenly over those stored;
        0 uses all.
    force_weight : float
        Weight of the forces in the loss, without a unit: to the loss of the energies comes this times the
        same loss of the force components of free atoms in units of their root mean square on the training
        frames (`hpopt_lib.potential.forces`). 0 trains on energies only.

    Raises
    ------
    HpoptError
        When a value is out of range, or two do not go together; the message names them.
    """

    num_layers: int = 3
    num_nodes: int = 50
    activation: str = "silu"
    dropout_rate: float = 0.0
    normalization: str = "none"
    lr: float = 5e-3
    weight_decay: float = 1e-4
    batch_size: int = 32
    loss: str = "huber"
    schedule: str = "cosine"
    step_size: int = 20
    gamma: float = 0.5
    epochs: int = 60
    patience: int = 0
    max_order: int = -1
    num_sigmas: int = 0
    force_weight: float = 0.0

    def __post_init__(self) -> None:
        for field in fields(self):
            value, kind = getattr(self, field.name), type(field.default)
            if kind is float and isinstance(value, int) and not isinstance(value, bool):
                object.__setattr__(self, field.name, float(value))
            elif type(value) is not kind:
                raise HpoptError(
                    f"{field.name}: {value!r} is not of type {kind.__name__}",
                    remedy=f"give a {kind.__name__}",
                )
        ranges = {
            "num_layers": (1, 50), "num_nodes": (1, 4096), "dropout_rate": (0.0, 0.95), "lr": (1e-9, 10.0),
            "weight_decay": (0.0, 10.0), "batch_size": (1, 1_000_000), "step_size": (1, 1_000_000),
            "gamma": (1e-6, 1.0), "epochs": (1, 1_000_000), "patience": (0, 1_000_000), "max_order": (-1, 8),
            "num_sigmas": (0, 1000), "force_weight": (0.0, 1e6),
        }  # fmt: skip
        for name, (low, high) in ranges.items():
            if not low <= getattr(self, name) <= high:
                raise HpoptError(
                    f"{name}: {getattr(self, name)} is out of range", remedy=f"give {low} to {high}"
                )
        choices = {
            "activation": ACTIVATIONS, "normalization": NORMALIZATIONS, "loss": LOSSES, "schedule": SCHEDULES
        }  # fmt: skip
        for name, allowed in choices.items():
            if getattr(self, name) not in allowed:
                raise HpoptError(
                    f"{name}: {getattr(self, name)!r} is unknown", remedy=f"use {', '.join(allowed)}"
                )

        if self.force_weight > 0 and self.normalization == "batch":
            raise HpoptError(
                "force_weight: does not go with normalization batch, which mixes the atoms of a batch",
                remedy="set normalization to layer or none",
            )

    def to_dict(self) -> dict[str, Any]:
        """Plain values for JSON."""
        return asdict(self)

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> TrainSettings:
        """Settings from plain values; names not given keep their defaults.

        Raises
        ------
        HpoptError
            For an unknown name or a value out of range.
        """
        check_names(values, where="hyperparameter")
        return cls(**values)


def check_names(values: Mapping[str, Any], *, where: str) -> None:
    """Raise when a name is no hyperparameter, with the known ones."""
    known = [field.name for field in fields(TrainSettings)]
    for name in values:
        if name not in known:
            raise HpoptError(
                f"{where}: {name!r} is unknown", remedy=f"the hyperparameters are {', '.join(known)}"
            )
