"""The shipped arrays: physics, splits, and how they are loaded and written."""

from __future__ import annotations

import json
from collections import Counter, defaultdict
from functools import partial

import ase.io
import numpy as np
import pytest

from hpopt_lib.data import embedded
from hpopt_lib.data.embedded import (
    EMBEDDED_SETS,
    SHIPPED_SCALE,
    SHIPPED_SEED,
    generate,
    load_embedded,
    shipped_arrays,
    shipped_path,
    write_embedded,
)
from hpopt_lib.data.frames import digest, fixed_mask, provenance_of, read_arrays, save_arrays
from hpopt_lib.data.labels import EMT_LABELLER, gas_references
from hpopt_lib.data.slabs import ADSORBATES, HELD_OUT_ADSORBATES, METALS, bulks, clean_slab
from hpopt_lib.errors import HpoptError

ALL = [(name, split) for name, splits in EMBEDDED_SETS.items() for split in splits]
BULKS = {bulk.name: bulk for bulk in bulks(held_out=False) + bulks(held_out=True)}


@pytest.fixture(scope="module")
def slabs():
    """Every frame of the adsorption set by split."""
    return {split: load_embedded("oc20-like", split) for split in EMBEDDED_SETS["oc20-like"]}


def raw_forces(atoms):
    return atoms.get_forces(apply_constraint=False)


def test_sizes(slabs):
    for split, frames in slabs.items():
        systems = {a.info["system_id"] for a in frames}
        assert len(systems) >= (230 if split == "train" else 100)
    ethanol = {split: len(load_embedded("ethanol-like", split)) for split in EMBEDDED_SETS["ethanol-like"]}
    assert ethanol == {"train": 1000, "val": 500, "test": 500, "test_hot": 500}
    assert sum(map(len, slabs.values())) <= 8000
    assert shipped_path("oc20-like").stat().st_size < 5e6


@pytest.mark.parametrize(("name", "split"), ALL)
def test_contract_of_a_frame(name, split):
    for atoms in load_embedded(name, split, stride=40):
        assert atoms.info["split"] == split
        assert {"system_id", "frame", "kind"} < atoms.info.keys()
        assert np.isfinite(atoms.get_potential_energy()) and np.isfinite(raw_forces(atoms)).all()
        if name == "oc20-like":
            assert atoms.pbc.all() and atoms.cell.volume > 0
            assert {"adsorption_energy", "adsorbate", "bulk", "facet"} < atoms.info.keys()
        else:
            assert not atoms.pbc.any() and "adsorption_energy" not in atoms.info


def test_effective_medium_theory_reproduces_the_stored_labels(slabs):
    for frames in slabs.values():
        for atoms in frames[:: len(frames) // 12]:
            energy, forces = EMT_LABELLER(atoms)
            assert energy == pytest.approx(atoms.get_potential_energy(), abs=1e-6)
            np.testing.assert_allclose(forces, raw_forces(atoms), atol=1e-5)


def test_forces_are_minus_the_gradient_of_energy(slabs):
    rng = np.random.default_rng(0)
    step = 1e-3
    for frames in slabs.values():
        atoms = frames[rng.integers(len(frames))]
        for atom, axis in ((len(atoms) - 1, 2), (rng.integers(len(atoms)), rng.integers(3))):
            energies = []
            for sign in (1, -1):
                moved = atoms.copy()
                moved.positions[atom, axis] += sign * step
                energies.append(EMT_LABELLER(moved)[0])
            slope = -(energies[0] - energies[1]) / (2 * step)
            assert raw_forces(atoms)[atom, axis] == pytest.approx(slope, abs=2e-3)


def test_adsorption_energy_is_total_minus_slab_minus_gas(slabs):
    gas = gas_references()
    for frames in slabs.values():
        atoms = min(frames, key=len)
        slab = clean_slab(BULKS[atoms.info["bulk"]], atoms.info["facet"])
        adsorbate = [symbol for symbol, tag in zip(atoms.symbols, atoms.get_tags()) if tag == 2]
        reference = EMT_LABELLER(slab)[0] + sum(gas[symbol] for symbol in adsorbate)
        assert len(slab) + len(adsorbate) == len(atoms)
        expected = atoms.get_potential_energy() - reference
        assert atoms.info["adsorption_energy"] == pytest.approx(expected, abs=1e-5)


def test_tags_tell_metal_from_adsorbate_and_fixed_from_free(slabs):
    for atoms in (a for frames in slabs.values() for a in frames[::25]):
        tags = atoms.get_tags()
        metal = np.isin(atoms.get_chemical_symbols(), METALS)
        assert (metal == (tags < 2)).all() and set(tags) == {0, 1, 2}
        assert (fixed_mask(atoms) == (tags == 0)).all()


def test_within_a_system_only_free_atoms_move_and_relaxation_lowers_energy(slabs):
    groups = defaultdict(list)
    for atoms in (a for frames in slabs.values() for a in frames):
        groups[atoms.info["system_id"]].append(atoms)
    for frames in groups.values():
        fixed = fixed_mask(frames[0])
        assert [a.info["frame"] for a in frames] == list(range(len(frames)))
        for atoms in frames:
            assert (atoms.numbers == frames[0].numbers).all() and (atoms.cell == frames[0].cell).all()
            np.testing.assert_array_equal(atoms.positions[fixed], frames[0].positions[fixed])
        energies = [a.get_potential_energy() for a in frames if a.info["kind"] == "relaxation"]
        assert (np.diff(energies) < 1e-4).all()


@pytest.mark.parametrize("name", EMBEDDED_SETS)
def test_no_two_frames_are_the_same(name):
    seen = Counter(
        (a.get_chemical_formula(), a.positions.round(4).tobytes())
        for split in EMBEDDED_SETS[name]
        for a in load_embedded(name, split)
    )
    assert max(seen.values()) == 1


def test_nothing_leaks_between_splits(slabs):
    owner, triples = {}, defaultdict(set)
    for split, frames in slabs.items():
        for atoms in frames:
            info = atoms.info
            assert owner.setdefault(info["system_id"], split) == split
            triples[info["bulk"], info["facet"], info["adsorbate"]].add(info["system_id"])
            assert BULKS[info["bulk"]].held_out == (split in ("val_ood_cat", "val_ood_both"))
            held_out_adsorbate = split in ("val_ood_ads", "val_ood_both")
            assert info["adsorbate"] in (HELD_OUT_ADSORBATES if held_out_adsorbate else ADSORBATES)
    assert max(map(len, triples.values())) == 1
    pairs = {split: {frozenset(a.symbols[a.get_tags() < 2]) for a in slabs[split]} for split in slabs}
    assert not pairs["train"] & pairs["val_ood_cat"] and not pairs["train"] & pairs["val_ood_both"]
    assert {e for pair in pairs["train"] for e in pair} == set(METALS)


def test_walkers_do_not_leak_between_splits():
    owner = {}
    for split in EMBEDDED_SETS["ethanol-like"]:
        for atoms in load_embedded("ethanol-like", split):
            assert owner.setdefault(atoms.info["system_id"], split) == split


def test_limit_and_stride():
    every = load_embedded("ethanol-like", "val")
    some = load_embedded("ethanol-like", "val", stride=100, limit=3)
    assert [a.info["frame"] for a in some] == [every[i].info["frame"] for i in (0, 100, 200)]
    np.testing.assert_array_equal(some[1].positions, every[100].positions)


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: load_embedded("oc21", "train"), "oc21: unknown embedded set; use one of oc20-like"),
        (lambda: load_embedded("oc20-like", "test"), "test: unknown split; use one of train"),
        (lambda: load_embedded("ethanol-like", "val", stride=0), "both must be at least 1"),
        (lambda: load_embedded("ethanol-like", "val", limit=0), "both must be at least 1"),
        (lambda: generate("oc20-like", scale=0), "scale: 0 is not in"),
        (lambda: generate("oc20-like", scale=99), "scale: 99 is not in"),
        (lambda: generate("oc20-like", seed=-1), "seed: -1 is negative"),
    ],
)
def test_bad_requests_are_named(call, message):
    with pytest.raises(HpoptError, match=message):
        call()


@pytest.mark.parametrize("name", EMBEDDED_SETS)
def test_provenance_says_how_the_arrays_were_made(name):
    arrays = shipped_arrays(name)
    provenance = provenance_of(arrays)
    assert (provenance["seed"], provenance["scale"]) == (SHIPPED_SEED, SHIPPED_SCALE)
    assert provenance["sha256"] == digest(arrays)
    assert {"command", "versions", "date", "hardware", "labels", "licence", "units"} < provenance.keys()
    assert all(array.dtype != object for array in arrays.values())


def test_damaged_and_foreign_arrays_are_refused(tmp_path):
    arrays = dict(shipped_arrays("ethanol-like"))
    arrays["energy"] = arrays["energy"] + 1e-9
    save_arrays(arrays, tmp_path / "changed.npz")
    with pytest.raises(HpoptError, match=r"changed\.npz: checksum"):
        read_arrays(tmp_path / "changed.npz")
    (tmp_path / "cut.npz").write_bytes(shipped_path("ethanol-like").read_bytes()[:5000])
    with pytest.raises(HpoptError, match=r"cut\.npz: not a readable \.npz"):
        read_arrays(tmp_path / "cut.npz")
    flipped = bytearray(shipped_path("ethanol-like").read_bytes())
    flipped[len(flipped) // 2] ^= 0xFF
    (tmp_path / "flipped.npz").write_bytes(flipped)
    with pytest.raises(HpoptError, match=r"flipped\.npz: not a readable \.npz"):
        read_arrays(tmp_path / "flipped.npz")
    np.savez(tmp_path / "other.npz", a=np.zeros(2))
    with pytest.raises(HpoptError, match=r"other\.npz: arrays are missing: cells"):
        read_arrays(tmp_path / "other.npz")
    with pytest.raises(HpoptError, match=r"gone\.npz: no such file"):
        read_arrays(tmp_path / "gone.npz")


def test_saved_arrays_are_the_same_bytes_each_time(tmp_path):
    arrays = shipped_arrays("ethanol-like")
    save_arrays(arrays, tmp_path / "a.npz")
    save_arrays(arrays, tmp_path / "b.npz")
    assert (tmp_path / "a.npz").read_bytes() == (tmp_path / "b.npz").read_bytes()
    with pytest.raises(HpoptError, match="exists already"):
        save_arrays(arrays, tmp_path / "a.npz")


@pytest.fixture
def few_frames(monkeypatch):
    """Let write_embedded write every 23rd frame only: the whole takes ten seconds."""
    monkeypatch.setattr(embedded, "select", partial(embedded.select, stride=23))


@pytest.mark.usefixtures("few_frames")
def test_written_trajectories_come_back_unchanged(tmp_path):
    paths = write_embedded(tmp_path)
    assert [str(p.relative_to(tmp_path)) for p in paths] == [f"{n}/{s}.traj" for n, s in ALL]
    for (name, split), path in zip(ALL, paths):
        back, there = ase.io.read(path, index=":"), load_embedded(name, split, stride=23)
        assert len(back) == len(there)
        for a, b in zip(back, there):
            assert a.info == b.info and a.get_potential_energy() == b.get_potential_energy()
            np.testing.assert_array_equal(raw_forces(a), raw_forces(b))
            np.testing.assert_array_equal(a.positions, b.positions)
            np.testing.assert_array_equal(a.numbers, b.numbers)
            np.testing.assert_array_equal(a.get_tags(), b.get_tags())
            np.testing.assert_array_equal(fixed_mask(a), fixed_mask(b))
            assert (a.cell == b.cell).all() and (a.pbc == b.pbc).all()
    readme = (tmp_path / "oc20-like" / "README.md").read_text(encoding="utf-8")
    assert "| val_ood_both |" in readme and "never to rank catalysts" in readme
    provenance = json.loads((tmp_path / "oc20-like" / "provenance.json").read_text())
    assert provenance == provenance_of(shipped_arrays("oc20-like"))
    assert not [p for p in tmp_path.rglob("*") if "part" in p.name]


@pytest.mark.usefixtures("few_frames")
def test_existing_output_is_refused_before_anything_is_written(tmp_path):
    old = tmp_path / "ethanol-like" / "test_hot.traj"
    old.parent.mkdir()
    old.write_text("mine")
    with pytest.raises(HpoptError, match=r"test_hot\.traj: output exists already"):
        write_embedded(tmp_path)
    assert old.read_text() == "mine"
    assert [p for p in tmp_path.rglob("*") if p.is_file()] == [old]
    assert write_embedded(tmp_path, ["ethanol-like"], overwrite=True)[-1] == old
    assert len(ase.io.read(old, index=":")) == len(load_embedded("ethanol-like", "test_hot", stride=23))


@pytest.mark.usefixtures("few_frames")
def test_another_seed_or_scale_is_generated_and_the_shipped_one_is_not(tmp_path, monkeypatch):
    asked = []

    def record(name, *, seed, scale, processes):
        asked.append((seed, scale, processes))
        return shipped_arrays(name)

    monkeypatch.setattr(embedded, "generate", record)
    write_embedded(tmp_path / "a", ["ethanol-like"])
    assert asked == []
    write_embedded(tmp_path / "b", ["ethanol-like"], regenerate=True, processes=2)
    write_embedded(tmp_path / "c", ["ethanol-like"], seed=1)
    write_embedded(tmp_path / "d", ["ethanol-like"], scale=0.5)
    assert asked == [(SHIPPED_SEED, SHIPPED_SCALE, 2), (1, SHIPPED_SCALE, 1), (SHIPPED_SEED, 0.5, 1)]


def test_command_that_renews_the_shipped_arrays(tmp_path, monkeypatch):
    from click.testing import CliRunner

    from hpopt_lib.data.embedded import __main__ as renew

    monkeypatch.setattr(renew, "generate", lambda name, **_: shipped_arrays(name))
    monkeypatch.setattr(renew, "shipped_path", lambda name: tmp_path / f"{name}.npz")
    result = CliRunner().invoke(renew.main, ["ethanol-like"])
    assert result.exit_code == 0 and "ethanol-like: 2500 frames" in result.output
    assert digest(read_arrays(tmp_path / "ethanol-like.npz")) == digest(shipped_arrays("ethanol-like"))
