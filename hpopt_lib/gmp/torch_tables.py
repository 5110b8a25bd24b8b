"""Radial tables as tensors: the backend for any device and type that PyTorch knows."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import torch
from torch import Tensor
from torch.nn.functional import embedding_bag

from hpopt_lib.gmp.densities import ElementDensity
from hpopt_lib.gmp.settings import GMPSettings
from hpopt_lib.gmp.tables import hermite_weights, tables_of


class TorchTables:
    """Radial parts of pairs, interpolated by differentiable operations.

    Parameters
    ----------
    settings : GMPSettings
    densities : mapping of int to ElementDensity
    dtype : {"float64", "float32"}
        Of the results; distances are taken in float64.
    """

    def __init__(self, settings: GMPSettings, densities: Mapping[int, ElementDensity], dtype: str) -> None:
        self.settings, self.densities, self.name = settings, densities, dtype
        self.dtype: torch.dtype = getattr(torch, dtype)
        self._known: list[int] = []
        self._kind = np.zeros(max(densities, default=0) + 1, dtype=np.int64)
        self._nodes = torch.zeros(0, 3, settings.num_features, dtype=self.dtype)
        self._scales = np.zeros((0, 4))  # scale, bend, first node and intervals of each element

    def radial(self, squared: Tensor, numbers: np.ndarray) -> Tensor:
        """R_l with the smooth cutoff for pairs.

        Parameters
        ----------
        squared : Tensor, shape (n_pairs, 1)
            Squared distances in Å², float64.
        numbers : numpy.ndarray, shape (n_pairs,)
            Atomic numbers of the neighbours.

        Returns
        -------
        Tensor, shape (n_pairs, num_features)
        """
        self._add(sorted({int(z) for z in np.unique(numbers)} - set(self._known)))
        scales = torch.from_numpy(self._scales[self._kind[numbers]]).to(squared)
        # the square root has no derivative at 0, where only the atom itself lies and R is flat
        apart = squared > 0.0
        distance = torch.where(apart, squared, 1.0).sqrt() * apart
        place = scales[:, 0] * distance[:, 0] / (distance[:, 0] + scales[:, 1])
        interval = torch.minimum(place.detach().floor(), scales[:, 3] - 1)
        first = (interval + scales[:, 2]).long()
        weights, nodes = (
            torch.stack(hermite_weights(place - interval), dim=1).to(self.dtype),
            self._nodes.to(squared.device),
        )
        if not weights.requires_grad:  # several times faster, but without second derivatives
            rows = 3 * first[:, None] + torch.arange(6, device=first.device)
            return embedding_bag(rows, nodes.flatten(0, 1), per_sample_weights=weights, mode="sum")
        ends = torch.stack([nodes[first], nodes[first + 1]], dim=1).flatten(1, 2)
        return torch.einsum("np,npc->nc", weights, ends)

    def _add(self, numbers: list[int]) -> None:
        for number, table in tables_of(self.densities, numbers, self.settings, self.name).items():
            row = [table.scale, table.bend, len(self._nodes), len(table.nodes) - 1]
            self._kind[number] = len(self._known)
            self._known.append(number)
            self._scales = np.vstack([self._scales, row])
            nodes = torch.from_numpy(table.nodes).flatten(2).to(self.dtype)
            self._nodes = torch.cat([self._nodes, nodes])
