"""Bad input through the command line: one clear line with file, field and remedy, and nothing is changed."""

from __future__ import annotations

import errno
import json
import os
import shutil
import signal
import sqlite3
from collections.abc import Callable
from contextlib import closing
from dataclasses import dataclass, field
from pathlib import Path

import ase.io
import lmdb
import numpy as np
import pytest
from ase import Atoms
from click.testing import CliRunner
from synthetic import GMP_OPTIONS, labelled, run_hpopt, slab, slabs, water, write

from hpopt_lib.cli import main
from hpopt_lib.tuning.manage import list_studies
from hpopt_lib.tuning.storage import open_storage


@dataclass
class World:
    """A folder with good inputs, a store and a study, in which every case spoils something."""

    folder: Path
    store: Path
    files: dict[str, Path] = field(default_factory=dict)

    def frames(self, change: Callable[[list[Atoms]], object] | None = None, name: str = "bad.traj") -> Path:
        """Four slabs in a file, after a change of the list or its frames."""
        frames = slabs(500, 504)
        if change is not None:
            change(frames)
        return write(self.folder / name, frames)

    def file(self, name: str, content: bytes | str) -> Path:
        path = self.folder / name
        path.write_bytes(content.encode() if isinstance(content, str) else content)
        return path


@pytest.fixture
def world(tmp_path, monkeypatch, store_path, inputs) -> World:
    monkeypatch.chdir(tmp_path)
    shutil.copy(store_path, tmp_path / "good.lmdb")
    shutil.copy(inputs / "ood.traj", tmp_path / "good.traj")
    return World(tmp_path, tmp_path / "good.lmdb")


def snapshot(folder: Path) -> dict[str, object]:
    """Every file with its bytes, every folder."""
    return {
        str(path.relative_to(folder)): path.read_bytes() if path.is_file() else None
        for path in sorted(folder.rglob("*"))
    }


def refused(world: World, arguments: list[object], *fragments: str, code: int = 1) -> str:
    """Run the command and check the one line it must end with."""
    before = snapshot(world.folder)
    result = CliRunner().invoke(main, [str(a) for a in arguments])
    assert result.exit_code == code, f"{result.exit_code}: {result.output} {result.exception!r}"
    assert result.stdout == ""
    lines = result.stderr.splitlines()
    assert len(lines) == 1, result.stderr
    assert lines[0].startswith("hpopt: error: ")
    _problem, separator, remedy = lines[0].removeprefix("hpopt: error: ").partition("; ")
    assert separator and remedy, f"no remedy in: {lines[0]}"
    for fragment in fragments:
        assert fragment in lines[0], f"{fragment!r} is not in: {lines[0]}"
    assert snapshot(world.folder) == before
    return lines[0]


# --- structure files ---------------------------------------------------------------------------


def truncated(world: World, name: str) -> Path:
    path = world.frames(name=name)
    path.write_bytes(path.read_bytes()[: path.stat().st_size * 5 // 8])
    return path


def moved(value: float) -> Callable[[list[Atoms]], None]:
    def change(frames: list[Atoms]) -> None:
        atoms = frames[2]
        atoms.positions[3, 1] = value
        labelled(atoms, 1.0, np.zeros((9, 3)))

    return change


def results(energy: object = 1.0, forces: object = 0.0) -> Callable[[list[Atoms]], None]:
    """Other results in frame 2; None stands for no such result."""

    def change(frames: list[Atoms]) -> None:
        array = None if forces is None else np.tile([0, 0, forces], (9, 1))
        labelled(frames[2], energy, array)  # type: ignore[arg-type]

    return change


def element(number: int) -> Callable[[list[Atoms]], None]:
    def change(frames: list[Atoms]) -> None:
        frames[2].numbers[4] = number
        labelled(frames[2], 1.0, np.zeros((9, 3)))

    return change


def coinciding(frames: list[Atoms]) -> None:
    frames[2].positions[1] = frames[2].positions[0] + frames[2].cell[0] + [0.01, 0, 0]
    labelled(frames[2], 1.0, np.zeros((9, 3)))


def huge_cell(frames: list[Atoms]) -> None:
    frames[2].cell[2, 2] = 1e10
    labelled(frames[2], 1.0, np.zeros((9, 3)))


def flat(frames: list[Atoms]) -> None:
    frames[2].cell[2] = frames[2].cell[1]
    labelled(frames[2], 1.0, np.zeros((9, 3)))


def infinite_cell(frames: list[Atoms]) -> None:
    frames[2].pbc = False
    frames[2].cell[2, 2] = np.inf
    labelled(frames[2], 1.0, np.zeros((9, 3)))


def empty_frame(frames: list[Atoms]) -> None:
    frames[2] = labelled(Atoms(), 0.0)


def scaled(factor: float) -> Callable[[list[Atoms]], None]:
    """Lengths in another unit, with energies and forces as they were."""

    def change(frames: list[Atoms]) -> None:
        for atoms in frames:
            energy, forces = atoms.get_potential_energy(), atoms.get_forces(apply_constraint=False)
            atoms.set_cell(atoms.cell * factor, scale_atoms=True)
            labelled(atoms, energy, forces)

    return change


def repeated(frames: list[Atoms]) -> None:
    frames.append(frames[1])


def waters(*, energy: float = 1.0, force: float = 1.0, length: float = 1.0) -> Callable[[World], Path]:
    def make(world: World) -> Path:
        frames = [water(k) for k in range(4)]
        for atoms in frames:
            values = atoms.get_potential_energy() * energy, atoms.get_forces() * force
            atoms.positions *= length
            labelled(atoms, *values)
        return write(world.folder / "bad.extxyz", frames)

    return make


def spoiled(change: Callable[[list[Atoms]], object], name: str = "bad.traj") -> Callable[[World], Path]:
    return lambda world: world.frames(change, name)


def xyz_without_energy(world: World) -> Path:
    frames = [Atoms(a.symbols, a.positions, cell=a.cell, pbc=True) for a in slabs(500, 502)]
    return write(world.folder / "bad.extxyz", frames)


STRUCTURE_FILES: dict[str, tuple[Callable[[World], Path], tuple[str, ...]]] = {
    "empty file": (lambda w: w.file("bad.traj", ""), ("bad.traj: the file is empty",)),
    "truncated traj": (lambda w: truncated(w, "bad.traj"), ("bad.traj: frame 2: cannot be read", "truncated")),
    "truncated extxyz": (lambda w: truncated(w, "bad.extxyz"), ("bad.extxyz: frame 2: cannot be read", "truncated")),
    "truncated gz": (lambda w: truncated(w, "bad.extxyz.gz"), ("bad.extxyz.gz: frame", "cannot be read")),
    "binary file": (lambda w: w.file("bad.dat", bytes(range(256)) * 9), ("bad.dat: frame 0: cannot be read", "of another format")),
    "binary named traj": (lambda w: w.file("bad.traj", bytes(range(256)) * 9), ("bad.traj: ", "cannot be read")),
    "text named extxyz": (lambda w: w.file("bad.extxyz", "hello\n"), ("bad.extxyz: ", "cannot be read")),
    "number without atoms": (lambda w: w.file("bad.extxyz", "3\n"), ("bad.extxyz: ", "cannot be read")),
    "NaN energy": (spoiled(results(energy=np.nan)), ("bad.traj: frame 2: energy: nan is not a finite number",)),
    "infinite energy": (spoiled(results(energy=-np.inf)), ("bad.traj: frame 2: energy: -inf is not a finite",)),
    "missing energy": (spoiled(results(energy=None)), ("bad.traj: frame 2: energy: missing; store total energies",)),
    "no energy in extxyz": (xyz_without_energy, ("bad.extxyz: frame 0: energy: missing",)),
    "infinite force": (spoiled(results(forces=np.inf)), ("bad.traj: frame 2: forces: not all are finite",)),
    "NaN force": (spoiled(results(forces=np.nan)), ("bad.traj: frame 2: forces: not all are finite",)),
    "missing forces": (spoiled(results(forces=None)), ("bad.traj: forces: missing in 1 of 4 frames",)),
    "NaN position": (spoiled(moved(np.nan)), ("bad.traj: frame 2: positions: not all are finite",)),
    "atom far away": (spoiled(moved(1e10)), ("bad.traj: frame 2: positions: atoms or cell reach to 1e+10 Å",)),
    "huge cell": (spoiled(huge_cell), ("bad.traj: frame 2: positions: atoms or cell reach to 1e+10 Å",)),
    "element without density": (spoiled(element(94)), ("bad.traj: frame 2: ", "Pu")),
    "element X": (spoiled(element(0)), ("bad.traj: frame 2: element: atom 4 has no known element",)),
    "element 7432": (spoiled(element(7432)), ("bad.traj: frame 2: element: atom 4 has no known element (number 7432)",)),
    "no atoms": (spoiled(empty_frame), ("bad.traj: frame 2: atoms: there is none",)),
    "coinciding atoms": (spoiled(coinciding), ("bad.traj: frame 2: positions: two atoms are 0.010 Å apart",)),
    "cell without volume": (spoiled(flat), ("bad.traj: frame 2: cell: periodic, but its volume is zero",)),
    "infinite cell": (spoiled(infinite_cell), ("bad.traj: frame 2: cell: not all numbers are finite",)),
    "one training frame": (spoiled(lambda f: f.__delitem__(slice(1, 4))), ("bad.traj: frames: one only",)),
    "duplicate frame": (spoiled(repeated), ("bad.traj: frame 4: positions: the same structure as", "frame 1")),
    "energies in kcal/mol": (waters(energy=23.06, force=1.0), ("bad.extxyz: energy: ", "too large for eV", "--energy-unit")),
    "forces in kcal/mol": (waters(force=23.06), ("bad.extxyz: forces: root mean square", "--energy-unit")),
    "molecules in Bohr": (waters(length=1.89), ("bad.extxyz: positions: ", "does not fit Å", "--length-unit")),
    "molecules in nm": (waters(length=0.1), ("bad.extxyz: positions: ", "does not fit Å", "--length-unit")),
    "slabs in Bohr": (spoiled(scaled(1.89)), ("bad.traj: positions: ", "does not fit Å", "--length-unit")),
    "slabs in nm": (spoiled(scaled(0.1)), ("bad.traj: frame 0: ", "--length-unit")),
    "slabs in pm": (spoiled(scaled(0.01)), ("bad.traj: frame 0: ", "--length-unit")),
}  # fmt: skip


@pytest.mark.parametrize("case", STRUCTURE_FILES)
def test_structure_files(world, case):
    make, fragments = STRUCTURE_FILES[case]
    refused(world, ["preprocess", make(world), "--out", "new.lmdb", *GMP_OPTIONS], *fragments)


def test_units_that_are_declared_are_accepted(world):
    path = waters(energy=23.0605, force=23.0605)(world)
    result = CliRunner().invoke(
        main, ["preprocess", str(path), "--out", "new.lmdb", "--energy-unit", "kcal/mol", *GMP_OPTIONS]
    )
    assert result.exit_code == 0, result.output
    path = spoiled(scaled(1.8897))(world)
    result = CliRunner().invoke(
        main, ["preprocess", str(path), "--out", "b.lmdb", "--length-unit", "Bohr", *GMP_OPTIONS]
    )
    assert result.exit_code == 0, result.output


def test_a_check_of_units_can_be_passed_over(world):
    path = waters(force=23.06)(world)
    result = CliRunner().invoke(
        main, ["preprocess", str(path), "--out", "new.lmdb", "--no-unit-check", *GMP_OPTIONS]
    )
    assert result.exit_code == 0, result.output


def test_a_wrong_unit_of_length_shows(world):
    """Å declared as Bohr."""
    path = waters()(world)
    refused(
        world,
        ["preprocess", path, "--out", "new.lmdb", "--length-unit", "Bohr", *GMP_OPTIONS],
        "positions: ",
        "fit Å",
    )


def test_a_duplicate_across_inputs(world):
    first, second = world.frames(name="a.traj"), write(world.folder / "b.traj", slabs(502, 508))
    refused(
        world, ["preprocess", first, second, "--out", "new.lmdb", *GMP_OPTIONS],
        "b.traj: frame 0: positions: the same structure as", "a.traj: frame 2", "--duplicates drop",
    )  # fmt: skip


def test_a_bad_second_input_leaves_nothing(world):
    bad = world.frames(results(energy=np.nan))
    refused(
        world,
        ["preprocess", "good.traj", bad, "--out", "new.lmdb", *GMP_OPTIONS],
        "bad.traj: frame 2: energy",
    )


def test_only_duplicates_in_an_input(world):
    shutil.copy("good.traj", "again.traj")
    arguments = [
        "preprocess",
        "good.traj",
        "again.traj",
        "--out",
        "new.lmdb",
        "--duplicates",
        "drop",
        *GMP_OPTIONS,
    ]
    refused(world, arguments, "again.traj: no frame left")


# --- arguments of preprocess -------------------------------------------------------------------

PREPROCESS: dict[str, tuple[list[str], tuple[str, ...]]] = {
    "no input": ([], ("inputs: none given",)),
    "missing input": (["no.traj"], ("no.traj: no such file",)),
    "missing named input": (["train=no.traj"], ("no.traj: no such file",)),
    "folder as input": (["folder"], ("folder: ", "cannot be read")),
    "folder without name": (["."], (".: split: no name",)),
    "same split twice": (["good.traj", "good=good.traj"], ("good.traj: split 'good' occurs twice", "NAME=FILE")),
    "split without name": (["=good.traj"], ("=good.traj: split: no name",)),
    "unknown energy unit": (["good.traj", "--energy-unit", "Ry"], ("--energy-unit: 'Ry' is unknown", "Hartree")),
    "unknown length unit": (["good.traj", "--length-unit", "furlong"], ("--length-unit: 'furlong' is unknown", "Bohr")),
    "unknown dtype": (["good.traj", "--dtype", "float16"], ("--dtype: 'float16' is unknown", "float32 or float64")),
    "unknown transform": (["good.traj", "--transform", "sqrt"], ("transform 'sqrt' is unknown", "log, none")),
    "unknown rule for duplicates": (["good.traj", "--duplicates", "ask"], ("--duplicates: 'ask'", "drop")),
    "sigmas that are no numbers": (["good.traj", "--sigmas", "0.4;0.8"], ("--sigmas: '0.4;0.8' is no list", "0.4,0.69")),
    "no sigma": (["good.traj", "--sigmas", ""], ("--sigmas: '' is no list of numbers",)),
    "sigma of zero": (["good.traj", "--sigmas", "0,1"], ("sigmas", "positive")),
    "sigma twice": (["good.traj", "--sigmas", "1,1"], ("sigmas", "repeats")),
    "NaN sigma": (["good.traj", "--sigmas", "nan"], ("sigmas", "positive")),
    "order too high": (["good.traj", "--max-order", "9"], ("max_order: 9", "0 to 8")),
    "negative order": (["good.traj", "--max-order", "-1"], ("max_order: -1",)),
    "negative cutoff": (["good.traj", "--cutoff", "-6"], ("cutoff: -6", "positive")),
    "infinite cutoff": (["good.traj", "--cutoff", "inf"], ("cutoff: inf", "positive")),
}  # fmt: skip


@pytest.mark.parametrize("case", PREPROCESS)
def test_arguments_of_preprocess(world, case):
    (world.folder / "folder").mkdir()
    arguments, fragments = PREPROCESS[case]
    refused(world, ["preprocess", *arguments, "--out", "new.lmdb"], *fragments)


def test_an_existing_output_is_kept(world):
    refused(
        world,
        ["preprocess", "good.traj", "--out", "good.lmdb"],
        "good.lmdb: output exists already",
        "--overwrite",
    )


def test_an_input_as_output(world):
    arguments = ["preprocess", "good.traj", "--out", "good.traj", "--overwrite"]
    refused(world, arguments, "good.traj: output is also an input")


def test_a_folder_as_output(world):
    (world.folder / "folder").mkdir()
    arguments = ["preprocess", "good.traj", "--out", "folder", "--overwrite", *GMP_OPTIONS]
    refused(world, arguments, "folder: a folder, not a file")


def test_a_file_as_folder_of_the_output(world):
    arguments = ["preprocess", "good.traj", "--out", "good.traj/new.lmdb"]
    refused(world, arguments, "good.traj/new.lmdb: folder cannot be made", "where you may write")


def test_a_read_only_folder(world):
    if os.geteuid() == 0:
        pytest.skip("root may write anywhere")
    folder = world.folder / "locked"
    folder.mkdir(mode=0o500)
    refused(world, ["preprocess", "good.traj", "--out", "locked/new.lmdb", *GMP_OPTIONS], "cannot be written")


@pytest.mark.parametrize(
    "arguments", [["preprocess", "good.traj"], ["tune"], ["preprocess", "--cutoff", "six"], ["make"]]
)
def test_usage_errors_of_click_have_code_2(world, arguments):
    before = snapshot(world.folder)
    result = CliRunner().invoke(main, arguments)
    assert result.exit_code == 2 and "Usage: " in result.stderr and "Error: " in result.stderr
    assert snapshot(world.folder) == before


# --- stores ------------------------------------------------------------------------------------


def foreign(world: World, items: dict[bytes, bytes], name: str = "bad.lmdb", *, subdir: bool = False) -> Path:
    path = world.folder / name
    with lmdb.open(str(path), subdir=subdir, lock=False) as env, env.begin(write=True) as txn:
        for key, value in items.items():
            txn.put(key, value)
    return path


def other_version(world: World) -> Path:
    header = {"format": "hpopt-feature-store", "version": 7}
    return foreign(world, {b"header": json.dumps(header).encode()})


STORES: dict[str, tuple[Callable[[World], object], tuple[str, ...]]] = {
    "missing": (lambda w: "no.lmdb", ("no.lmdb: no such store", "hpopt preprocess")),
    "empty": (lambda w: w.file("bad.lmdb", ""), ("bad.lmdb: not a readable LMDB file",)),
    "text": (lambda w: w.file("bad.lmdb", "text\n" * 2000), ("bad.lmdb: not a readable LMDB file",)),
    "structure file": (lambda w: "good.traj", ("good.traj: not a readable LMDB file",)),
    "truncated": (
        lambda w: w.file("bad.lmdb", w.store.read_bytes()[:-5000]), ("bad.lmdb: the store is truncated", "bytes")
    ),
    "foreign LMDB": (lambda w: foreign(w, {b"0": b"x"}), ("bad.lmdb: an LMDB file, but not a feature store",)),
    "foreign folder": (lambda w: foreign(w, {b"0": b"x"}, subdir=True), ("bad.lmdb: a folder, not a feature store",)),
    "other version": (other_version, ("bad.lmdb: format version 7, this hpopt reads versions 1 and 2",)),
}  # fmt: skip


@pytest.mark.parametrize("command", ["info", "tune"])
@pytest.mark.parametrize("case", STORES)
def test_stores(world, case, command):
    make, fragments = STORES[case]
    path = make(world)
    arguments = ["data", "info", path] if command == "info" else ["tune", path, "--study", "s", "--trials", 1]
    refused(world, arguments, *fragments)


# --- studies -----------------------------------------------------------------------------------

SPACES = {
    "invalid TOML": ("[lr\n", ("bad.toml: not valid TOML",)),
    "unknown hyperparameter": ("[rate]\ntype='float'\nlow=1\nhigh=2\n", ("bad.toml: 'rate' is unknown",)),
    "unknown type": ("[lr]\ntype='real'\nlow=1\nhigh=2\n", ("bad.toml: lr: type: 'real' is unknown",)),
    "range upside down": (
        "[lr]\ntype='float'\nlow=2\nhigh=1\n",
        ("bad.toml: lr: low 2.0 is above high 1.0",),
    ),
    "range outside": ("[lr]\ntype='float'\nlow=1\nhigh=99\n", ("bad.toml: lr: lr: 99.0 is out of range",)),
    "empty": ("", ("bad.toml: no parameter left to search",)),
}
TUNE: dict[str, tuple[list[str], tuple[str, ...]]] = {
    "zero trials": (["--trials", "0"], ("--trials 0", "at least 1")),
    "zero jobs": (["--trials", "1", "--jobs", "0"], ("--jobs 0", "at least 1")),
    "forces and batch normalisation": (
        ["--trials", "1", "--set", "force_weight=1"],
        ("search space: force_weight does not go with normalization batch", "--set normalization=layer"),
    ),
    "negative force weight": (["--trials", "1", "--set", "force_weight=-1"], ("force_weight: -1.0 is out of range",)),
    "unknown split": (["--trials", "1", "--validation", "test"], ("good.lmdb: no split 'test'", "train, val, ood")),
    "training split": (["--trials", "1", "--validation", "train"], ("--validation: 'train' is the training split",)),
    "too many frames": (["--trials", "1", "--train-frames", "99"], ("n_train: 99 is out of range", "2 to 60")),
    "missing space": (["--trials", "1", "--space", "no.toml"], ("no.toml: cannot be read",)),
    "--set without value": (["--trials", "1", "--set", "lr"], ("--set: 'lr' has no '='",)),
    "--set of unknown name": (["--trials", "1", "--set", "rate=1"], ("--set: 'rate' is unknown", "num_layers")),
    "--set of bad value": (["--trials", "1", "--set", "lr=fast"], ("lr: 'fast' is not of type float",)),
    "--set out of range": (["--trials", "1", "--set", "lr=-1"], ("lr: -1.0 is out of range",)),
    "more orders than stored": (["--trials", "1"], ("search space: max_order: 3 is above the store's 1", "--set")),
    "storage without kind": (["--trials", "1", "--storage", "s.db"], ("--storage: 's.db' is no storage address",)),
    "unknown kind of storage": (["--trials", "1", "--storage", "oracle9://x"], ("--storage: oracle9://x cannot",)),
    "text as storage": (["--trials", "1", "--storage", "sqlite:///notes.txt"], ("notes.txt: not an SQLite file",)),
    "other database": (["--trials", "1", "--storage", "sqlite:///other.db"], ("other.db: a database of another",)),
    "damaged journal": (["--trials", "1", "--storage", "journal:///notes.txt"], ("notes.txt: not a journal",)),
    "folder of the storage": (["--trials", "1", "--storage", "sqlite:///no/s.db"], ("no: no such folder",)),
}  # fmt: skip
FITTING = ["--set", "max_order=1", "--set", "num_sigmas=2"]


@pytest.fixture
def with_storages(world) -> World:
    world.file("notes.txt", "my notes\n" * 50)
    with closing(sqlite3.connect("other.db")) as connection:
        connection.execute("CREATE TABLE t (a)")
        connection.commit()
    return world


@pytest.mark.parametrize("case", TUNE)
def test_arguments_of_tune(with_storages, case):
    arguments, fragments = TUNE[case]
    fitting = [] if case == "more orders than stored" else FITTING
    storage = [] if "--storage" in arguments else ["--storage", "sqlite:///new.db"]
    if storage:
        open_storage(storage[1])  # a bad study may be noticed only after the storage was made
    refused(with_storages, ["tune", "good.lmdb", "--study", "s", *arguments, *storage, *fitting], *fragments)


@pytest.mark.parametrize(("option", "name"), [("--sampler", "bayes"), ("--pruner", "asha")])
def test_unknown_samplers_and_pruners(world, option, name):
    arguments = ["tune", "good.lmdb", "--study", "s", "--trials", 1, option, name, *FITTING]
    line = refused_without_study(world, arguments)
    assert f"{option}: '{name}' is unknown; use one of " in line


def test_the_wilcoxon_pruner_without_repeats(world):
    arguments = ["tune", "good.lmdb", "--study", "s", "--trials", 1, "--pruner", "wilcoxon", *FITTING]
    assert (
        "--pruner wilcoxon: " in (line := refused_without_study(world, arguments)) and "--repeats 4" in line
    )


@pytest.mark.parametrize(
    ("options", "fragment"),
    [
        (["--race", 0.95], "--race 0.95: it stops repeats of a training, and --repeats is 1"),
        (["--race", 95, "--repeats", 5], "--race 95.0: no confidence from 0.5 to below 1"),
        (["--race", 0.9, "--repeats", 5, "--pruner", "wilcoxon"], "--race 0.9: --pruner wilcoxon decides"),
    ],
)
def test_races(world, options, fragment):
    arguments = ["tune", "good.lmdb", "--study", "s", "--trials", 1, *options, *FITTING]
    assert fragment in refused_without_study(world, arguments)


def test_a_grid_over_conditions(world):
    arguments = ["tune", "good.lmdb", "--study", "s", "--trials", 1, "--sampler", "grid", *FITTING]
    assert "sampler grid: the space has conditional parameters" in refused_without_study(world, arguments)


def refused_without_study(world: World, arguments: list[object]) -> str:
    """As `refused`, where the storage exists already, and holds no study afterwards."""
    open_storage("sqlite:///hpopt.db")
    line = refused(world, arguments)
    assert list_studies() == []
    return line


@pytest.mark.parametrize("case", SPACES)
def test_spaces(world, case):
    text, fragments = SPACES[case]
    world.file("bad.toml", text)
    refused(
        world,
        ["tune", "good.lmdb", "--study", "s", "--trials", 1, "--space", "bad.toml", *FITTING],
        *fragments,
    )


def test_a_store_with_only_one_split(world):
    made = CliRunner().invoke(main, ["preprocess", "good.traj", "--out", "one.lmdb", *GMP_OPTIONS])
    assert made.exit_code == 0
    arguments = ["tune", "one.lmdb", "--study", "s", "--trials", 1, *FITTING]
    refused(world, arguments, "one.lmdb: only the training split 'good'", "validation file")


def test_forces_of_a_store_without_forces(world):
    def without(frames: list[Atoms]) -> None:
        for atoms in frames:
            labelled(atoms, 1.0)

    world.frames(without)
    made = CliRunner().invoke(
        main, ["preprocess", "good.traj", "bad.traj", "--out", "poor.lmdb", *GMP_OPTIONS]
    )
    assert made.exit_code == 0, made.output
    world.file("space.toml", "[force_weight]\ntype='float'\nlow=0.1\nhigh=9\nlog=true\n")
    arguments = ["tune", "poor.lmdb", "--study", "s", "--trials", 1, "--space", "space.toml", *FITTING]
    refused(
        world, arguments, "poor.lmdb: force_weight: 4 of 4 validation frames have no forces", "preprocess"
    )


@pytest.fixture
def with_study(world) -> World:
    result = CliRunner().invoke(main, [*STUDY, "--trials", "1"])
    assert result.exit_code == 0, result.output
    return world


STUDY = [
    "tune", "good.lmdb", "--study", "s", "--final-seeds", "0", "--set", "epochs=1", "--set", "num_layers=1", *FITTING
]  # fmt: skip


def test_a_study_with_other_settings(with_study):
    line = refused(
        with_study, [*STUDY, "--trials", 2, "--seed", 5], "study 's': exists with other settings: "
    )
    assert "seed (0, now 5)" in line and "choose another --study name" in line


@pytest.mark.parametrize("command", ["show", "best", "export", "delete"])
def test_unknown_studies(with_study, command):
    more = {"export": ["out.csv"], "delete": ["--yes"]}.get(command, [])
    refused(
        with_study, ["study", command, "nobody", *more], "study 'nobody': not in sqlite:///hpopt.db; it has s"
    )


def test_a_report_of_an_unknown_study(with_study):
    pytest.importorskip("hpopt_lib.report.study_report")
    refused(with_study, ["report", "nobody"], "study 'nobody': not in sqlite:///hpopt.db; it has s")


def test_exports(with_study):
    kept = with_study.file("out.csv", "kept")
    refused(with_study, ["study", "export", "s", "out.xlsx"], "out.xlsx: unknown ending", ".csv or .json")
    refused(with_study, ["study", "export", "s", kept], "out.csv: output exists already", "--overwrite")


@pytest.mark.parametrize("command", ["list", "show", "best", "export", "delete"])
def test_no_storage(world, command):
    more = {"list": [], "export": ["s", "out.csv"]}.get(command, ["s"])
    refused(world, ["study", command, *more], "hpopt.db: no such study storage", "hpopt tune first")


# --- disk and signals --------------------------------------------------------------------------

LIMIT = "import resource; resource.setrlimit(resource.RLIMIT_FSIZE, (60000, 60000))"


def test_a_full_disk_in_preprocess(world):
    """A limit on file sizes refuses data as a full disk does."""
    before = snapshot(world.folder)
    result = run_hpopt(
        "preprocess", "good.traj", "--out", "new.lmdb", *GMP_OPTIONS, cwd=world.folder, code=LIMIT
    )
    lines = result.stderr.splitlines()
    assert result.returncode == 1 and len(lines) == 1, result.stderr
    assert (
        lines[0].startswith("hpopt: error: new.lmdb: cannot be written: ") and "free some space" in lines[0]
    )
    assert snapshot(world.folder) == before


@pytest.mark.parametrize("place", ["write", "sync", "rename"])
def test_a_full_disk_at_any_moment(world, monkeypatch, place):
    full = OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    def no_space(*_args: object, **_kwargs: object) -> None:
        raise full

    if place == "write":
        monkeypatch.setattr("hpopt_lib.store.writer.StoreWriter.add", no_space)
    elif place == "sync":
        monkeypatch.setattr("hpopt_lib.store.writer.sync", no_space)
    else:
        monkeypatch.setattr("hpopt_lib.files.os.replace", no_space)
    refused(
        world, ["preprocess", "good.traj", "--out", "good.lmdb", "--overwrite", *GMP_OPTIONS],
        "good.lmdb: cannot be written: No space left on device", "nothing was changed",
    )  # fmt: skip


def test_ctrl_c_in_preprocess(world, monkeypatch):
    def interrupted(*_args: object) -> None:
        os.kill(os.getpid(), signal.SIGINT)

    monkeypatch.setattr("hpopt_lib.preprocess._check_forces", interrupted)
    before = snapshot(world.folder)
    result = CliRunner().invoke(main, ["preprocess", "good.traj", "--out", "new.lmdb", *GMP_OPTIONS])
    assert result.exit_code == 130 and result.stdout == ""
    (line,) = result.stderr.splitlines()
    assert line.startswith("hpopt: interrupted; what was finished is kept")
    assert snapshot(world.folder).keys() == before.keys() | {".new.lmdb.part"}
    (world.folder / ".new.lmdb.part").unlink()
    assert snapshot(world.folder) == before


def test_the_good_input_is_good(world):
    """The cases above fail for the reason they name, and not because of the rest."""
    result = CliRunner().invoke(
        main, ["preprocess", "good.traj", str(world.frames()), "--out", "new.lmdb", *GMP_OPTIONS]
    )
    assert result.exit_code == 0, result.output
    assert len(ase.io.read("bad.traj", ":")) == 4 and slab(500) == ase.io.read("bad.traj", "0")
    assert "bad" in CliRunner().invoke(main, ["data", "info", "new.lmdb"]).stdout
