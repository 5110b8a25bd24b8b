"""The model for few frames: what it recovers, what it knows that it does not know, and its file."""

from __future__ import annotations

import numpy as np
import pytest
from ase import Atoms
from ase.build import bulk, fcc111, molecule

from hpopt_lib.data.elements import atomisation_ev, property_table, require_properties
from hpopt_lib.errors import HpoptError
from hpopt_lib.potential.environments import environments
from hpopt_lib.potential.evidence import fit_amplitudes
from hpopt_lib.potential.small_data import SmallDataModel

METALS = ("Cu", "Ag", "Au", "Ni", "Pd", "Pt")


def alloy(seed: int, *, elements: tuple[str, ...] = METALS) -> Atoms:
    """A slab of two metals at random places, rattled."""
    rng = np.random.default_rng(seed)
    atoms = fcc111("Pd", (2, 2, int(rng.integers(2, 5))), vacuum=5.0, periodic=True)
    pair = rng.choice(elements, 2, replace=False)
    atoms.symbols[:] = rng.choice(pair, len(atoms))
    atoms.rattle(0.05, seed=seed)
    return atoms


FRAMES = [alloy(seed) for seed in range(60)]
DESCRIBED = environments(FRAMES)
#: What each element brings; unlike any smooth function of its properties.
OWN_EV = {29: -3.1, 47: -1.7, 79: -5.2, 28: -6.3, 46: -2.2, 78: -7.9}


def linear_energies(noise_ev: float = 0.0) -> np.ndarray:
    own = np.zeros(119)
    own[list(OWN_EV)] = list(OWN_EV.values())
    return DESCRIBED.counts @ own + np.random.default_rng(0).normal(0.0, noise_ev, len(FRAMES))


@pytest.fixture(scope="module")
def fitted() -> SmallDataModel:
    return SmallDataModel.fit(DESCRIBED.take(np.arange(45)), linear_energies(0.1)[:45])


def test_energies_of_elements_are_recovered(fitted):
    test = np.arange(45, 60)
    energy, _ = fitted.predict(DESCRIBED.take(test))
    error = np.abs(energy - linear_energies()[test])
    assert error.max() < 0.3 < np.std(linear_energies()) / 10
    # a whole crystal of one element, which was never a frame
    crystals = environments([bulk(metal) for metal in METALS])
    energy, std = fitted.predict(crystals)
    for value, width, metal in zip(energy, std, METALS):
        known = OWN_EV[Atoms(metal).numbers[0]]
        assert abs(value - known) < 4.0 * width < 8.0, metal


def test_known_energies_leave_only_the_rest_to_fit():
    known = np.full(119, np.nan)
    known[list(OWN_EV)] = [value + 1000.0 for value in OWN_EV.values()]
    train = DESCRIBED.take(np.arange(30))
    energy = linear_energies(0.01)
    model = SmallDataModel.fit(train, energy[:30], known_ev=known)
    predicted, _ = model.predict(DESCRIBED.take(np.arange(30, 60)))
    assert model.mean_ev_per_atom == pytest.approx(-1000.0, abs=0.01)
    assert np.abs(predicted - linear_energies()[30:]).max() < 0.1


def test_an_element_without_a_known_energy_is_refused():
    known = np.full(119, np.nan)
    known[[29, 47]] = -1.0
    with pytest.raises(HpoptError, match="element energies: none for .*Pt.*, which frame"):
        SmallDataModel.fit(DESCRIBED, linear_energies(), known_ev=known)


def test_what_was_not_seen_is_less_certain(fitted):
    seen, unseen, strange = fitted.predict(
        environments([alloy(99), alloy(99, elements=("Pd", "Rh")), alloy(99, elements=("Cs", "O"))])
    )[1]
    assert seen < unseen < strange
    assert strange > 5 * seen


def test_the_uncertainty_covers_noise():
    rng = np.random.default_rng(3)
    sizes = DESCRIBED.n_atoms
    energy = linear_energies() + rng.normal(0.0, 0.4, len(FRAMES)) * np.sqrt(sizes)
    inside = []
    for test in np.array_split(rng.permutation(len(FRAMES)), 4):
        train = np.setdiff1d(np.arange(len(FRAMES)), test)
        predicted, std = SmallDataModel.fit(DESCRIBED.take(train), energy[train]).predict(
            DESCRIBED.take(test)
        )
        inside += list(np.abs(predicted - energy[test]) < 1.96 * std)
    assert 0.85 <= np.mean(inside) <= 1.0


def test_a_saved_model_predicts_the_same_bits(fitted, tmp_path):
    path = fitted.save(tmp_path / "model.npz", extra={"note": "x"})
    again = SmallDataModel.load(path)
    for before, after in zip(fitted.predict(DESCRIBED), again.predict(DESCRIBED)):
        assert np.array_equal(before, after)
    alone = again.predict(DESCRIBED.take(np.array([7])))
    assert alone[0][0] == fitted.predict(DESCRIBED)[0][7]
    with pytest.raises(HpoptError, match="output exists already"):
        fitted.save(path)
    damaged = bytearray(path.read_bytes())
    damaged[len(damaged) // 2] ^= 0xFF
    path.write_bytes(damaged)
    with pytest.raises(HpoptError, match="not a small-data model saved by hpopt, or damaged"):
        SmallDataModel.load(path)


@pytest.mark.parametrize("count", [9, 2001])
def test_too_few_or_too_many_frames(count):
    with pytest.raises(HpoptError, match=f"{count} frames: the small-data model takes 10 to 2000"):
        SmallDataModel.fit(DESCRIBED.take(np.zeros(count, int)), np.zeros(count))


def test_environments_do_not_depend_on_cell_order_or_rotation():
    atoms = alloy(4)
    twice = atoms.repeat((2, 1, 1))
    turned = atoms[np.random.default_rng(0).permutation(len(atoms))]
    turned.rotate(37, "xy", rotate_cell=True)
    one, other, third = (environments([frame]) for frame in (atoms, twice, turned))
    for other_one in (other, third):
        assert np.allclose(one.descriptors, other_one.descriptors)
        assert np.allclose(one.bonding_ev_per_atom, other_one.bonding_ev_per_atom)
        assert np.allclose(one.share, other_one.share)


def test_bonding_is_zero_in_close_packed_metals_and_the_atoms_energy_in_free_atoms():
    crystal, atom, surface = environments(
        [bulk("Cu"), Atoms("Cu"), fcc111("Cu", (1, 1, 4), vacuum=6.0, periodic=True)]
    ).bonding_ev_per_atom
    assert atom == pytest.approx(-atomisation_ev()[29])
    assert crystal == pytest.approx(0.0, abs=0.05)
    assert atom < surface < crystal - 0.1


def test_elements_without_properties_are_refused():
    assert np.isnan(property_table()[2]).all() and np.isfinite(property_table()[29]).all()
    with pytest.raises(HpoptError, match="frames: frame 1: element: no complete row for He"):
        environments([molecule("H2O"), Atoms("He")])
    require_properties([1, 8], where="here")


def test_the_evidence_tells_kernels_apart():
    rng = np.random.default_rng(1)
    x, other = rng.normal(size=(2, 80))
    kernels = np.array([np.exp(-0.5 * (v[:, None] - v[None]) ** 2) for v in (x, other)])
    targets = np.sin(2 * x) + rng.normal(0.0, 0.1, 80)
    chosen = fit_amplitudes(kernels, np.ones(80), targets)
    assert chosen.weights[0] > 20 * chosen.weights[1]
    assert np.sqrt(chosen.noise) == pytest.approx(0.1, rel=0.3)
