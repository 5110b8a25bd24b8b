"""The adsorption set's design and generator."""

from __future__ import annotations

from collections import Counter

import numpy as np
import pytest
from ase.calculators.emt import EMT

from hpopt_lib.data.adsorption import (
    SPLITS,
    design,
    geometries,
    label_system,
    make_systems,
    relaxation,
)
from hpopt_lib.data.embedded import SHIPPED_SEED, shipped_arrays
from hpopt_lib.data.frames import fixed_mask, pack, unpack
from hpopt_lib.data.labels import EMT_LABELLER, gas_references
from hpopt_lib.data.slabs import ADSORBATES, HELD_OUT_ADSORBATES, Bulk, clean_slab, place_adsorbate
from hpopt_lib.errors import HpoptError

SEED = SHIPPED_SEED


@pytest.fixture(scope="module")
def tasks():
    return design(seed=SEED)


def sample_of(tasks, n):
    """The systems with the smallest slabs that share few bulks: quick to make."""
    small = [t for t in tasks if t.facet == "111" and t.bulk.prototype == "L12" and "Al" in t.bulk.metals]
    return small[:: max(1, len(small) // n)][:n]


def test_no_triple_and_no_name_occurs_twice(tasks):
    assert max(Counter(t.triple for t in tasks).values()) == 1
    assert len({t.system_id for t in tasks}) == len(tasks)


def test_sizes_of_splits(tasks):
    sizes = Counter(t.split for t in tasks)
    assert sizes.pop("train") == 240
    assert set(sizes) == set(SPLITS) - {"train"} and min(sizes.values()) >= 110


def test_what_is_held_out_stays_out(tasks):
    for task in tasks:
        rule = SPLITS[task.split]
        assert task.bulk.held_out == rule.held_out_bulk
        assert (task.adsorbate in HELD_OUT_ADSORBATES) == rule.held_out_adsorbate
        assert (task.adsorbate in ADSORBATES) != rule.held_out_adsorbate


def test_a_smaller_design_is_part_of_the_whole_and_a_larger_one_holds_more(tasks):
    assert set(design(seed=SEED, scale=0.1)) < set(tasks)
    larger = design(seed=SEED, scale=2.0)
    assert len(larger) == 2 * len(tasks) and len({t.triple for t in larger}) == len(larger)
    assert {t.triple for t in design(seed=SEED + 1)} != {t.triple for t in tasks}


def test_relaxation_falls_in_energy_and_ends_lower():
    atoms = place_adsorbate(clean_slab(Bulk("fcc", ("Pt",)), "111"), "CO", np.random.default_rng(5))
    atoms.calc = EMT()
    start = atoms.get_potential_energy()
    frames = relaxation(atoms, n_frames=6)
    energies = []
    for frame in frames:
        atoms.positions = frame.positions
        energies.append(atoms.get_potential_energy())
    assert energies[0] == pytest.approx(start) and len(frames) == 6
    assert (np.diff(energies) < 0).all()


def test_one_and_two_processes_give_the_same_bits_and_the_shipped_frames(tasks):
    chosen = sample_of(tasks, 3)
    one = pack(make_systems(chosen, seed=SEED, processes=1), {})
    two = pack(make_systems(chosen, seed=SEED, processes=2), {})
    assert all(np.array_equal(one[name], two[name]) for name in one if name != "temperature")
    np.testing.assert_array_equal(one["temperature"], two["temperature"])

    shipped = shipped_arrays("oc20-like")
    ids = shipped["system_id"][shipped["frame_system"]]
    old = unpack(shipped, np.flatnonzero(np.isin(ids, [t.system_id for t in chosen])))
    new = unpack(one, np.arange(len(one["energy"])))
    assert len(old) == len(new)
    for a, b in zip(old, new):
        assert a.info.keys() == b.info.keys() and a.info["system_id"] == b.info["system_id"]
        assert a.info["kind"] == b.info["kind"] and (a.numbers == b.numbers).all()
        np.testing.assert_allclose(a.positions, b.positions, atol=1e-5)
        np.testing.assert_allclose(a.get_potential_energy(), b.get_potential_energy(), atol=1e-5)
        np.testing.assert_allclose(
            a.get_forces(apply_constraint=False), b.get_forces(apply_constraint=False), atol=1e-4
        )


def test_another_labeller_can_be_put_in_and_atomic_offsets_cancel_in_adsorption_energies(tasks):
    class Shifted:
        name = "EMT with an energy per element added"

        def __call__(self, atoms):
            energy, forces = EMT_LABELLER(atoms)
            return energy + float((0.37 * atoms.numbers).sum()), forces

    task = sample_of(tasks, 1)[0]
    template, frames = geometries(task, seed=SEED)
    plain = label_system(task, template, frames)
    shifted = label_system(task, template, frames, Shifted())
    offset = 0.37 * template.numbers.sum()
    assert len(plain.frames) == len(shifted.frames) > 5
    for a, b in zip(plain.frames, shifted.frames):
        assert b.energy - a.energy == pytest.approx(offset, abs=1e-9)
        assert b.energy - shifted.reference_ev == pytest.approx(a.energy - plain.reference_ev, abs=1e-9)


def test_geometries_hold_the_fixed_atoms_and_single_precision_numbers(tasks):
    template, frames = geometries(sample_of(tasks, 1)[0], seed=SEED)
    fixed = fixed_mask(template)
    for frame in frames:
        np.testing.assert_array_equal(frame.positions[fixed], template.positions[fixed])
        np.testing.assert_array_equal(frame.positions, frame.positions.astype(np.float32))
    assert {f.kind for f in frames} == {"relaxation", "rattle", "dynamics"}


def test_gas_references_reproduce_the_gas_molecules():
    from hpopt_lib.data.labels import gas_molecule

    gas = gas_references()
    for name, parts in {"H2": "HH", "H2O": "HHO", "N2": "NN", "CO": "CO"}.items():
        assert sum(gas[p] for p in parts) == pytest.approx(EMT_LABELLER(gas_molecule(name))[0], abs=1e-9)


def test_processes_must_be_positive(tasks):
    with pytest.raises(HpoptError, match="processes: 0"):
        make_systems(tasks[:1], seed=SEED, processes=0)
