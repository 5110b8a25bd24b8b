"""Langevin dynamics, small enough to read: the integrator behind both embedded sets."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
from ase import Atoms, units
from numpy.typing import NDArray


def langevin(
    atoms: Atoms,
    *,
    temperature_k: float,
    timestep_fs: float,
    friction_per_fs: float,
    rng: np.random.Generator,
    masses: NDArray[np.float64] | None = None,
    free: NDArray[np.bool_] | None = None,
) -> Iterator[float]:
    """Move `atoms` in place, one time step each time the iterator is advanced.

    BAOAB splitting (Leimkuhler and Matthews 2013): half a kick, half a drift, the thermostat, half a
    drift, half a kick; one force evaluation per step. Velocities start from the Maxwell-Boltzmann
    distribution.

    Parameters
    ----------
    atoms : Atoms
        With a calculator. Constraints are not looked at: say which atoms move with `free`.
    temperature_k, timestep_fs, friction_per_fs : float
        In K, fs and 1/fs.
    rng : numpy.random.Generator
    masses : ndarray, shape (n_atoms,), optional
        In u, in place of the atoms' own.
    free : ndarray of bool, shape (n_atoms,), optional
        Atoms that move; all by default.

    Yields
    ------
    float
        Kinetic temperature of the moving atoms after the step, in K.

    References
    ----------
    B. Leimkuhler and C. Matthews, Appl. Math. Res. Express 2013, 34 (2013).
    """
    n_atoms = len(atoms)
    mass = (atoms.get_masses() if masses is None else masses)[:, None]
    mobile = (np.ones(n_atoms, bool) if free is None else free)[:, None]
    step = timestep_fs * units.fs
    keep = np.exp(-friction_per_fs * timestep_fs)
    noise = np.sqrt(1 - keep**2) * np.sqrt(units.kB * temperature_k / mass)
    velocity = rng.normal(size=(n_atoms, 3)) * np.sqrt(units.kB * temperature_k / mass) * mobile
    forces = atoms.get_forces(apply_constraint=False) * mobile
    while True:
        velocity += 0.5 * step * forces / mass
        atoms.positions += 0.5 * step * velocity
        velocity = (keep * velocity + noise * rng.normal(size=velocity.shape)) * mobile
        atoms.positions += 0.5 * step * velocity
        forces = atoms.get_forces(apply_constraint=False) * mobile
        velocity += 0.5 * step * forces / mass
        yield float((mass * velocity**2).sum() / (3 * mobile.sum() * units.kB))
