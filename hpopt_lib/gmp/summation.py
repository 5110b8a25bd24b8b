"""Order norms from pairs of atoms by operations of PyTorch, in pieces of bounded memory."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.utils.checkpoint import checkpoint

from hpopt_lib.errors import HpoptError
from hpopt_lib.gmp.densities import ElementDensity
from hpopt_lib.gmp.harmonics import solid_harmonics
from hpopt_lib.gmp.neighbors import neighbor_pairs
from hpopt_lib.gmp.padding import chunks, padded, padded_slots
from hpopt_lib.gmp.radial import radial_terms, smooth_switch
from hpopt_lib.gmp.settings import GMPSettings
from hpopt_lib.gmp.torch_tables import TorchTables

# Pairs of one piece of a large frame: about 25 MB of intermediates at 8 sigmas and order 3.
PAIRS_PER_CHUNK = 16384
# Rounding errors of a sum over neighbours, in units of its largest terms.
_ROUNDING = {t: n * torch.finfo(t).eps for t, n in ((torch.float64, 256), (torch.float32, 8))}


class PairSums:
    """Features by sums over pairs, their radial parts exact or from tables.

    Parameters
    ----------
    settings : GMPSettings
    densities : mapping of int to ElementDensity
    tables : TorchTables or None
        Radial parts; None sums Gaussians.
    """

    def __init__(
        self, settings: GMPSettings, densities: Mapping[int, ElementDensity], tables: TorchTables | None
    ) -> None:
        self.settings, self._densities, self._tables = settings, densities, tables
        self._sigmas = torch.tensor(settings.sigmas, dtype=torch.float64)
        self._terms: dict[int, tuple[Tensor, Tensor]] = {}
        self._norms = torch.tensor(
            [math.factorial(n) * math.prod(range(2 * n - 1, 0, -2)) for n in range(settings.max_order + 1)],
            dtype=torch.float64,
        )

    def _summed(
        self, positions: Tensor, numbers: np.ndarray, cell: Tensor, pbc: Any, sigmas: Tensor | None
    ) -> Tensor:
        """Features by operations of PyTorch, in pieces."""
        device = positions.device
        pairs = neighbor_pairs(
            positions.detach().cpu().numpy(),
            cell=cell.detach().cpu().numpy(),
            pbc=pbc,
            cutoff=self.settings.cutoff,
        )
        tracked = torch.is_grad_enabled() and any(
            variable.requires_grad for variable in (positions, cell, sigmas) if variable is not None
        )

        def block(start: int, stop: int, low: int, high: int) -> Tensor:
            first, second = pairs.first[low:high], pairs.second[low:high]
            shifts = torch.from_numpy(pairs.shifts[low:high]).to(device, torch.float64)
            here, there = torch.from_numpy(first).to(device), torch.from_numpy(second).to(device)
            displacement = positions[there] - positions[here] + shifts @ cell
            return self.features_from_pairs(
                displacement, first - start, numbers[second], stop - start, sigmas=sigmas
            )

        edges = np.concatenate([[0], np.cumsum(np.bincount(pairs.first, minlength=len(numbers)))])
        blocks = []
        for start, stop in chunks(edges, PAIRS_PER_CHUNK):
            limits = (start, stop, int(edges[start]), int(edges[stop]))
            if tracked and limits[3] - limits[2] < edges[-1]:
                blocks.append(checkpoint(block, *limits, use_reentrant=False, preserve_rng_state=False))
            else:
                blocks.append(block(*limits))
        if not blocks:
            return positions.new_zeros(0, self.settings.num_features)
        return torch.cat(blocks) if len(blocks) > 1 else blocks[0]

    def features_from_pairs(
        self,
        displacements: Tensor,
        first: np.ndarray,
        second_numbers: np.ndarray,
        n_atoms: int,
        *,
        sigmas: Tensor | None = None,
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
        sigmas : Tensor, shape (n_sigmas,), optional
            Widths in Å in place of those of the settings.

        Returns
        -------
        Tensor, shape (n_atoms, num_features), float64 (torch backend: its dtype)
        """
        if not len(first):
            return displacements.new_zeros(n_atoms, self.settings.num_features)
        max_order, n_sigmas = self.settings.max_order, len(self._sigmas)
        by_element = np.argsort(second_numbers, kind="stable")
        first = first[by_element]
        device = displacements.device
        displacements = displacements.index_select(0, torch.from_numpy(by_element).to(device))
        radial = self._radial(displacements, second_numbers[by_element], self._widths(sigmas))
        displacements = displacements.to(radial.dtype)
        angular = solid_harmonics(displacements, max_order)
        slots = torch.from_numpy(padded_slots(first, n_atoms)).to(device)
        padded_radial, padded_angular = padded(radial, slots), padded(angular, slots).transpose(1, 2)
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
            magnitude = torch.zeros_like(square).index_add_(0, torch.from_numpy(first).to(device), terms)
            above = square > _ROUNDING[radial.dtype] ** 2 * magnitude
        norms = self._norms.to(radial)[:, None]
        return ((torch.where(above, square, 1.0) * norms).sqrt() * above).flatten(1)

    def _radial(self, displacements: Tensor, sorted_numbers: np.ndarray, sigmas: Tensor | None) -> Tensor:
        squared = (displacements * displacements).sum(-1, keepdim=True)
        if self._tables is not None and sigmas is None:
            return self._tables.radial(squared, sorted_numbers)
        bounds = np.concatenate([[0], np.flatnonzero(np.diff(sorted_numbers)) + 1, [len(sorted_numbers)]])
        parts = []
        for low, high in zip(bounds[:-1].tolist(), bounds[1:].tolist()):
            rates, weights = (
                term.to(squared.device) for term in self._element_terms(int(sorted_numbers[low]), sigmas)
            )
            parts.append(torch.exp(squared[low:high] * -rates) @ weights)
        radial = torch.cat(parts)
        return (
            radial * smooth_switch(squared, self.settings.cutoff) if self.settings.smooth_cutoff else radial
        )

    def _element_terms(self, number: int, sigmas: Tensor | None) -> tuple[Tensor, Tensor]:
        if sigmas is not None:
            return radial_terms(self._densities[number], sigmas, self.settings.max_order)
        if number not in self._terms:
            self._terms[number] = radial_terms(self._densities[number], self._sigmas, self.settings.max_order)
        return self._terms[number]

    def _widths(self, sigmas: Tensor | None) -> Tensor | None:
        if sigmas is None:
            return None
        if sigmas.shape != self._sigmas.shape or not bool((sigmas > 0).all()):
            raise HpoptError(
                f"GMP features: sigmas: {sigmas.tolist()}",
                remedy=f"give {len(self._sigmas)} positive widths in Å",
            )
        return sigmas.to(torch.float64)
