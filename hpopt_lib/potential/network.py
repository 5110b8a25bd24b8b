"""A single feed-forward network for the atoms of all elements."""

from __future__ import annotations

import numpy as np
import torch
from torch import nn

from hpopt_lib.errors import HpoptError
from hpopt_lib.gmp.settings import GMPSettings
from hpopt_lib.potential.settings import TrainSettings

_ACTIVATIONS: dict[str, type[nn.Module]] = {
    "silu": nn.SiLU,
    "tanh": nn.Tanh,
    "relu": nn.ReLU,
    "gelu": nn.GELU,
}
_NORMALIZATIONS: dict[str, type[nn.Module]] = {"batch": nn.BatchNorm1d, "layer": nn.LayerNorm}


class SingleNetwork(nn.Module):
    """Energy of an atom from its features, the same weights for every element.

    The element enters through the features only: they are moments of the electron density,
    which differs from element to element (Lei and Medford 2022).

    Parameters
    ----------
    n_features : int
    settings : TrainSettings
        Uses num_layers, num_nodes, activation, normalization and dropout_rate.
    """

    def __init__(self, n_features: int, settings: TrainSettings) -> None:
        super().__init__()
        layers: list[nn.Module] = []
        width = n_features
        for _ in range(settings.num_layers):
            layers.append(nn.Linear(width, settings.num_nodes))
            if settings.normalization != "none":
                layers.append(_NORMALIZATIONS[settings.normalization](settings.num_nodes))
            layers.append(_ACTIVATIONS[settings.activation]())
            if settings.dropout_rate > 0:
                layers.append(nn.Dropout(settings.dropout_rate))
            width = settings.num_nodes
        self.layers = nn.Sequential(*layers, nn.Linear(width, 1))

    def forward(self, features: torch.Tensor, frame_of_atom: torch.Tensor, n_frames: int) -> torch.Tensor:
        """Sum of atomic outputs.

        Parameters
        ----------
        features : torch.Tensor, shape (n_atoms, n_features)
            Standardised.
        frame_of_atom : torch.Tensor of int64, shape (n_atoms,)
        n_frames : int

        Returns
        -------
        torch.Tensor, shape (n_frames,)
        """
        atomic = self.layers(features).squeeze(-1)
        return atomic.new_zeros(n_frames).index_add(0, frame_of_atom, atomic)


def feature_columns(gmp: GMPSettings, settings: TrainSettings) -> np.ndarray:
    """Columns of the stored features that a network sees.

    Featurising once at the widest setting and choosing columns makes a search over orders
    and widths nearly free.

    Parameters
    ----------
    gmp : GMPSettings
        Of the store.
    settings : TrainSettings
        Uses max_order and num_sigmas.

    Returns
    -------
    numpy.ndarray of int
        Sorted column numbers.

    Raises
    ------
    HpoptError
        When more orders or widths are asked for than are stored.
    """
    n_sigmas = len(gmp.sigmas)
    max_order = gmp.max_order if settings.max_order < 0 else settings.max_order
    wanted = settings.num_sigmas or n_sigmas
    if max_order > gmp.max_order:
        raise HpoptError(
            f"max_order: {max_order} is above the store's {gmp.max_order}",
            remedy="preprocess with --max-order, or lower it",
        )
    if wanted > n_sigmas:
        raise HpoptError(
            f"num_sigmas: {wanted} is above the store's {n_sigmas}",
            remedy="preprocess with more --sigmas, or lower it",
        )
    # an even spread that keeps the middle for one width and the ends for two or more
    chosen = [n_sigmas // 2] if wanted == 1 else np.linspace(0, n_sigmas - 1, wanted).round().astype(int)
    return np.array([order * n_sigmas + s for order in range(max_order + 1) for s in chosen], dtype=int)
