"""Real solid harmonics in the normalisation that makes rotation-invariant norms simple."""

from __future__ import annotations

import math

import torch
from torch import Tensor


def solid_harmonics(vectors: Tensor, max_order: int) -> Tensor:
    r"""Real solid harmonics S_lm of orders 0..max_order.

    They are homogeneous polynomials of degree l, normalised such that
    ``sum_m S_lm(a) S_lm(b) = |a|^l |b|^l P_l(cos(a, b))`` with the Legendre polynomial P_l, so that
    ``sum_m S_lm(a)^2 = |a|^(2l)``. Being polynomials they are smooth at the origin.

    Parameters
    ----------
    vectors : Tensor, shape (n, 3)
        Vectors in Å.
    max_order : int
        Highest order l.

    Returns
    -------
    Tensor, shape (n, (max_order + 1)**2)
        Orders ascending; column block ``l**2 : (l + 1)**2`` holds the 2l + 1 components of order l, in Å^l.

    Notes
    -----
    Recursions for the associated Legendre functions in z and r² and for Re, Im (x + iy)^m, as in
    T. Helgaker, P. Jørgensen, J. Olsen, Molecular Electronic-Structure Theory, section 6.4.
    """
    x, y, z = vectors.unbind(-1)
    squared = x * x + y * y + z * z
    blocks: list[list[Tensor]] = [[] for _ in range(max_order + 1)]
    real, imaginary = torch.ones_like(x), torch.zeros_like(x)
    for m in range(max_order + 1):
        if m:
            real, imaginary = x * real - y * imaginary, x * imaginary + y * real
        for order, zonal in _zonal_parts(z, squared, m, max_order):
            if m == 0:
                blocks[order].append(zonal)
            else:
                scale = math.sqrt(2.0 * math.factorial(order - m) / math.factorial(order + m))
                scaled = scale * zonal
                blocks[order] += [scaled * real, scaled * imaginary]
    return torch.stack([component for block in blocks for component in block], dim=-1)


def _zonal_parts(z: Tensor, squared: Tensor, m: int, max_order: int) -> list[tuple[int, Tensor]]:
    """(l, r^(l-m) times the m-th derivative of P_l at z/r) for l = m..max_order."""
    previous = torch.full_like(z, float(math.prod(range(2 * m - 1, 0, -2))))
    parts = [(m, previous)]
    if max_order == m:
        return parts
    current = (2 * m + 1) * z * previous
    parts.append((m + 1, current))
    for order in range(m + 2, max_order + 1):
        previous, current = (
            current,
            ((2 * order - 1) * z * current - (order + m - 1) * squared * previous) / (order - m),
        )
        parts.append((order, current))
    return parts
