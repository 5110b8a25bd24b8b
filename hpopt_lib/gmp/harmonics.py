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


def recursion_terms(max_order: int) -> list[tuple[int, int, float, int, int, float, int]]:
    r"""The same harmonics as steps of one form, for compiled kernels.

    Returns
    -------
    list of tuple
        ``(column, u, a, left, v, b, right)``: ``S[column] = a * w[u] * S[left] + b * w[v] * S[right]`` with
        w = (x, y, z, r²); columns as in :func:`solid_harmonics`, of which the first is 1.

    Notes
    -----
    T. Helgaker, P. Jørgensen, J. Olsen, Molecular Electronic-Structure Theory, equations 6.4.70 to 6.4.72.
    """
    x, y, z, squared = range(4)
    terms = []
    for order in range(max_order):
        top = order + 1
        scale = math.sqrt((2 * order + 1) / (2 * order + 2) * (2.0 if order == 0 else 1.0))
        real, imaginary = _column(order, order, 0), _column(order, order, 1 if order else 0)
        zero = 0.0 if order == 0 else scale  # order 0 has no imaginary part
        terms.append((_column(top, top, 0), x, scale, real, y, -zero, imaginary))
        terms.append((_column(top, top, 1), y, scale, real, x, zero, imaginary))
        for m in range(top):
            divisor = math.sqrt((order + m + 1) * (order - m + 1))
            a, b = (2 * order + 1) / divisor, -math.sqrt((order + m) * (order - m)) / divisor
            for part in range(2 if m else 1):
                left = _column(order, m, part)
                right = _column(order - 1, m, part) if b else left
                terms.append((_column(top, m, part), z, a, left, squared, b, right))
    return terms


def gradient_terms(max_order: int) -> list[tuple[int, int, int, float]]:
    """Gradients of the harmonics as sums of harmonics of the order below.

    Returns
    -------
    list of tuple
        ``(axis, column, of, factor)``: the derivative of S[column] along the axis has the term
        ``factor * S[of]``.

    Notes
    -----
    From the ladder operators for U = (z-part) (x + iy)^m: with a² = (l+m)(l+m-1), b² = (l-m)(l-m-1),
    ``(d/dx - i d/dy) U_lm = a U_(l-1,m-1)``, ``(d/dx + i d/dy) U_lm = -b U_(l-1,m+1)`` and
    ``dU_lm/dz = sqrt((l+m)(l-m)) U_(l-1,m)``; the columns are sqrt(2) Re U and sqrt(2) Im U, and U_l0.
    """
    terms = []
    for order in range(1, max_order + 1):
        for m in range(order + 1):
            up = 0.5 * math.sqrt((order - m) * (order - m - 1))
            down = 0.5 * math.sqrt((order + m) * (order + m - 1))
            for part in range(2 if m else 1):
                own, sign = _column(order, m, part), -1.0 if part == 0 else 1.0
                if m < order:
                    slope = math.sqrt((order + m) * (order - m))
                    terms.append((2, own, _column(order - 1, m, part), slope))
                if m == 0 and up:
                    terms += [
                        (axis, own, _column(order - 1, 1, axis), -math.sqrt(2.0) * up) for axis in (0, 1)
                    ]
                if m and up:
                    terms.append((0, own, _column(order - 1, m + 1, part), -up))
                    terms.append((1, own, _column(order - 1, m + 1, 1 - part), sign * up))
                if m == 1 and part == 0:
                    terms.append((0, own, _column(order - 1, 0, 0), math.sqrt(2.0) * down))
                if m == 1 and part == 1:
                    terms.append((1, own, _column(order - 1, 0, 0), math.sqrt(2.0) * down))
                if m > 1:
                    terms.append((0, own, _column(order - 1, m - 1, part), down))
                    terms.append((1, own, _column(order - 1, m - 1, 1 - part), sign * down))
    return terms


def _column(order: int, m: int, part: int) -> int:
    """Column of the real (part 0) or imaginary (part 1) component."""
    return order * order + (2 * m - 1 + part if m else 0)
