"""The radial part of the features: sums of Gaussians, and the smooth end of the sum."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from hpopt_lib.gmp.densities import ElementDensity

#: Fraction of the cutoff radius at which the smooth cutoff begins.
SWITCH_START = 0.8


def smooth_switch(squared_distance: Tensor, cutoff: float) -> Tensor:
    """Switch from 1 to 0 over the last fifth of the cutoff.

    ``1 - 10 t^3 + 15 t^4 - 6 t^5`` with t running from 0 at ``|d| = 0.8 cutoff`` to 1 at the cutoff,
    linear in the squared distance. Value, first and second derivative are continuous.

    Parameters
    ----------
    squared_distance : Tensor
        Squared distances in Å².
    cutoff : float
        Cutoff radius in Å.
    """
    start = (SWITCH_START * cutoff) ** 2
    t = ((squared_distance - start) / (cutoff * cutoff - start)).clamp(0.0, 1.0)
    return 1.0 - t * t * t * (10.0 + t * (6.0 * t - 15.0))


def radial_terms(density: ElementDensity, sigmas: Tensor, max_order: int) -> tuple[Tensor, Tensor]:
    """Decay rates and weights of R_l(u) = sum_g weight exp(-rate u) for one element.

    Parameters
    ----------
    density : ElementDensity
        Gaussians of the element.
    sigmas : Tensor, shape (n_sigmas,)
        Probe widths in Å.
    max_order : int
        Highest order.

    Returns
    -------
    rates : Tensor, shape (n_gaussians * n_sigmas,)
        In Å⁻².
    weights : Tensor, shape (n_gaussians * n_sigmas, (max_order + 1) * n_sigmas)
        Block-diagonal in sigma, so that one matrix product sums the Gaussians of all orders and sigmas.
    """
    amplitudes = torch.tensor(density.amplitudes, dtype=sigmas.dtype)[:, None]
    exponents = torch.tensor(density.exponents, dtype=sigmas.dtype)[:, None]
    probe = 1.0 / (2.0 * sigmas**2)
    total = probe + exponents
    centre = exponents / total
    integral = amplitudes * (math.pi / total) ** 1.5 * (2.0 * math.pi * sigmas**2) ** -1.5
    powers = centre[:, None, :] ** torch.arange(max_order + 1, dtype=sigmas.dtype)[:, None]
    weights = torch.einsum(
        "gls,st->gslt", integral[:, None, :] * powers, torch.eye(len(sigmas), dtype=sigmas.dtype)
    )
    return (probe * centre).reshape(-1), weights.reshape(centre.numel(), -1)
