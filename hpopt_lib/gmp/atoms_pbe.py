"""Spherical PBE atoms with GTH pseudopotentials on a radial grid: the densities behind the features.

Spin-restricted Kohn-Sham atoms with shells filled in the order of the periodic table and averaged over
angles. Orbitals are expanded in even-tempered Gaussians, integrals are done on a logarithmic grid, so no
basis-set library is needed. Everything in this module is in atomic units (bohr, hartree).

The functional comes from PySCF (optional extra ``densities``).
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field

import numpy as np
from scipy.special import erf

from hpopt_lib.errors import HpoptError
from hpopt_lib.gmp.gth_potentials import RADII, SHELL, STEP, WEIGHTS, Potential, Projector


@dataclass(frozen=True)
class Orbital:
    """One occupied shell: quantum number l, electrons in it, energy (hartree), density of one electron."""

    angular: int
    electrons: float
    energy: float
    density: np.ndarray


@dataclass(frozen=True)
class AtomResult:
    """A converged atom.

    Attributes
    ----------
    energy : float
        Total energy in hartree.
    density : numpy.ndarray
        Electrons per bohr³ on :data:`hpopt_lib.gmp.gth_potentials.RADII`.
    orbitals : tuple of Orbital
        Occupied shells, by l then energy.
    iterations : int
        Self-consistency steps taken.
    """

    energy: float
    density: np.ndarray
    orbitals: tuple[Orbital, ...]
    iterations: int


def solve_atom(
    potential: Potential,
    *,
    smallest: float = 0.03,
    largest: float = 200.0,
    ratio: float = 1.45,
    tolerance: float = 1e-7,
    max_iterations: int = 300,
) -> AtomResult:
    """Solve the Kohn-Sham equations of a spherical atom with the PBE functional.

    Parameters
    ----------
    potential : Potential
        Nucleus or pseudopotential with the occupations of the shells.
    smallest, largest, ratio : float
        Exponents of the even-tempered basis in bohr⁻²: smallest, upper bound, quotient of neighbours.
    tolerance : float
        Largest element of the commutator of Fock and density matrix at convergence, in hartree.
    max_iterations : int
        Steps after which the calculation is given up.

    Raises
    ------
    HpoptError
        No convergence within `max_iterations`.
    """
    exponents = smallest * ratio ** np.arange(int(math.log(largest / smallest) / math.log(ratio)) + 1)
    channels = [
        _Channel(angular, electrons, exponents, potential)
        for angular, electrons in enumerate(potential.occupations)
        if electrons > 0
    ]
    # A screened nucleus starts the iteration: the electrons of the valence spread over about a bohr.
    screening = 0.8 * potential.charge / RADII * erf(RADII / 1.2)
    density = _occupy(channels, [channel.fock(screening, None) for channel in channels])
    history: list[tuple[list[np.ndarray], np.ndarray]] = []
    last_energy = math.inf
    for iteration in range(1, max_iterations + 1):
        slope = np.sum([channel.density_slope() for channel in channels], axis=0)
        hartree, (exc, vrho, vsigma) = hartree_potential(density), _pbe(density, slope)
        focks = [channel.fock(hartree + vrho, 2.0 * vsigma * slope) for channel in channels]
        energy = sum(float(np.sum(channel.matrix * channel.core)) for channel in channels)
        energy += float(np.sum(SHELL * density * (0.5 * hartree + exc)))
        errors = np.concatenate([channel.commutator(fock) for channel, fock in zip(channels, focks)])
        if np.abs(errors).max() < tolerance and abs(energy - last_energy) < 1e-8:
            orbitals = tuple(orbital for channel in channels for orbital in channel.orbitals)
            return AtomResult(energy, density, orbitals, iteration)
        last_energy = energy
        history = [*history, (focks, errors)][-8:]
        density = _occupy(channels, _extrapolate(history))
    raise HpoptError(f"element densities: {potential.symbol}: no self-consistency in {max_iterations} steps")


def hartree_potential(density: np.ndarray) -> np.ndarray:
    """Electrostatic potential (hartree) of a spherical density (e/bohr³) on the grid."""
    inside = _cumulative(4.0 * math.pi * RADII**2 * density)
    outside = _cumulative(4.0 * math.pi * RADII * density)
    return inside / RADII + outside[-1] - outside


@dataclass
class _Channel:
    """All shells of one angular momentum."""

    angular: int
    electrons: float
    exponents: np.ndarray
    potential: Potential
    matrix: np.ndarray = field(init=False)
    orbitals: list[Orbital] = field(init=False, default_factory=list)

    def __post_init__(self) -> None:
        order, r = self.angular, RADII[:, None]
        functions = r**order * np.exp(-self.exponents * r**2)
        functions /= np.sqrt((functions**2 * (WEIGHTS * RADII**2)[:, None]).sum(0))
        self.functions = functions
        self.slopes = (order / r - 2.0 * self.exponents * r) * functions
        self.overlap = self._integrate(functions, RADII**2, functions)
        kinetic = self._integrate(self.slopes, RADII**2, self.slopes)
        kinetic = 0.5 * (
            kinetic + order * (order + 1) * self._integrate(functions, np.ones_like(RADII), functions)
        )
        self.core = kinetic + self._integrate(functions, RADII**2 * self.potential.local(), functions)
        if order < len(self.potential.projectors):
            self.core = self.core + self._separable(self.potential.projectors[order])
        values, vectors = np.linalg.eigh(self.overlap)
        kept = values > 1e-7
        self.orthogonal = vectors[:, kept] / np.sqrt(values[kept])
        self.matrix = np.zeros_like(self.core)

    @staticmethod
    def _integrate(left: np.ndarray, weight: np.ndarray, right: np.ndarray) -> np.ndarray:
        return left.T @ (right * (WEIGHTS * weight)[:, None])

    def _separable(self, projector: Projector) -> np.ndarray:
        rows = []
        for index in range(len(projector.coupling)):
            power = self.angular + 2 * index
            half = self.angular + (4 * index + 3) / 2
            shape = RADII**power * np.exp(-0.5 * (RADII / projector.radius) ** 2)
            shape *= math.sqrt(2.0 / math.gamma(half)) / projector.radius**half
            rows.append((shape * WEIGHTS * RADII**2) @ self.functions)
        overlaps = np.array(rows).reshape(len(rows), self.functions.shape[1])
        return overlaps.T @ projector.coupling @ overlaps

    def fock(self, local: np.ndarray, gradient: np.ndarray | None) -> np.ndarray:
        """Matrix of core + `local` + the gradient term of the functional (None leaves that out)."""
        matrix = self.core + self._integrate(self.functions, RADII**2 * local, self.functions)
        if gradient is not None:
            mixed = self._integrate(self.functions, RADII**2 * gradient, self.slopes)
            matrix = matrix + mixed + mixed.T
        return matrix

    def fill(self, fock: np.ndarray) -> np.ndarray:
        """Occupy the lowest orbitals of `fock`; returns their density."""
        energies, vectors = np.linalg.eigh(self.orthogonal.T @ fock @ self.orthogonal)
        vectors = self.orthogonal @ vectors
        left, self.orbitals = self.electrons, []
        self.matrix = np.zeros_like(self.core)
        for energy, vector in zip(energies, vectors.T):
            share = min(left, 2.0 * (2 * self.angular + 1))
            if share <= 0:
                break
            left -= share
            self.matrix += share * np.outer(vector, vector)
            density = (self.functions @ vector) ** 2 / (4.0 * math.pi)
            self.orbitals.append(Orbital(self.angular, share, float(energy), density))
        return sum((orbital.electrons * orbital.density for orbital in self.orbitals), np.zeros_like(RADII))

    def density_slope(self) -> np.ndarray:
        """Radial derivative of the density of this channel."""
        return (
            2.0
            * np.einsum("ra,ab,rb->r", self.functions, self.matrix, self.slopes, optimize=True)
            / (4 * math.pi)
        )

    def commutator(self, fock: np.ndarray) -> np.ndarray:
        """FDS - SDF in the orthogonal basis, zero at self-consistency."""
        product = fock @ self.matrix @ self.overlap
        return (self.orthogonal.T @ (product - product.T) @ self.orthogonal).ravel()


def _occupy(channels: list[_Channel], focks: list[np.ndarray]) -> np.ndarray:
    return np.sum([channel.fill(fock) for channel, fock in zip(channels, focks)], axis=0)


def _extrapolate(history: list[tuple[list[np.ndarray], np.ndarray]]) -> list[np.ndarray]:
    """Pulay's direct inversion in the iterative subspace."""
    size = len(history)
    system = -np.ones((size + 1, size + 1))
    system[:size, :size] = [[left @ right for _, right in history] for _, left in history]
    system[size, size] = 0.0
    target = np.zeros(size + 1)
    target[size] = -1.0
    mixing = np.linalg.lstsq(system, target, rcond=None)[0][:size]
    return [sum(c * focks[k] for c, (focks, _) in zip(mixing, history)) for k in range(len(history[0][0]))]


def _pbe(density: np.ndarray, slope: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    from pyscf.dft import libxc

    zero = np.zeros_like(density)
    exc, potentials, _, _ = libxc.eval_xc(
        "pbe", np.array([np.maximum(density, 1e-20), slope, zero, zero]), deriv=1
    )
    return exc, potentials[0], potentials[1]


def _cumulative(integrand: np.ndarray) -> np.ndarray:
    """Integral from 0 to each grid radius of a function that starts like r² or r."""
    scaled = integrand * RADII
    steps = 0.5 * STEP * (scaled[1:] + scaled[:-1])
    return np.concatenate([[0.0], np.cumsum(steps)]) + scaled[0] / 3.0
