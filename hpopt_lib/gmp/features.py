"""Gaussian multipole (GMP) order norms in PyTorch, differentiable with respect to positions and cell.

With R the radial part of an element and S_lm real solid harmonics::

    M_lm(i, sigma) = sum_j  R_l(|d_ij|^2; sigma, Z_j) S_lm(d_ij)
    F_l(i, sigma)  = sqrt( l! (2l-1)!!  sum_m M_lm(i, sigma)^2 )

The sum runs over all neighbours and the atom itself. The probe is A exp(-r^2 / (2 sigma^2)) with
A = (sigma sqrt(2 pi))^-3, so that F_0 is the density seen by a probe of unit weight, in e/Å³.
Form of X. Lei and A. J. Medford, J. Phys. Chem. Lett. 13, 7911 (2022), with the Gaussian averages of the
harmonics carried out: a harmonic polynomial averaged over a Gaussian is its value at the centre.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.utils.checkpoint import checkpoint

from hpopt_lib.errors import HpoptError
from hpopt_lib.gmp.densities import (
    ElementDensity,
    load_densities,
    require_elements,
    shipped_label,
    table_label,
)
from hpopt_lib.gmp.harmonics import solid_harmonics
from hpopt_lib.gmp.neighbors import neighbor_pairs
from hpopt_lib.gmp.radial import radial_terms, smooth_switch
from hpopt_lib.gmp.settings import GMPSettings

# Pairs of one piece of a large frame: about 25 MB of intermediates at 8 sigmas and order 3.
PAIRS_PER_CHUNK = 16384
_ROUNDING = 256 * torch.finfo(torch.float64).eps


class GMPFeaturizer:
    """Order-norm GMP features of structures, in float64 by direct summation of Gaussians.

    Parameters
    ----------
    settings : GMPSettings
        Sigmas, orders and cutoff.
    densities : mapping of int to ElementDensity, optional
        Densities by atomic number, by default those the settings were made with (the shipped table).

    Attributes
    ----------
    settings : GMPSettings
        The settings, with the fingerprint of the densities that are used.

    Raises
    ------
    HpoptError
        The settings belong to another table of densities.

    Examples
    --------
    >>> from ase.build import molecule
    >>> GMPFeaturizer(GMPSettings(sigmas=(0.5, 1.0), max_order=2))(molecule("H2O")).shape
    (3, 6)
    """

    def __init__(self, settings: GMPSettings, densities: Mapping[int, ElementDensity] | None = None) -> None:
        if densities is None:
            densities = load_densities()
            if settings.densities != shipped_label():
                raise HpoptError(
                    f"GMP settings: densities: {settings.densities} is not the shipped {shipped_label()}",
                    remedy="give the table that these settings were made with, or featurise again",
                )
        self.settings = replace(settings, densities=table_label(densities))
        self._densities = densities
        self._sigmas = torch.tensor(settings.sigmas, dtype=torch.float64)
        self._terms: dict[int, tuple[Tensor, Tensor]] = {}
        self._norms = torch.tensor(
            [math.factorial(n) * math.prod(range(2 * n - 1, 0, -2)) for n in range(settings.max_order + 1)],
            dtype=torch.float64,
        )

    def __call__(self, atoms: Any) -> np.ndarray:
        """Features of an :class:`ase.Atoms`, shape (n_atoms, num_features), float64.

        Raises
        ------
        HpoptError
            An element has no density, a position is not finite, or a periodic direction has no cell vector.
        """
        with torch.no_grad():
            return self.features_torch(
                torch.tensor(atoms.positions), atoms.numbers, torch.tensor(atoms.cell.array), atoms.pbc
            ).numpy()

    def features_torch(
        self, positions: Tensor, numbers: Sequence[int] | np.ndarray | Tensor, cell: Tensor, pbc: Any
    ) -> Tensor:
        """Features as a tensor that can be differentiated with respect to `positions` and `cell`.

        Parameters
        ----------
        positions : Tensor, shape (n_atoms, 3)
            Positions in Å.
        numbers : sequence of int, shape (n_atoms,)
            Atomic numbers.
        cell : Tensor, shape (3, 3)
            Rows are lattice vectors in Å (zeros for a molecule).
        pbc : sequence of bool, shape (3,)
            Periodic directions.

        Returns
        -------
        Tensor, shape (n_atoms, num_features), float64
            Columns as in :meth:`GMPSettings.feature_names`. A norm of zero (an isolated atom, an inversion
            centre) has the gradient zero.
        """
        numbers = np.asarray(numbers, dtype=np.int64)
        require_elements(self._densities, np.unique(numbers))
        positions, cell = positions.to(torch.float64), cell.to(torch.float64)
        pairs = neighbor_pairs(
            positions.detach().numpy(), cell=cell.detach().numpy(), pbc=pbc, cutoff=self.settings.cutoff
        )
        tracked = torch.is_grad_enabled() and (positions.requires_grad or cell.requires_grad)

        def block(start: int, stop: int, low: int, high: int) -> Tensor:
            first, second = pairs.first[low:high], pairs.second[low:high]
            shifts = torch.from_numpy(pairs.shifts[low:high]).to(torch.float64)
            displacement = (
                positions[torch.from_numpy(second)] - positions[torch.from_numpy(first)] + shifts @ cell
            )
            return self.features_from_pairs(displacement, first - start, numbers[second], stop - start)

        edges = np.concatenate([[0], np.cumsum(np.bincount(pairs.first, minlength=len(numbers)))])
        blocks = []
        for start, stop in _chunks(edges, PAIRS_PER_CHUNK):
            limits = (start, stop, int(edges[start]), int(edges[stop]))
            if tracked and limits[3] - limits[2] < edges[-1]:
                blocks.append(checkpoint(block, *limits, use_reentrant=False, preserve_rng_state=False))
            else:
                blocks.append(block(*limits))
        if not blocks:
            return torch.zeros((0, self.settings.num_features), dtype=torch.float64)
        return torch.cat(blocks) if len(blocks) > 1 else blocks[0]

    def features_from_pairs(
        self, displacements: Tensor, first: np.ndarray, second_numbers: np.ndarray, n_atoms: int
    ) -> Tensor:
        """Features from displacement vectors, for batches of structures and other neighbour lists.

        Parameters
        ----------
        displacements : Tensor, shape (n_pairs, 3)
            Vectors from each centre to its neighbour in Å, the self pairs (exactly 0) included.
        first : numpy.ndarray, shape (n_pairs,)
            Index of the centre of each pair, 0..n_atoms - 1.
        second_numbers : numpy.ndarray, shape (n_pairs,)
            Atomic number of the neighbour of each pair.
        n_atoms : int
            Number of centres; one without pairs has features of zero.

        Returns
        -------
        Tensor, shape (n_atoms, num_features), float64
        """
        if not len(first):
            return displacements.new_zeros(n_atoms, self.settings.num_features)
        max_order, n_sigmas = self.settings.max_order, len(self._sigmas)
        by_element = np.argsort(second_numbers, kind="stable")
        first = first[by_element]
        displacements = displacements.index_select(0, torch.from_numpy(by_element))
        radial = self._radial(displacements, second_numbers[by_element])
        angular = solid_harmonics(displacements, max_order)
        slots = torch.from_numpy(_padded_slots(first, n_atoms))
        padded_radial, padded_angular = _padded(radial, slots), _padded(angular, slots).transpose(1, 2)
        squares = [
            (padded_angular[:, n * n : (n + 1) ** 2] @ padded_radial[:, :, n * n_sigmas : (n + 1) * n_sigmas])
            .square()
            .sum(1)
            for n in range(max_order + 1)
        ]
        square = torch.stack(squares, dim=1)
        # What is smaller than the rounding error of the sum is zero by symmetry: its value and, worse, the
        # direction of its gradient would be noise.
        with torch.no_grad():
            lengths = displacements.square().sum(-1, keepdim=True).expand(-1, max_order).cumprod(-1)
            terms = radial.view(len(first), max_order + 1, n_sigmas).square()
            terms[:, 1:] *= lengths[:, :, None]
            magnitude = torch.zeros_like(square).index_add_(0, torch.from_numpy(first), terms)
            above = square > _ROUNDING**2 * magnitude
        return ((torch.where(above, square, 1.0) * self._norms[:, None]).sqrt() * above).flatten(1)

    def _radial(self, displacements: Tensor, sorted_numbers: np.ndarray) -> Tensor:
        squared = (displacements * displacements).sum(-1, keepdim=True)
        bounds = np.concatenate([[0], np.flatnonzero(np.diff(sorted_numbers)) + 1, [len(sorted_numbers)]])
        parts = []
        for low, high in zip(bounds[:-1].tolist(), bounds[1:].tolist()):
            rates, weights = self._element_terms(int(sorted_numbers[low]))
            parts.append(torch.exp(squared[low:high] * -rates) @ weights)
        radial = torch.cat(parts)
        return (
            radial * smooth_switch(squared, self.settings.cutoff) if self.settings.smooth_cutoff else radial
        )

    def _element_terms(self, number: int) -> tuple[Tensor, Tensor]:
        if number not in self._terms:
            self._terms[number] = radial_terms(self._densities[number], self._sigmas, self.settings.max_order)
        return self._terms[number]


def _padded(values: Tensor, slots: Tensor) -> Tensor:
    """Rows of each atom's pairs, (n_atoms, most pairs of one atom, columns), zeros where it has fewer."""
    return torch.cat([values, values.new_zeros(1, values.shape[1])])[slots]


def _padded_slots(first: np.ndarray, n_atoms: int) -> np.ndarray:
    """Indices into the pairs of each atom, (n_atoms, most pairs of one atom), filled with len(first)."""
    counts = np.bincount(first, minlength=n_atoms)
    slots = np.full((n_atoms, int(counts.max(initial=0))), len(first))
    order = np.argsort(first, kind="stable")
    starts = np.cumsum(counts) - counts
    slots[first[order], np.arange(len(first)) - starts[first[order]]] = order
    return slots


def _chunks(edges: np.ndarray, limit: int) -> list[tuple[int, int]]:
    """Runs of atoms with at most `limit` pairs together, at least one atom each."""
    chunks, start, last = [], 0, len(edges) - 1
    while start < last:
        stop = max(start + 1, int(np.searchsorted(edges, edges[start] + limit, side="right")) - 1)
        chunks.append((start, stop))
        start = stop
    return chunks
