"""Behler-Parrinello symmetry functions of frames, computed by the package DScribe."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from ase import Atoms

from hpopt_lib.errors import HpoptError
from hpopt_lib.store import SplitArrays


@dataclass(frozen=True)
class SymmetrySettings:
    """Atom-centred symmetry functions (Behler and Parrinello 2007, Behler 2011).

    For each element of the neighbours one :math:`G^1` (the sum of the cutoff function) and the :math:`G^2`
    given; for each pair of elements the :math:`G^4` given. So the number of features grows with the square
    of the number of elements.

    Parameters
    ----------
    elements : tuple of str
        That neighbours may be of.
    radial : tuple of (float, float)
        Each :math:`G^2`: :math:`\\eta` in 1/Å² and the distance :math:`R_s` in Å of its maximum.
    angular : tuple of (float, float, float)
        Each :math:`G^4`: :math:`\\eta` in 1/Å², :math:`\\zeta` and :math:`\\lambda`.
    cutoff : float
        In Å.

    Raises
    ------
    HpoptError
        When no element is given, or one twice.

    Examples
    --------
    >>> SymmetrySettings(("H", "C", "O"), radial=((1.0, 0.0),), angular=((0.01, 1.0, 1.0),)).num_features
    12
    """

    elements: tuple[str, ...]
    radial: tuple[tuple[float, float], ...]
    angular: tuple[tuple[float, float, float], ...]
    cutoff: float = 6.0

    def __post_init__(self) -> None:
        if not self.elements or len(set(self.elements)) != len(self.elements):
            raise HpoptError(
                f"symmetry functions: elements: {self.elements}", remedy="give each element once"
            )

    @property
    def num_features(self) -> int:
        """Number of features of an atom."""
        n = len(self.elements)
        return n * (1 + len(self.radial)) + n * (n + 1) // 2 * len(self.angular)


class SymmetryFunctions:
    """Features of structures; a model of the elements given only.

    Parameters
    ----------
    settings : SymmetrySettings

    Raises
    ------
    HpoptError
        When DScribe is not installed.

    Examples
    --------
    >>> SymmetryFunctions(settings)(atoms).shape  # doctest: +SKIP
    (9, 36)
    """

    def __init__(self, settings: SymmetrySettings) -> None:
        try:
            from dscribe.descriptors import ACSF
        except ImportError as error:
            raise HpoptError(
                f"symmetry functions: they need the package dscribe ({error})", remedy="pip install dscribe"
            ) from error
        self.settings = settings
        self._acsf: Any = ACSF(
            r_cut=settings.cutoff,
            g2_params=[list(one) for one in settings.radial] or None,
            g4_params=[list(one) for one in settings.angular] or None,
            species=list(settings.elements),
        )

    def __call__(self, atoms: Atoms) -> np.ndarray:
        """Features of one structure, shape (n_atoms, n_features).

        Raises
        ------
        HpoptError
            For an element that the functions were not made for, or a periodic structure.
        """
        if unknown := sorted(set(atoms.symbols) - set(self.settings.elements)):
            raise HpoptError(
                f"symmetry functions: no functions for {', '.join(unknown)}",
                remedy=f"the elements are {', '.join(self.settings.elements)}; others need new functions, "
                "hence new networks and a new training",
            )
        if atoms.pbc.any():
            raise HpoptError("symmetry functions: the structure is periodic", remedy="give molecules")
        return np.asarray(self._acsf.create(atoms))


def structures(arrays: SplitArrays) -> Iterator[Atoms]:
    """The structures of frames."""
    first = 0
    for n, cell, pbc in zip(arrays.n_atoms, arrays.cells, arrays.pbc):
        atoms = slice(first, first + int(n))
        yield Atoms(arrays.numbers[atoms], positions=arrays.positions[atoms], cell=cell, pbc=pbc)
        first += int(n)


def candidates(elements: Sequence[str], cutoff: float = 6.0) -> dict[str, SymmetrySettings]:
    """Sets of symmetry functions with 36 features for three elements, to choose from.

    Widths lie geometrically between a fifth of the cutoff and a chemical bond's; shifted functions lie evenly
    between 0.9 Å and two thirds of the cutoff, as wide as their distance.
    """

    def centred(n: int) -> tuple[tuple[float, float], ...]:
        return tuple((float(eta), 0.0) for eta in np.geomspace(0.05, 4.0, n).round(4))

    def shifted(n: int) -> tuple[tuple[float, float], ...]:
        places = np.linspace(0.9, 2 * cutoff / 3, n)
        eta = round(float(1 / (places[1] - places[0]) ** 2), 4)
        return tuple((eta, float(place)) for place in places.round(4))

    def angles(zetas: Sequence[float], eta: float = 0.02) -> tuple[tuple[float, float, float], ...]:
        return tuple((eta, float(zeta), sign) for zeta in zetas for sign in (1.0, -1.0))

    names = tuple(elements)
    return {
        "7 radial, 2 angular": SymmetrySettings(names, centred(7), angles([1]), cutoff),
        "3 radial, 4 angular": SymmetrySettings(names, centred(3), angles([1, 4]), cutoff),
        "7 shifted radial, 2 angular": SymmetrySettings(names, shifted(7), angles([1]), cutoff),
    }
