"""The ethanol walkers."""

from __future__ import annotations

import sys
from importlib.util import find_spec

import numpy as np
import pytest

from hpopt_lib.data.embedded import SHIPPED_SEED, load_embedded, shipped_arrays
from hpopt_lib.data.molecules import (
    WALKER_FRAMES,
    label,
    make_walkers,
    relaxed_ethanol,
    run_walker,
    walkers,
)
from hpopt_lib.errors import HpoptError

needs_tblite = pytest.mark.skipif(find_spec("tblite") is None, reason="tblite is not installed")


def test_walkers_belong_to_one_split_each():
    names = [w.system_id for w in walkers()]
    assert len(set(names)) == len(names)
    assert {w.split: w.temperature_k for w in walkers()} == {
        "train": 500.0, "val": 500.0, "test": 500.0, "test_hot": 800.0,
    }  # fmt: skip


@needs_tblite
def test_relaxed_ethanol_is_a_minimum_with_the_bonds_of_ethanol():
    atoms = relaxed_ethanol()
    assert np.abs(atoms.get_forces()).max() < 0.01
    carbon_carbon, carbon_oxygen, oxygen_hydrogen = (
        atoms.get_distance(0, 1), atoms.get_distance(1, 2), atoms.get_distance(2, 3),
    )  # fmt: skip
    assert atoms.get_chemical_symbols()[:4] == ["C", "C", "O", "H"]
    assert carbon_carbon == pytest.approx(1.51, abs=0.03)
    assert carbon_oxygen == pytest.approx(1.42, abs=0.03)
    assert oxygen_hydrogen == pytest.approx(0.96, abs=0.02)


@needs_tblite
def test_beginning_of_a_walker_is_that_of_the_shipped_one():
    walker = walkers()[-1]
    made = run_walker(walker, SHIPPED_SEED, 2)
    shipped = [
        a for a in load_embedded("ethanol-like", walker.split) if a.info["system_id"] == walker.system_id
    ]
    for frame, atoms in zip(made.frames, shipped):
        np.testing.assert_allclose(frame.positions, atoms.positions, atol=1e-5)
        assert frame.energy == pytest.approx(atoms.get_potential_energy(), abs=1e-5)
        np.testing.assert_allclose(frame.forces, atoms.get_forces(), atol=1e-4)


@needs_tblite
def test_one_and_two_processes_give_the_same_bits():
    chosen = walkers()[:2]
    one, two = (make_walkers(chosen, seed=7, scale=1 / WALKER_FRAMES, processes=n) for n in (1, 2))
    for a, b in zip(one, two):
        assert len(a.frames) == len(b.frames) == 1
        np.testing.assert_array_equal(a.frames[0].positions, b.frames[0].positions)
        np.testing.assert_array_equal(a.frames[0].forces, b.frames[0].forces)
        assert a.frames[0].energy == b.frames[0].energy
    assert not np.array_equal(one[0].frames[0].positions, one[1].frames[0].positions)


@needs_tblite
@pytest.mark.parametrize("split", ["train", "test_hot"])
def test_shipped_labels_are_reproduced_by_a_calculation_from_scratch(split):
    for atoms in load_embedded("ethanol-like", split, stride=167):
        energy, forces = label(atoms)
        assert energy == pytest.approx(atoms.get_potential_energy(), abs=1e-6)
        np.testing.assert_allclose(forces, atoms.get_forces(), atol=1e-4)


@needs_tblite
def test_forces_are_minus_the_gradient_of_energy():
    atoms = load_embedded("ethanol-like", "val", limit=1)[0]
    _, forces = label(atoms)
    step = 2e-3
    for atom, axis in ((0, 0), (2, 1), (5, 2)):
        energies = []
        for sign in (1, -1):
            moved = atoms.copy()
            moved.positions[atom, axis] += sign * step
            energies.append(label(moved)[0])
        slope = -(energies[0] - energies[1]) / (2 * step)
        assert forces[atom, axis] == pytest.approx(slope, abs=2e-3)


def test_temperatures_of_walkers_are_close_to_the_thermostat():
    arrays = shipped_arrays("ethanol-like")
    for index, walker in enumerate(walkers()):
        kinetic = arrays["temperature"][arrays["frame_system"] == index]
        assert arrays["system_id"][index] == walker.system_id
        # 27 degrees of freedom fluctuate by 27 %; the mean of 250 correlated frames by a few %
        assert kinetic.mean() == pytest.approx(walker.temperature_k, rel=0.07)
        assert kinetic.std() == pytest.approx(np.sqrt(2 / 27) * walker.temperature_k, rel=0.25)


def test_potential_energy_fluctuates_like_21_classical_modes():
    # total energies: harmonic estimate sqrt(21/2) kT; conformers and anharmonicity widen it a little
    for split, kelvin in (("train", 500), ("test", 500), ("test_hot", 800)):
        energies = [a.get_potential_energy() for a in load_embedded("ethanol-like", split)]
        expected = np.sqrt(21 / 2) * 8.617333e-5 * kelvin
        assert np.std(energies) == pytest.approx(expected, rel=0.2)


def test_missing_tblite_is_one_clear_line(monkeypatch):
    monkeypatch.setitem(sys.modules, "tblite", None)
    monkeypatch.setitem(sys.modules, "tblite.ase", None)
    with pytest.raises(HpoptError, match=r"needs the package tblite.*pip install tblite"):
        make_walkers(walkers()[:1], seed=1)
