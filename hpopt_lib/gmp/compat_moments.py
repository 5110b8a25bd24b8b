"""Moments of the Maxwell-Cartesian polynomials, summed over the Gaussians of the neighbours."""

from __future__ import annotations

import math
from collections.abc import Mapping

import numpy as np
import torch
from torch import Tensor

from hpopt_lib.gmp.compat_settings import PeerFeature
from hpopt_lib.gmp.densities import ElementDensity
from hpopt_lib.gmp.polynomials import components, gaussian_average


class Environment:
    """Pairs of one structure, sorted by the neighbour's element, with the monomials of their vectors."""

    def __init__(self, vectors: Tensor, first: Tensor, elements: np.ndarray, n_atoms: int) -> None:
        self._first, self._elements, self._n_atoms = first, elements, n_atoms
        self._squared = vectors.square().sum(1)
        self._powers = [torch.ones_like(vectors), vectors]

    def elements(self) -> list[tuple[int, Tensor]]:
        """Atomic numbers with the squared distances of their pairs."""
        numbers, starts = np.unique(self._elements, return_index=True)
        ends = [*starts[1:].tolist(), len(self._elements)]
        return [(int(z), self._squared[a:b]) for z, a, b in zip(numbers, starts.tolist(), ends)]

    def monomials(self, degree: int) -> Tensor:
        """x^a y^b z^c with a + b + c = degree, (n_pairs, n_monomials)."""
        while len(self._powers) <= degree:
            self._powers.append(self._powers[-1] * self._powers[1])
        power = self._powers
        return torch.stack(
            [power[a][:, 0] * power[b][:, 1] * power[c][:, 2] for a, b, c in components(degree)], 1
        )

    def sum(self, values: Tensor) -> Tensor:
        """Sum over the neighbours of each atom, (n_atoms, columns)."""
        return values.new_zeros(self._n_atoms, values.shape[1]).index_add(0, self._first, values)


def pair_terms(
    environment: Environment, feature: PeerFeature, densities: Mapping[int, ElementDensity]
) -> Tensor:
    """Contribution of each pair to each component of an order.

    Parameters
    ----------
    environment : Environment
    feature : PeerFeature
        Its order, width, prefactor and form; the group does not matter.
    densities : mapping of int to ElementDensity

    Returns
    -------
    Tensor, shape (n_pairs, n_components)
        Components as :func:`hpopt_lib.gmp.polynomials.components` lists them.
    """
    averages = [
        gaussian_average(component, solid=feature.inverse_rs is None)
        for component in components(max(feature.order, 0))
    ]
    channels = sorted({channel for average in averages for channel in average})
    angular = []
    for degree, power in channels:
        rows = [
            [average.get((degree, power), {}).get(n, 0.0) for average in averages] for n in components(degree)
        ]
        angular.append(environment.monomials(degree) @ torch.tensor(rows, dtype=torch.float64))
    parts, low = [], 0
    for number, squared in environment.elements():
        heights, weights = _gaussians(densities[number], squared, feature, channels)
        # Amplitudes of some densities cancel in four digits: each Gaussian's polynomial is finished before
        # Gaussians are added, as in the other codes, so that the same digits are lost.
        total = heights.new_zeros(len(squared), len(averages))
        for height, factors in zip(heights.unbind(1), weights):
            polynomial = sum(f * a[low : low + len(squared)] for f, a in zip(factors, angular))
            total = total + height[:, None] * polynomial
        parts.append(total)
        low += len(squared)
    return torch.cat(parts)


def _gaussians(
    density: ElementDensity, squared: Tensor, feature: PeerFeature, channels: list[tuple[int, int]]
) -> tuple[Tensor, Tensor]:
    """K of each pair and Gaussian, and lam^p (4 gamma)^-q of each Gaussian and channel, lengths over rs."""
    amplitudes, exponents = torch.tensor(density.amplitudes), torch.tensor(density.exponents)
    if feature.order < 0:
        return amplitudes * torch.exp(-exponents * squared[:, None]), torch.ones_like(exponents)[:, None]
    scale = feature.inverse_rs or 1.0
    alpha = 1.0 / (2.0 * feature.sigma**2)
    gamma = alpha + exponents
    centre = exponents / gamma
    heights = (
        feature.prefactor
        * amplitudes
        * (math.pi / gamma) ** 1.5
        * torch.exp(-(alpha * exponents / gamma) * squared[:, None])
    )
    factors = [(centre * scale) ** p * (scale**2 / (4.0 * gamma)) ** q for p, q in channels]
    return heights, torch.stack(factors, dim=1)
