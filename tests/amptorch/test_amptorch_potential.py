"""A potential of the backend: files, forces, the ASE calculator."""

from __future__ import annotations

import numpy as np
import pytest
from ase.calculators.fd import calculate_numerical_forces
from ase.optimize import BFGS
from synthetic import slab

from hpopt_lib.errors import HpoptError
from hpopt_lib.potential.settings import TrainSettings
from hpopt_lib.potential.training import train


@pytest.fixture(scope="module")
def potential(upstream):
    from hpopt_lib.amptorch.training import AmptorchTraining

    settings = TrainSettings(num_layers=2, num_nodes=8, epochs=15, batch_size=16, lr=1e-2)
    return train(upstream, settings, seed=0, training=AmptorchTraining).potential


def test_a_saved_potential_predicts_the_same(potential, upstream, dataset, tmp_path) -> None:
    from hpopt_lib.amptorch.potential import AmptorchPotential

    path = potential.save(tmp_path / "model.npz", extra={"seed": 0})
    loaded = AmptorchPotential.load(path)
    expected = potential.predict(upstream.validation)
    assert (loaded.predict(upstream.validation) == expected).all()
    # frames with our features get AMPtorch's first
    assert loaded.predict(dataset.validation) == pytest.approx(expected, abs=1e-9)
    with pytest.raises(HpoptError, match="output exists already"):
        potential.save(path)
    path.write_bytes(path.read_bytes()[:-200])
    with pytest.raises(HpoptError, match="not a potential of the backend amptorch"):
        AmptorchPotential.load(path)
    with pytest.raises(HpoptError, match="no such file"):
        AmptorchPotential.load(tmp_path / "none.npz")


def test_the_calculator(potential, tmp_path) -> None:
    from hpopt_lib.amptorch.calculator import AmptorchCalculator

    path = potential.save(tmp_path / "model.npz")
    atoms = slab(3)
    reference = atoms.copy()
    atoms.calc = AmptorchCalculator(path)
    forces = atoms.get_forces(apply_constraint=False)
    numerical = calculate_numerical_forces(atoms, eps=1e-4, iatoms=range(4, 9))
    assert np.abs(forces[4:] - numerical).max() < 1e-5 * np.abs(numerical).max()
    before = atoms.get_potential_energy()
    energy, theirs = potential.energy_and_forces(reference, upstream=True)
    assert before == pytest.approx(energy, abs=1e-9)
    # AMPtorch drops small derivatives
    assert 1e-5 < np.abs(forces - theirs).max() / np.abs(forces).max() < 0.2
    BFGS(atoms, logfile=None).run(fmax=0.01, steps=3)
    assert atoms.get_potential_energy() < before
    atoms.numbers[-1] = 118
    with pytest.raises(HpoptError, match="no element density"):
        atoms.get_potential_energy()
