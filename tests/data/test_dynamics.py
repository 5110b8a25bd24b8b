"""The Langevin integrator against what is known exactly for a harmonic well."""

from __future__ import annotations

import numpy as np
import pytest
from ase import Atoms, units
from ase.calculators.calculator import Calculator, all_changes

from hpopt_lib.data.dynamics import langevin

STIFFNESS = 2.0  # eV/Å²


class Well(Calculator):
    implemented_properties = ["energy", "forces"]

    def calculate(self, atoms=None, properties=("energy",), system_changes=all_changes):
        super().calculate(atoms, properties, system_changes)
        x = self.atoms.positions
        self.results = {"energy": 0.5 * STIFFNESS * (x**2).sum(), "forces": -STIFFNESS * x}


def wells(n_atoms):
    atoms = Atoms(f"C{n_atoms}", positions=np.zeros((n_atoms, 3)))
    atoms.calc = Well()
    return atoms


def test_velocities_and_positions_sample_the_temperature():
    atoms = wells(200)
    rng = np.random.default_rng(1)
    steps = langevin(atoms, temperature_k=400, timestep_fs=1.0, friction_per_fs=0.02, rng=rng)
    kinetic, square = [], []
    for number in range(1500):
        temperature = next(steps)
        if number >= 500:
            kinetic.append(temperature)
            square.append((atoms.positions**2).mean())
    assert np.mean(kinetic) == pytest.approx(400, rel=0.03)
    assert np.mean(square) == pytest.approx(units.kB * 400 / STIFFNESS, rel=0.05)


def test_without_friction_energy_is_kept():
    atoms = wells(10)
    rng = np.random.default_rng(2)
    steps = langevin(atoms, temperature_k=400, timestep_fs=0.5, friction_per_fs=0.0, rng=rng)
    total = [1.5 * 10 * units.kB * next(steps) + atoms.get_potential_energy() for _ in range(300)]
    assert np.ptp(total) < 2e-3 * np.mean(total)


def test_only_free_atoms_move():
    atoms = wells(4)
    free = np.array([True, False, True, False])
    rng = np.random.default_rng(3)
    steps = langevin(atoms, temperature_k=300, timestep_fs=1.0, friction_per_fs=0.01, rng=rng, free=free)
    for _ in range(5):
        next(steps)
    assert ((atoms.positions != 0).all(axis=1) == free).all()


def test_heavier_masses_slow_the_start():
    moved = []
    for masses in (None, np.full(50, 1200.0)):
        atoms = wells(50)
        rng = np.random.default_rng(4)
        next(langevin(atoms, temperature_k=300, timestep_fs=1.0, friction_per_fs=0.0, rng=rng, masses=masses))
        moved.append(np.abs(atoms.positions).mean())
    assert moved[0] / moved[1] == pytest.approx(np.sqrt(1200 / 12.011), rel=0.01)
