"""Our hyperparameters in the words of AMPtorch's configuration."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch

from hpopt_lib.errors import HpoptError
from hpopt_lib.potential.settings import TrainSettings

ACTIVATIONS = {
    "silu": torch.nn.SiLU,
    "tanh": torch.nn.Tanh,
    "relu": torch.nn.ReLU,
    "gelu": torch.nn.GELU,
}
#: Search space of hpopt tune with this backend when none is named.
DEFAULT_SPACE = Path(__file__).with_name("default_space.toml")
TYPES = {torch.float64: "torch.DoubleTensor", torch.float32: "torch.FloatTensor"}
#: How AMPtorch scales features: one mean and spread for all elements, so that what tells them apart stays.
SCALING = {"type": "standardize", "elementwise": False, "threshold": 1e-10}


def upstream_config(
    settings: TrainSettings, *, dtype: torch.dtype, seed: int, run_dir: str
) -> dict[str, Any]:
    """AMPtorch's configuration for a training.

    Parameters
    ----------
    settings : TrainSettings
    dtype : torch.dtype
        float32 or float64: ``torch.FloatTensor`` or ``torch.DoubleTensor``.
    seed : int
    run_dir : str
        Folder that AMPtorch makes its working folder.

    Returns
    -------
    dict
        Parts ``model``, ``optim``, ``dataset`` and ``cmd`` of `amptorch.trainer.AtomsTrainer`.

    Raises
    ------
    HpoptError
        For a hyperparameter that AMPtorch does not have.
    """
    check_settings(settings)
    optim: dict[str, Any] = {
        "lr": settings.lr,
        "optimizer": torch.optim.AdamW,
        "optimizer_args": {"optimizer__weight_decay": settings.weight_decay},
        "batch_size": settings.batch_size,
        "epochs": settings.epochs,
        "loss": "mse" if settings.loss == "huber" else settings.loss,
        "metric": "mae",
        "force_coefficient": 0,
    }
    if (scheduler := _scheduler(settings)) is not None:
        optim["scheduler"] = scheduler
    return {
        "model": {
            "name": "singlenn",
            "get_forces": False,
            "num_layers": settings.num_layers,
            "num_nodes": settings.num_nodes,
            "activation": ACTIVATIONS[settings.activation],
            "batchnorm": settings.normalization == "batch",
            "dropout": settings.dropout_rate > 0,
            "dropout_rate": settings.dropout_rate,
            "initialization": "xavier",
        },
        "optim": optim,
        "dataset": {"fp_scheme": "gmpordernorm", "scaling": dict(SCALING), "val_split": 0},
        "cmd": {
            "debug": True,  # no checkpoint folder: hpopt keeps its own
            "run_dir": run_dir,
            "seed": seed,
            "dtype": TYPES[dtype],
            "verbose": False,
        },
    }


def check_settings(settings: TrainSettings) -> None:
    """Raise when AMPtorch's network lacks what the settings ask for."""
    if settings.normalization == "layer":
        raise HpoptError(
            "normalization: AMPtorch has no layer normalisation",
            remedy="use none or batch: --set normalization=none, or a --space without it",
        )
    if settings.force_weight > 0:
        raise HpoptError(
            "force_weight: this backend trains AMPtorch on energies only",
            remedy="leave force_weight out, or use --backend hpopt",
        )


def check_space(space: Any) -> None:
    """Raise when a `hpopt_lib.tuning.space.SearchSpace` holds what AMPtorch's network lacks."""
    for normalization in ("none", "batch", "layer"):
        if space.allows("normalization", normalization):
            check_settings(TrainSettings(normalization=normalization))
    if weight := space.largest("force_weight"):
        check_settings(TrainSettings(force_weight=weight))


def _scheduler(settings: TrainSettings) -> dict[str, Any] | None:
    if settings.schedule == "step":
        return {"policy": "StepLR", "params": {"step_size": settings.step_size, "gamma": settings.gamma}}
    if settings.schedule == "cosine":
        return {"policy": "CosineAnnealingLR", "params": {"T_max": settings.epochs}}
    return None
