"""From structure files to a store: what is fitted on what, any number of processes, and never half a store."""

from __future__ import annotations

import pickle
import signal
import subprocess
import time
from pathlib import Path

import ase.io
import numpy as np
import pytest
from ase.calculators.singlepoint import SinglePointCalculator
from synthetic import GMP, GMP_OPTIONS, environment, hpopt_command, labelled, slab, slabs, write

from hpopt_lib.errors import HpoptError
from hpopt_lib.gmp.features import GMPFeaturizer
from hpopt_lib.inputs import Input, ReadOptions, parse_inputs
from hpopt_lib.preprocess import preprocess
from hpopt_lib.references import LinearReference, composition
from hpopt_lib.scaling import FeatureScaler
from hpopt_lib.store import Store
from hpopt_lib.store.arrays import ATOM_FIELDS, FRAME_FIELDS


def make(folder: Path, *inputs: Path, name: str = "s.lmdb", **options) -> Store:
    splits = [Input(path.name.split(".")[0], path) for path in inputs]
    preprocess(splits, folder / name, settings=GMP, **options)
    return Store.open(folder / name)


def test_a_store_holds_what_the_files_say(inputs, store_path):
    store, frames = Store.open(store_path), ase.io.read(inputs / "val.traj", ":")
    arrays = store.read("val")
    assert arrays.energy == pytest.approx([a.get_potential_energy() for a in frames])
    assert arrays.forces == pytest.approx(
        np.concatenate([a.get_forces(apply_constraint=False) for a in frames])
    )
    assert np.abs(arrays.forces[~arrays.free]).max() > 0.01  # raw forces, also of the fixed atoms
    assert arrays.free.sum() == 20 * 5 and arrays.tags[:9].tolist() == [0] * 4 + [1] * 4 + [2]
    assert arrays.features == pytest.approx(np.concatenate([GMPFeaturizer(GMP)(a) for a in frames]))
    assert arrays.system_ids.tolist() == [a.info["system_id"] for a in frames]
    assert arrays.pbc.all() and arrays.cells[3] == pytest.approx(frames[3].cell.array)
    assert arrays.info[2]["frame"] == frames[2].info["frame"]


def test_scaler_and_references_are_those_of_the_first_input(store_path):
    store = Store.open(store_path)
    train = store.read("train")
    expected = FeatureScaler.empty(GMP.num_features)
    expected.update(train.features)
    assert store.scaler.count == 540 and store.scaler.mean == pytest.approx(expected.mean)
    assert store.scaler.std == pytest.approx(expected.std)
    fit = LinearReference.fit(composition(train.numbers, train.n_atoms), train.energy)
    assert np.array_equal(store.reference.coefficients, fit.coefficients)


def test_another_validation_file_changes_neither_scaler_nor_references(inputs, tmp_path):
    silver = [slab(number) for number in range(200, 210)]
    for atoms in silver:
        energy, forces = atoms.get_potential_energy() + 50.0, 3.0 * atoms.get_forces(apply_constraint=False)
        atoms.numbers[:8] = 47
        atoms.calc = SinglePointCalculator(atoms, energy=energy, forces=forces)
    other = write(tmp_path / "val.traj", silver)
    first = make(tmp_path, inputs / "train.traj", inputs / "val.traj", name="a.lmdb").header
    second = make(tmp_path, inputs / "train.traj", other, name="b.lmdb").header
    assert first["splits"]["val"] != second["splits"]["val"]
    for key in ("scaler", "reference", "constant_features"):
        assert first[key] == second[key]
    swapped = make(tmp_path, other, inputs / "train.traj", name="c.lmdb").header
    assert swapped["scaler"] != first["scaler"] and swapped["reference"] != first["reference"]


def test_two_processes_give_the_same_store_as_one(inputs, tmp_path, monkeypatch):
    monkeypatch.setattr("hpopt_lib.preprocess.SHARD_FRAMES", 7)
    files = [inputs / "train.traj", inputs / "val.traj"]
    stores = [make(tmp_path, *files, name=f"{n}.lmdb", processes=n) for n in (1, 2)]
    headers = [{**store.header, "created": ""} for store in stores]
    assert headers[0] == headers[1] and headers[0]["splits"]["train"]["n_shards"] == 9
    for split in ("train", "val"):
        one, two = (store.read(split) for store in stores)
        assert one.info == two.info
        for name in (*FRAME_FIELDS, *ATOM_FIELDS):
            assert np.array_equal(getattr(one, name), getattr(two, name)), name


def test_an_element_without_density_is_an_error_that_names_the_frame(inputs, tmp_path):
    frames = slabs(0, 3)
    frames[2].numbers[0] = 94
    labelled(frames[2], 1.0, np.zeros((9, 3)))
    bad = write(tmp_path / "bad.traj", frames)
    with pytest.raises(HpoptError, match=f"{bad}: frame 2: .*Pu") as raised:
        make(tmp_path, bad)
    assert [p.name for p in tmp_path.iterdir()] == ["bad.traj"]
    sent = pickle.loads(pickle.dumps(raised.value))  # as it comes from another process
    assert (str(sent), sent.problem, sent.remedy) == (
        str(raised.value), raised.value.problem, raised.value.remedy
    )  # fmt: skip
    assert sent.remedy


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_dtype_is_that_of_features_and_forces(inputs, tmp_path, dtype):
    arrays = make(tmp_path, inputs / "val.traj", dtype=dtype).read("val")
    assert arrays.features.dtype == arrays.forces.dtype == dtype
    assert arrays.energy.dtype == arrays.positions.dtype == np.float64


def test_files_without_forces_and_formats_that_ase_reads(tmp_path):
    frames = [labelled(a, a.get_potential_energy()) for a in slabs(0, 4)]
    for number, atoms in enumerate(frames):
        atoms.info["system_id"] = number  # extxyz gives a number back, perhaps NumPy's
    for name in ("a.extxyz", "a.extxyz.gz", "a.db"):
        file = write(tmp_path / name, frames)
        store = make(tmp_path, file, name=f"{name}.lmdb")
        arrays = store.read("a")
        assert np.isnan(arrays.forces).all() and not store.header["splits"]["a"]["has_forces"]
        assert arrays.energy == pytest.approx([a.get_potential_energy() for a in frames])
        assert len(set(arrays.system_ids)) == 4


def test_frames_without_a_system_are_systems_of_their_own(tmp_path):
    frames = slabs(0, 3)
    for atoms in frames:
        atoms.info = {}
    assert make(tmp_path, write(tmp_path / "x.traj", frames)).read("x").system_ids.tolist() == [
        "x-0",
        "x-1",
        "x-2",
    ]


def test_units_are_converted(inputs, tmp_path):
    frames = slabs(0, 4)
    plain = make(tmp_path, write(tmp_path / "t.traj", frames), name="plain.lmdb").read("t")
    hartree, bohr = 27.211386, 0.5291772
    for atoms in frames:
        energy, forces = atoms.get_potential_energy(), atoms.get_forces(apply_constraint=False)
        atoms.set_cell(atoms.cell / bohr, scale_atoms=True)
        labelled(atoms, energy / hartree, forces / (hartree / bohr))
    file = write(tmp_path / "t.traj", frames)
    options = ReadOptions(energy_unit="Hartree", length_unit="Bohr")
    store = make(tmp_path, file, name="atomic.lmdb", options=options)
    arrays = store.read("t")
    assert store.header["input_units"] == {"energy": "Hartree", "length": "Bohr"}
    for name in ("energy", "forces", "positions", "cells", "features"):
        assert getattr(arrays, name) == pytest.approx(getattr(plain, name), rel=1e-4, abs=1e-5), name


def test_duplicates_can_be_dropped_or_kept(inputs, tmp_path):
    frames = slabs(0, 6)
    again = frames[1].copy()
    again.calc = frames[1].calc
    train = write(tmp_path / "train.traj", [*frames, again])
    val = write(tmp_path / "val.traj", [*slabs(4, 8)])
    with pytest.raises(HpoptError, match=r"train.traj: frame 6: positions: the same structure as .*frame 1"):
        make(tmp_path, train, val)
    dropped = make(tmp_path, train, val, name="d.lmdb", options=ReadOptions(duplicates="drop")).header[
        "splits"
    ]
    assert [dropped[s]["n_frames"] for s in dropped] == [6, 2]
    assert [dropped[s]["dropped_duplicates"] for s in dropped] == [1, 2]
    kept = make(tmp_path, train, val, name="k.lmdb", options=ReadOptions(duplicates="keep")).header["splits"]
    assert [kept[s]["n_frames"] for s in kept] == [7, 4]


def test_minus_zero_and_another_format_do_not_hide_a_duplicate(tmp_path):
    atoms = slab(0)
    atoms.positions[0] = 0.0
    again = atoms.copy()
    again.positions[0] = -1e-9
    for frame in (atoms, again):
        labelled(frame, 1.0)
    other = slab(1)
    labelled(other, 1.0)
    with pytest.raises(HpoptError, match="the same structure"):
        make(tmp_path, write(tmp_path / "a.traj", [atoms, other]), write(tmp_path / "b.extxyz", [again]))


def test_input_arguments(tmp_path, monkeypatch):
    for name in ("train.traj", "a=b.traj", "val.extxyz.gz"):
        (tmp_path / name).write_text("")
    monkeypatch.chdir(tmp_path)
    found = parse_inputs(["train.traj", "late=val.extxyz.gz", "a=b.traj", f"x={tmp_path / 'train.traj'}"])
    assert [(i.split, i.path.name) for i in found] == [
        ("train", "train.traj"), ("late", "val.extxyz.gz"), ("a=b", "a=b.traj"), ("x", "train.traj")
    ]  # fmt: skip
    for arguments, message in (
        ([], "none given"),
        (["no.traj"], "no.traj: no such file"),
        (["v=no.traj"], "no.traj: no such file"),
        (["=train.traj"], "split: no name"),
        (["train.traj", "train=val.extxyz.gz"], "split 'train' occurs twice"),
    ):
        with pytest.raises(HpoptError, match=message):
            parse_inputs(arguments)


def test_the_output_is_not_an_input(inputs, tmp_path):
    file = write(tmp_path / "t.traj", slabs(0, 3))
    before = file.read_bytes()
    with pytest.raises(HpoptError, match="output is also an input"):
        preprocess([Input("t", file)], tmp_path / "." / "t.traj", settings=GMP, overwrite=True)
    assert file.read_bytes() == before


def test_a_folder_where_nothing_can_be_written(inputs):
    with pytest.raises(HpoptError, match="/proc/s.lmdb: cannot be written: .*nothing was changed"):
        preprocess([Input("val", inputs / "val.traj")], "/proc/s.lmdb", settings=GMP)


def test_an_overwritten_store_is_replaced_also_while_it_is_open(inputs, tmp_path):
    old = make(tmp_path, inputs / "val.traj")
    features = next(old.shards("val")).features
    expected = features.copy()
    new = make(tmp_path, inputs / "ood.traj", overwrite=True)
    assert new.splits == ["ood"] and old.splits == ["val"]
    assert np.array_equal(features, expected)  # the old map stays until its last user is gone


SLOW = """
import time
import hpopt_lib.store.writer as writer
add = writer.StoreWriter.add
def slow(self, shard):
    number = add(self, shard)
    print("added", number, flush=True)
    time.sleep(60)
    return number
writer.StoreWriter.add = slow
"""


def stopped_in_the_middle(
    folder: Path, number: int, *, inputs: Path, more: tuple[str, ...] = ()
) -> tuple[int, str]:
    """Start preprocess, send it a signal after its first shard, and give exit code and standard error."""
    command = hpopt_command(
        "preprocess",
        inputs / "train.traj",
        inputs / "val.traj",
        "--out",
        "s.lmdb",
        *GMP_OPTIONS,
        *more,
        code=SLOW,
    )
    process = subprocess.Popen(
        command, cwd=folder, env=environment(), stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )
    assert process.stdout is not None
    assert process.stdout.readline() == "added 0\n"
    time.sleep(0.2)
    process.send_signal(number)
    _, said = process.communicate(timeout=30)
    return process.returncode, said


def test_kill_9_leaves_no_store_and_the_next_run_succeeds(inputs, tmp_path):
    code, _ = stopped_in_the_middle(tmp_path, signal.SIGKILL, inputs=inputs)
    assert code == -signal.SIGKILL
    assert not (tmp_path / "s.lmdb").exists()
    for rest in tmp_path.iterdir():  # what is left does not bear the final name and is no store
        assert rest.name in (".s.lmdb.part", ".s.lmdb.part.lock", ".s.lmdb.part.seen")
        with pytest.raises(HpoptError):
            Store.open(rest)
    assert make(tmp_path, inputs / "train.traj", inputs / "val.traj").splits == ["train", "val"]
    assert [path.name for path in tmp_path.iterdir()] == ["s.lmdb"]


def test_kill_9_leaves_the_older_store(inputs, tmp_path):
    make(tmp_path, inputs / "ood.traj")
    before = (tmp_path / "s.lmdb").read_bytes()
    stopped_in_the_middle(tmp_path, signal.SIGKILL, inputs=inputs, more=("--overwrite",))
    assert (tmp_path / "s.lmdb").read_bytes() == before


def test_ctrl_c_leaves_only_what_the_next_run_goes_on_with(inputs, tmp_path):
    code, said = stopped_in_the_middle(tmp_path, signal.SIGINT, inputs=inputs)
    assert code == 130 and said.splitlines()[-1].startswith("hpopt: interrupted")
    assert "Traceback" not in said and [path.name for path in tmp_path.iterdir()] == [".s.lmdb.part"]
    make(tmp_path, inputs / "train.traj", inputs / "val.traj")
    assert [path.name for path in tmp_path.iterdir()] == ["s.lmdb"]
