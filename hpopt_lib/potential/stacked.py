"""Networks of one shape with their weights stacked, and the optimiser that moves them all."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch
from torch import nn
from torch.nn import functional

from hpopt_lib.potential.network import SingleNetwork
from hpopt_lib.potential.settings import TrainSettings

_ACTIVATIONS: dict[str, Callable[..., torch.Tensor]] = {
    "silu": functional.silu,
    "tanh": torch.tanh,
    "relu": functional.relu,
    "gelu": functional.gelu,
}


class StackedNetwork:
    """Several `SingleNetwork` of one shape, without dropout and batch normalisation.

    The weights lie in a matrix of one row for each network, so that an optimiser's step is a handful
    of operations for all.

    Parameters
    ----------
    networks : sequence of SingleNetwork
    settings : TrainSettings
        What they have in common: activation and normalization.

    Attributes
    ----------
    flat : torch.Tensor, shape (n_networks, n_weights)
    """

    def __init__(self, networks: Sequence[SingleNetwork], settings: TrainSettings) -> None:
        self._activation: Callable[[torch.Tensor], torch.Tensor] = _ACTIVATIONS[settings.activation]
        self._shapes = {name: value.shape for name, value in networks[0].state_dict().items()}
        self.flat = torch.stack(
            [torch.cat([v.detach().reshape(-1) for v in n.state_dict().values()]) for n in networks]
        )
        self._layers = [(f"layers.{index}", type(module)) for index, module in enumerate(networks[0].layers)]
        self._bind()

    def _bind(self) -> None:
        """Weights as leaves of the graph that are pieces of the matrix."""
        self._weights: dict[str, torch.Tensor] = {}
        start = 0
        for name, shape in self._shapes.items():
            size = shape.numel()
            piece = self.flat[:, start : start + size].view(len(self.flat), *shape)
            self._weights[name] = piece.requires_grad_()
            start += size

    def gradient(self, losses: torch.Tensor) -> torch.Tensor:
        """Gradient of each network's loss, shape (n_networks, n_weights)."""
        pieces = torch.autograd.grad(losses.sum(), list(self._weights.values()))
        return torch.cat([piece.reshape(len(self.flat), -1) for piece in pieces], dim=1)

    def keep(self, rows: Sequence[int]) -> None:
        """Go on with some of the networks only, by their place in the stack."""
        self.flat = self.flat.detach()[list(rows)].clone()
        self._bind()

    def weights(self, row: int) -> torch.Tensor:
        """A copy of one network's weights, for `state`."""
        return self.flat[row].detach().clone()

    def state(self, weights: torch.Tensor) -> dict[str, torch.Tensor]:
        """State of a `SingleNetwork` from its row of `flat`."""
        pieces = weights.split([shape.numel() for shape in self._shapes.values()])
        return {name: piece.view(shape) for (name, shape), piece in zip(self._shapes.items(), pieces)}

    def __call__(self, features: torch.Tensor) -> torch.Tensor:
        """Atomic outputs.

        Parameters
        ----------
        features : torch.Tensor, shape (n_networks, n_atoms, n_features) or (n_atoms, n_features)
            For each network its atoms, or the same for all.

        Returns
        -------
        torch.Tensor, shape (n_networks, n_atoms)
        """
        values = features.expand(len(self.flat), -1, -1)
        for name, kind in self._layers:
            if kind is nn.Linear:
                weight, bias = self._weights[f"{name}.weight"], self._weights[f"{name}.bias"]
                values = torch.baddbmm(bias.unsqueeze(1), values, weight.transpose(1, 2))
            elif kind is nn.LayerNorm:
                weight, bias = self._weights[f"{name}.weight"], self._weights[f"{name}.bias"]
                normal = functional.layer_norm(values, values.shape[-1:])
                values = normal * weight.unsqueeze(1) + bias.unsqueeze(1)
            else:
                values = self._activation(values)
        return values.squeeze(-1)


class StackedAdamW:
    """AdamW with a learning rate and a weight decay of its own for each network.

    The arithmetic is `torch.optim.AdamW`'s (Loshchilov and Hutter 2019, algorithm 2), which knows
    one rate for a tensor only.

    Parameters
    ----------
    network : StackedNetwork
    weight_decay : sequence of float
    betas : (float, float)
    eps : float
    """

    def __init__(
        self,
        network: StackedNetwork,
        weight_decay: Sequence[float],
        betas: tuple[float, float] = (0.9, 0.999),
        eps: float = 1e-8,
    ) -> None:
        self.network, self.betas, self.eps, self.steps = network, betas, eps, 0
        self._decay = self._column(weight_decay)
        self._mean, self._square = torch.zeros_like(network.flat), torch.zeros_like(network.flat)

    def _column(self, values: Sequence[float]) -> torch.Tensor:
        flat = self.network.flat
        return torch.tensor(list(values), dtype=torch.float64).to(flat.device, flat.dtype).unsqueeze(1)

    def keep(self, rows: Sequence[int]) -> None:
        """Go on with some of the networks only; after `StackedNetwork.keep`."""
        self._decay, self._mean, self._square = (
            value[list(rows)] for value in (self._decay, self._mean, self._square)
        )

    @torch.no_grad()
    def step(self, gradient: torch.Tensor, lr: Sequence[float]) -> None:
        """Move all networks along their gradients, each at its rate."""
        self.steps += 1
        flat, rate, (first, second) = self.network.flat, self._column(lr), self.betas
        flat.mul_(1 - rate * self._decay)
        self._mean.lerp_(gradient, 1 - first)
        self._square.mul_(second).addcmul_(gradient, gradient, value=1 - second)
        width = (self._square.sqrt() / (1 - second**self.steps) ** 0.5).add_(self.eps)
        flat.sub_((self._mean / width).mul_(rate / (1 - first**self.steps)))
