"""Three search spaces: the earlier project's, a wider one, and one that holds features and data too."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from hpopt_lib.gmp.settings import GMPSettings
from hpopt_lib.potential.settings import TrainSettings

if TYPE_CHECKING:
    import optuna

#: Epochs of a training; a stepwise schedule steps after each fifth of them.
EPOCHS = 20
#: Widths that a feature setting computes; a network sees all of them or some, evenly spread.
N_WIDTHS = 8

#: What is no hyperparameter of the network or its training, with the values that the narrower spaces fix.
FEATURES_AND_DATA: dict[str, Any] = {
    "sigma_min": 0.2,
    "sigma_max": 2.7,
    "num_sigmas": 6,
    "max_order": 3,
    "cutoff": 6.0,
    "densities": "fitted",
    "transform": "log",
    "references": "linear",
    "train_share": 1.0,
}
#: What AmpOpt (the earlier project) did not search.
AMPOPT_FIXED: dict[str, Any] = {
    "activation": "tanh",
    "normalization": "none",
    "loss": "mae",
    "weight_decay": 0.0,
    "schedule": "step",
    "batch_size": 32,
}
SPACES = ("ampopt", "network", "features")


def space(name: str) -> dict[str, optuna.distributions.BaseDistribution]:
    """Distributions of the hyperparameters that a space searches.

    Parameters
    ----------
    name : {"ampopt", "network", "features"}
        AmpOpt's five ranges; wider ranges of everything of the network and its training, which hold
        AmpOpt's; and these together with the features and the data.

    Raises
    ------
    ValueError
        For another name.
    """
    from optuna.distributions import CategoricalDistribution as Choice
    from optuna.distributions import FloatDistribution as Float
    from optuna.distributions import IntDistribution as Int

    if name == "ampopt":
        return {
            "num_layers": Int(6, 20),
            "num_nodes": Int(10, 30),
            "dropout_rate": Float(0.0, 0.2),
            "lr": Float(1e-5, 1e-1, log=True),
            "gamma": Float(0.5, 1.0),
        }
    network = {
        "num_layers": Int(1, 20, log=True),
        "num_nodes": Int(8, 64, log=True),
        "activation": Choice(["silu", "tanh", "relu"]),
        "normalization": Choice(["none", "layer", "batch"]),
        "dropout_rate": Choice([0.0, 0.1, 0.2]),
        "lr": Float(1e-5, 1e-1, log=True),
        "schedule": Choice(["constant", "step", "cosine"]),
        "gamma": Float(0.1, 1.0),
        "batch_size": Int(16, 128, log=True),
        "weight_decay": Float(1e-6, 1e-1, log=True),
        "loss": Choice(["huber", "mae", "mse"]),
    }
    if name == "network":
        return network
    if name == "features":
        return {
            "sigma_min": Choice([0.2, 0.4, 0.8]),
            "sigma_max": Choice([1.3, 2.0, 3.0]),
            "num_sigmas": Int(2, N_WIDTHS),
            "max_order": Int(0, 3),
            "cutoff": Choice([4.0, 6.0, 8.0]),
            "densities": Choice(["fitted", "one-gaussian"]),
            "transform": Choice(["log", "none"]),
            "references": Choice(["linear", "none"]),
            "train_share": Choice([0.25, 0.5, 1.0]),
            **network,
        }
    raise ValueError(f"space {name!r} is none of {', '.join(SPACES)}")


def draw(name: str, n: int, *, seed: int) -> list[dict[str, Any]]:
    """Random points of a space."""
    import optuna

    from hpopt_lib.experiments.replay import quiet_optuna

    with quiet_optuna():
        study = optuna.create_study(sampler=optuna.samplers.RandomSampler(seed=seed))
        distributions = space(name)
        return [dict(study.ask(distributions).params) for _ in range(n)]


@dataclass(frozen=True)
class Configuration:
    """A point of any of the spaces with what that space fixes, ready to be trained.

    Attributes
    ----------
    train : TrainSettings
    gmp : GMPSettings
        With all `N_WIDTHS` widths and orders to 3; `train` says which of them the network sees.
    densities, transform, references : str
    train_share : float
        Of the training frames.
    """

    train: TrainSettings
    gmp: GMPSettings
    densities: str
    transform: str
    references: str
    train_share: float


def configuration(name: str, params: dict[str, Any]) -> Configuration:
    """Fill what a space does not search with its fixed values; `params` may name ``epochs`` too."""
    values = {**FEATURES_AND_DATA, **(AMPOPT_FIXED if name == "ampopt" else {}), **params}
    own = {key: values.pop(key) for key in FEATURES_AND_DATA if key not in ("num_sigmas", "max_order")}
    widths = np.geomspace(own.pop("sigma_min"), own.pop("sigma_max"), N_WIDTHS)
    gmp = GMPSettings(sigmas=tuple(float(f"{w:.4g}") for w in widths), max_order=3, cutoff=own.pop("cutoff"))
    epochs = values.pop("epochs", EPOCHS)
    return Configuration(TrainSettings(**values, epochs=epochs, step_size=max(1, epochs // 5)), gmp, **own)
