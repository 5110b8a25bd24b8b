"""Maxwell-Cartesian polynomials: the angular probes of the original GMP codes, component by component.

Order l has one polynomial H_n for every n = (nx, ny, nz) with nx + ny + nz = l, (2l-1)!! times a component
of the symmetric traceless tensor of degree l. In *solid* form H_n is homogeneous of degree l. The *surface*
form puts 1 for every r^2 that the trace removes, as if all points lay on the unit sphere; it is a
polynomial of mixed degree, e.g. 3 x^2 - 1 instead of 3 x^2 - r^2, and not divided by r^2.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Mapping
from functools import lru_cache

Exponents = tuple[int, int, int]
Polynomial = dict[Exponents, float]


def components(order: int) -> list[Exponents]:
    """All (nx, ny, nz) of one order, in descending lexicographic order: (order + 1)(order + 2)/2 of them."""
    return [(nx, ny, order - nx - ny) for nx in range(order, -1, -1) for ny in range(order - nx, -1, -1)]


def groups(order: int) -> list[Exponents]:
    """Groups of components that are permutations of each other: group number k is entry k - 1.

    Descending: order 3 has the groups (3, 0, 0), (2, 1, 0) and (1, 1, 1).
    """
    return [n for n in components(order) if n[0] >= n[1] >= n[2]]


def multinomial(component: Exponents) -> float:
    """l! / (nx! ny! nz!): how often a component occurs in the full tensor."""
    return math.factorial(sum(component)) / math.prod(math.factorial(n) for n in component)


@lru_cache(maxsize=1024)
def maxwell_cartesian(component: Exponents, *, solid: bool) -> Mapping[Exponents, float]:
    """Coefficients of H_n by the exponents of x, y and z.

    Parameters
    ----------
    component : tuple of int
        (nx, ny, nz).
    solid : bool
        The homogeneous polynomial; False gives the surface form.
    """
    order = sum(component)
    polynomial: Polynomial = {}
    for halves in itertools.product(*(range(n // 2 + 1) for n in component)):
        traces = sum(halves)
        coefficient = (-1.0) ** traces * math.prod(range(2 * (order - traces) - 1, 0, -2))
        for n, k in zip(component, halves):
            coefficient *= math.factorial(n) / (2**k * math.factorial(k) * math.factorial(n - 2 * k))
        rest = (component[0] - 2 * halves[0], component[1] - 2 * halves[1], component[2] - 2 * halves[2])
        # r^(2 traces) written out, or 1
        for extra in components(traces) if solid else [(0, 0, 0)]:
            key = (rest[0] + 2 * extra[0], rest[1] + 2 * extra[1], rest[2] + 2 * extra[2])
            polynomial[key] = polynomial.get(key, 0.0) + coefficient * multinomial(extra)
    return {key: value for key, value in polynomial.items() if value != 0.0}


def laplacian(polynomial: Mapping[Exponents, float]) -> Polynomial:
    """Second derivatives summed; empty for a harmonic polynomial (all coefficients are whole numbers)."""
    result: Polynomial = {}
    for key, value in polynomial.items():
        for axis, n in enumerate(key):
            if n >= 2:
                lowered = (key[0] - 2 * (axis == 0), key[1] - 2 * (axis == 1), key[2] - 2 * (axis == 2))
                result[lowered] = result.get(lowered, 0.0) + value * n * (n - 1)
    return {key: value for key, value in result.items() if value != 0.0}


def gaussian_average(component: Exponents, *, solid: bool) -> dict[tuple[int, int], Polynomial]:
    r"""H_n averaged over a Gaussian, as a polynomial in the Gaussian's centre.

    For a Gaussian exp(-gamma (t - c)^2), ``<H_n(t)> = sum_q (4 gamma)^-q / q! (Laplacian^q H_n)(c)``.
    A solid polynomial is harmonic: only q = 0 is left and the average is the value at the centre.

    Parameters
    ----------
    component : tuple of int
        (nx, ny, nz).
    solid : bool

    Returns
    -------
    dict
        (degree p, power q) -> the part of Laplacian^q H_n / q! that is homogeneous of degree p.
    """
    parts: dict[tuple[int, int], Polynomial] = {}
    polynomial: Mapping[Exponents, float] = maxwell_cartesian(component, solid=solid)
    for power in range(sum(component) // 2 + 1):
        for key, value in polynomial.items():
            parts.setdefault((sum(key), power), {})[key] = value / math.factorial(power)
        polynomial = laplacian(polynomial)
    return parts
