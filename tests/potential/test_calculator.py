"""The ASE calculator: its derivatives against differences, and dynamics that keeps its energy."""

from __future__ import annotations

import ase
import numpy as np
import pytest
import torch
from ase import units
from ase.calculators.calculator import PropertyNotImplementedError
from ase.md.verlet import VelocityVerlet
from ase.stress import voigt_6_to_full_3x3_stress

from hpopt_lib.data.embedded import load_embedded
from hpopt_lib.errors import HpoptError
from hpopt_lib.featurise import featurise_shard
from hpopt_lib.gmp.features import GMPFeaturizer
from hpopt_lib.gmp.settings import GMPSettings
from hpopt_lib.potential.calculator import HpoptCalculator, UnseenElementWarning
from hpopt_lib.potential.model import Potential
from hpopt_lib.potential.settings import TrainSettings
from hpopt_lib.potential.training import Dataset, train
from hpopt_lib.references import LinearReference, composition
from hpopt_lib.scaling import FeatureScaler

GMP = GMPSettings(sigmas=(0.3, 0.6, 1.0, 1.6), max_order=2, cutoff=4.5)
SETTINGS = TrainSettings(num_layers=2, num_nodes=24, epochs=60, batch_size=16, patience=0)


def trained(frames: list[ase.Atoms], validation: list[ase.Atoms]) -> Potential:
    """A potential of a few seconds, in float64 so that rounding stays far below the steps of a difference."""
    featurizer = GMPFeaturizer(GMP)
    splits = [
        featurise_shard(featurizer, [("frame", atoms) for atoms in part], np.dtype(float))
        for part in (frames, validation)
    ]
    scaler = FeatureScaler.empty(GMP.num_features)
    scaler.update(splits[0].features)
    counts = composition(splits[0].numbers, splits[0].n_atoms)
    data = Dataset(
        *splits,
        gmp=featurizer.settings,
        scaler=scaler,
        reference=LinearReference.fit(counts, splits[0].energy),
        dtype=torch.float64,
    )
    return train(data, SETTINGS, seed=3).potential


@pytest.fixture(scope="module")
def ethanol() -> tuple[Potential, ase.Atoms]:
    frames = load_embedded("ethanol-like", "train", stride=4)
    return trained(frames[:-20], frames[-20:]), load_embedded("ethanol-like", "test", limit=1)[0]


@pytest.fixture(scope="module")
def slab() -> tuple[Potential, ase.Atoms]:
    frames = [a for a in load_embedded("oc20-like", "train", stride=10) if len(a) < 22][:120]
    return trained(frames[:-20], frames[-20:]), frames[0]


@pytest.fixture(params=["ethanol", "slab"])
def system(request) -> tuple[Potential, ase.Atoms]:
    return request.getfixturevalue(request.param)


def with_calculator(system: tuple[Potential, ase.Atoms]) -> ase.Atoms:
    potential, atoms = system
    copy = atoms.copy()
    copy.calc = HpoptCalculator(potential)
    return copy


def test_forces_are_minus_the_slope_of_the_energy(system):
    atoms = with_calculator(system)
    forces = atoms.get_forces(apply_constraint=False)
    scale, step = np.abs(forces).max(), 1e-4
    assert scale > 1e-3
    for atom, axis in [(0, 2), (len(atoms) - 1, 0), (len(atoms) - 2, 1)]:
        energies = []
        for sign in (1, -1):
            moved = atoms.copy()
            moved.positions[atom, axis] += sign * step
            moved.calc = atoms.calc
            energies.append(moved.get_potential_energy())
        assert -(energies[0] - energies[1]) / (2 * step) == pytest.approx(
            forces[atom, axis], abs=1e-6 * scale
        )
    assert np.abs(forces.sum(0)).max() < 1e-10 * scale * len(atoms)


def test_stress_is_the_slope_with_strain(slab):
    atoms = with_calculator(slab)
    stress = voigt_6_to_full_3x3_stress(atoms.get_stress(apply_constraint=False))
    step, scale = 1e-5, np.abs(stress).max()
    assert scale > 1e-5
    for row, column in [(0, 0), (1, 1), (2, 2), (0, 1), (1, 2), (0, 2)]:
        energies = []
        for sign in (1, -1):
            strain = np.eye(3)
            strain[row, column] += 0.5 * sign * step
            strain[column, row] += 0.5 * sign * step
            strained = atoms.copy()
            strained.set_constraint()
            strained.set_cell(atoms.cell.array @ strain, scale_atoms=True)
            strained.calc = atoms.calc
            energies.append(strained.get_potential_energy())
        slope = (energies[0] - energies[1]) / (2 * step) / atoms.cell.volume
        assert slope == pytest.approx(stress[row, column], abs=2e-5 * scale)


def test_a_molecule_has_no_stress(ethanol):
    atoms = with_calculator(ethanol)
    atoms.get_potential_energy()
    with pytest.raises(PropertyNotImplementedError):
        atoms.get_stress()


def test_the_results_agree_with_the_potential(system, tmp_path):
    potential, atoms = system
    copy = with_calculator(system)
    energy, forces = potential.energy_and_forces(atoms)
    assert copy.get_potential_energy() == pytest.approx(energy, rel=1e-12)
    assert copy.get_potential_energy(force_consistent=True) == copy.get_potential_energy()
    assert copy.get_potential_energies().sum() == pytest.approx(energy, rel=1e-12)
    np.testing.assert_allclose(copy.get_forces(apply_constraint=False), forces, rtol=0, atol=1e-10)
    saved = potential.save(tmp_path / "model.npz")
    copy.calc = HpoptCalculator(saved)
    np.testing.assert_allclose(copy.get_forces(apply_constraint=False), forces, rtol=0, atol=1e-10)


def test_compiled_features_give_the_same(slab):
    pytest.importorskip("numba")
    atoms, other = with_calculator(slab), with_calculator(slab)
    other.calc = HpoptCalculator(slab[0], backend="numba")
    assert other.get_potential_energy() == pytest.approx(atoms.get_potential_energy(), abs=1e-7)
    forces, stress = atoms.get_forces(), atoms.get_stress()
    assert np.abs(other.get_forces() - forces).max() < 1e-6 * np.abs(forces).max()
    assert np.abs(other.get_stress() - stress).max() < 1e-6 * np.abs(stress).max()


def test_one_lonely_atom_feels_nothing(ethanol):
    atoms = ase.Atoms("C", calculator=HpoptCalculator(ethanol[0]))
    assert np.array_equal(atoms.get_forces(), np.zeros((1, 3)))
    assert np.isfinite(atoms.get_potential_energy())


def test_the_energy_and_forces_are_continuous_at_the_cutoff(slab):
    calculator = HpoptCalculator(slab[0])

    def at(distance: float) -> tuple[float, np.ndarray]:
        pair = ase.Atoms("AuCO", [[0, 0, 0], [0, 2.0, 0], [distance, 0, 0]], calculator=calculator)
        return pair.get_potential_energy(), pair.get_forces()

    (inside, pulled), (outside, free) = at(GMP.cutoff - 1e-6), at(GMP.cutoff + 1e-6)
    assert abs(inside - outside) < 1e-9 and np.abs(pulled - free).max() < 1e-6
    assert abs(at(GMP.cutoff - 0.4)[0] - outside) > 1e-6


def velocities(atoms: ase.Atoms, *, temperature_k: float) -> np.ndarray:
    spread = np.sqrt(units.kB * temperature_k / atoms.get_masses())[:, None]
    return spread * np.random.default_rng(0).normal(size=(len(atoms), 3))


def drift(atoms: ase.Atoms, *, step_fs: float, steps: int) -> tuple[float, float]:
    """Largest change of the total energy and its trend over the run, over the mean kinetic energy."""
    total, kinetic = [], []

    def record() -> None:
        total.append(atoms.get_total_energy())
        kinetic.append(atoms.get_kinetic_energy())

    dynamics = VelocityVerlet(atoms, step_fs * units.fs)
    dynamics.attach(record)
    dynamics.run(steps)
    # energy goes to and fro: these are no free atoms
    assert np.ptp(kinetic) > 0.2 * np.mean(kinetic)
    deviation = np.array(total) - total[0]
    trend = np.polyfit(np.linspace(0.0, 1.0, len(total)), deviation, 1)[0]
    return float(np.abs(deviation).max() / np.mean(kinetic)), float(abs(trend) / np.mean(kinetic))


@pytest.mark.parametrize(("name", "step_fs"), [("ethanol", 0.5), ("slab", 2.0)])
def test_dynamics_conserves_energy(request, name, step_fs):
    potential, frame = request.getfixturevalue(name)
    results = {}
    for refine in (1, 2):
        atoms = frame.copy()
        atoms.calc = HpoptCalculator(potential)
        atoms.set_velocities(velocities(atoms, temperature_k=300.0))
        results[refine] = drift(atoms, step_fs=step_fs / refine, steps=200 * refine)
        assert np.abs(atoms.positions - frame.positions).max() > 0.1
        if frame.constraints:
            held = frame.constraints[0].index
            assert np.array_equal(atoms.positions[held], frame.positions[held])
    coarse, fine = results[1], results[2]
    assert coarse[0] < 0.02 and fine[0] < 0.005 and fine[1] < 0.001
    # the error of velocity Verlet falls with the square of the time step
    assert 3.0 < coarse[0] / fine[0] < 6.0


def test_an_unseen_element_is_told_once(ethanol):
    atoms = ase.Atoms("CuH", [[0, 0, 0], [0, 0, 1.6]], calculator=HpoptCalculator(ethanol[0]))
    with pytest.warns(UnseenElementWarning, match="^Cu: in no training frame"):
        atoms.get_potential_energy()
    atoms.positions[1, 2] += 0.1
    atoms.get_potential_energy()  # a second warning would be an error


def test_bad_input(ethanol, tmp_path):
    with pytest.raises(HpoptError, match="no such file"):
        HpoptCalculator(tmp_path / "none.npz")
    atoms = ase.Atoms("U", calculator=HpoptCalculator(ethanol[0]))
    with pytest.warns(UnseenElementWarning), pytest.raises(HpoptError, match="no element density for U"):
        atoms.get_potential_energy()
