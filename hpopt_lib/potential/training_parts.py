"""What trainings are made of: fresh networks, loss, schedule, and an optimiser in a checkpoint."""

from __future__ import annotations

from typing import Any

import torch

from hpopt_lib.potential.dataset import Dataset
from hpopt_lib.potential.model import Potential
from hpopt_lib.potential.network import SingleNetwork, feature_columns
from hpopt_lib.potential.settings import TrainSettings
from hpopt_lib.potential.streaming import StreamingDataset


def new_potential(
    data: Dataset | StreamingDataset, settings: TrainSettings, spread_ev_per_atom: float
) -> Potential:
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


def optimizer_state(optimizer: torch.optim.Optimizer) -> dict[str, Any]:
    """Plain values and tensors that `restore_optimizer` takes: ``groups`` and ``moments``."""
    state = optimizer.state_dict()
    return {
        "groups": [{k: v for k, v in g.items() if k != "params"} for g in state["param_groups"]],
        "moments": {
            f"{index}/{k}": v.cpu() for index, moments in state["state"].items() for k, v in moments.items()
        },
    }


def restore_optimizer(optimizer: torch.optim.Optimizer, state: dict[str, Any]) -> None:
    """Bring an optimiser of the same network to a state that `optimizer_state` gave."""
    moments: dict[int, dict[str, torch.Tensor]] = {}
    for name, value in state["moments"].items():
        index, key = name.split("/")
        moments.setdefault(int(index), {})[key] = value
    groups = [
        {**saved, "params": own["params"]}
        for saved, own in zip(state["groups"], optimizer.state_dict()["param_groups"])
    ]
    optimizer.load_state_dict({"state": moments, "param_groups": groups})
