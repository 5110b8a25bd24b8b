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

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import Tensor

from hpopt_lib.errors import HpoptError
from hpopt_lib.gmp.backends import Backend
from hpopt_lib.gmp.densities import (
    ElementDensity,
    load_densities,
    require_elements,
    shipped_label,
    table_label,
)
from hpopt_lib.gmp.settings import GMPSettings
from hpopt_lib.gmp.summation import PairSums
from hpopt_lib.gmp.torch_tables import TorchTables

if TYPE_CHECKING:
    from hpopt_lib.gmp.numba_backend import NumbaBackend


class GMPFeaturizer(PairSums):
    """Order-norm GMP features of structures.

    Parameters
    ----------
    settings : GMPSettings
        Sigmas, orders and cutoff.
    densities : mapping of int to ElementDensity, optional
        Densities by atomic number, by default those the settings were made with (the shipped table).
    backend : {"auto", "exact", "torch", "numba"}
        See :class:`hpopt_lib.gmp.backends.Backend`. Tables are right to about 1e-9 (float64) or 1e-6
        (float32) of the largest value of a column, exact sums to rounding.
    dtype : {"float64", "float32"}
        Type of the sums.
    threads : int
        Threads of the numba backend.

    Attributes
    ----------
    settings : GMPSettings
        The settings, with the fingerprint of the densities that are used.

    Raises
    ------
    HpoptError
        The settings belong to another table of densities, or the backend is not available.

    Examples
    --------
    >>> from ase.build import molecule
    >>> GMPFeaturizer(GMPSettings(sigmas=(0.5, 1.0), max_order=2))(molecule("H2O")).shape
    (3, 6)
    """

    def __init__(
        self,
        settings: GMPSettings,
        densities: Mapping[int, ElementDensity] | None = None,
        *,
        backend: str = "auto",
        dtype: str = "float64",
        threads: int = 1,
    ) -> None:
        self.backend = Backend(backend, dtype, threads)
        self._plain, self._differentiable = self.backend.plain, self.backend.differentiable
        if densities is None:
            densities = load_densities()
            if settings.densities != shipped_label():
                raise HpoptError(
                    f"GMP settings: densities: {settings.densities} is not the shipped {shipped_label()}",
                    remedy="give the table that these settings were made with, or featurise again",
                )
        tabulated = "torch" in (self._plain, self._differentiable)
        settings = replace(settings, densities=table_label(densities))
        super().__init__(settings, densities, TorchTables(settings, densities, dtype) if tabulated else None)
        self._numba: NumbaBackend | None = None

    def __call__(self, atoms: Any) -> np.ndarray:
        """Features of an :class:`ase.Atoms`, shape (n_atoms, num_features), float64 whatever the backend.

        Raises
        ------
        HpoptError
            An element has no density, a position is not finite, or a periodic direction has no cell vector.
        """
        if self._plain == "numba":
            kernels = self.numba_backend()
            if not kernels.knows(atoms.numbers):
                require_elements(self._densities, np.unique(atoms.numbers))
            frame = kernels.structure(atoms.positions, atoms.numbers, atoms.cell.array, atoms.pbc)
            return kernels.features(frame)[0]
        with torch.no_grad():
            values = self.features_torch(
                torch.tensor(atoms.positions), atoms.numbers, torch.tensor(atoms.cell.array), atoms.pbc
            )
        return values.numpy().astype(float, copy=False)

    def numba_backend(self) -> NumbaBackend:
        """The compiled kernels for these settings, made when first asked for.

        Raises
        ------
        HpoptError
            numba is not installed.
        """
        if self._numba is None:
            choice = Backend("numba", self.backend.dtype, self.backend.threads)
            from hpopt_lib.gmp.numba_backend import NumbaBackend

            self._numba = NumbaBackend(
                self.settings, self._densities, dtype=choice.dtype, threads=choice.threads
            )
        return self._numba

    def features_torch(
        self,
        positions: Tensor,
        numbers: Sequence[int] | np.ndarray | Tensor,
        cell: Tensor,
        pbc: Any,
        *,
        sigmas: Tensor | None = None,
    ) -> Tensor:
        """Features as a tensor that can be differentiated with respect to positions, cell and widths.

        Parameters
        ----------
        positions : Tensor, shape (n_atoms, 3)
            Positions in Å; the features are computed on their device (numba: on the CPU).
        numbers : sequence of int, shape (n_atoms,)
            Atomic numbers.
        cell : Tensor, shape (3, 3)
            Rows are lattice vectors in Å (zeros for a molecule).
        pbc : sequence of bool, shape (3,)
            Periodic directions.
        sigmas : Tensor, shape (n_sigmas,), optional
            Widths in Å in place of those of the settings, e.g. to learn them; computed by the exact sums.

        Returns
        -------
        Tensor, shape (n_atoms, num_features), float64 (torch backend: its dtype)
            Columns as in :meth:`GMPSettings.feature_names`. A norm of zero (an isolated atom, an inversion
            centre) has the gradient zero.

        Raises
        ------
        HpoptError
            As on calling; also for widths that are not positive or not as many as in the settings.
        """
        sigmas = self._widths(sigmas)
        numbers = np.asarray(numbers, dtype=np.int64)
        require_elements(self._densities, np.unique(numbers))
        positions, cell = positions.to(torch.float64), cell.to(positions.device, torch.float64)
        if sigmas is None and self._differentiable == "numba":
            from hpopt_lib.gmp.differentiable import differentiable_features

            if positions.device.type != "cpu":
                raise HpoptError(
                    f"GMP backend: numba cannot compute on {positions.device}", remedy="choose torch"
                )
            return differentiable_features(
                self.numba_backend(), positions, numbers, cell, pbc,
                exact=lambda places, box: self._summed(places, numbers, box, pbc, None),
            )  # fmt: skip
        return self._summed(positions, numbers, cell, pbc, sigmas)
