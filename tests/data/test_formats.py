"""MD17, QM9, ASE's own files, the registry, and the vocabulary of labels."""

from __future__ import annotations

import shutil
import tarfile
import zipfile
from pathlib import Path
from typing import Any

import ase.db
import ase.io
import numpy as np
import pytest
from click.testing import CliRunner
from foreign_files import HARTREE_IN_EV, KCAL_PER_EV, qm9_text, write_npz, write_qm9
from synthetic import GMP_OPTIONS, labelled, slabs, water, write

from hpopt_lib.cli import main
from hpopt_lib.data import formats
from hpopt_lib.data.format_npz import KEYS
from hpopt_lib.data.frame_labels import LABELS
from hpopt_lib.data.reader_protocol import Format
from hpopt_lib.data.readers import FrameSource
from hpopt_lib.errors import HpoptError
from hpopt_lib.store import Store

ROOT = Path(__file__).resolve().parents[2]


def refused(path: Path, message: str, **options: Any) -> None:
    with pytest.raises(HpoptError, match=message) as raised:
        list(FrameSource(path, **options))
    assert raised.value.remedy


def waters(count: int = 5):
    return [water(k) for k in range(count)]


# --- MD17 and rMD17 ------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["md17", "rmd17"])
def test_arrays_in_kcal_per_mol(tmp_path, name):
    frames = waters()
    source = FrameSource(write_npz(tmp_path / "w.npz", frames, keys=KEYS[name]))
    read = list(source)
    assert [a.get_potential_energy() for a in read] == pytest.approx(
        [a.get_potential_energy() for a in frames]
    )
    for ours, theirs in zip(read, frames, strict=True):
        assert ours.positions == pytest.approx(theirs.positions) and not ours.pbc.any()
        assert ours.get_forces() == pytest.approx(theirs.get_forces(), rel=1e-6)
    assert [a.info["frame"] for a in read] == [0, 1, 2, 3, 4] and read[0].info["composition"] == "H2O"
    record = source.record()
    assert (record["format"], record["energy_unit"], record["length_unit"]) == (name, "kcal/mol", "Å")
    assert record["ev_per_energy_unit"] == pytest.approx(1 / KCAL_PER_EV)
    assert record["energy"] == "raw"


def test_arrays_that_are_not_those_of_md17(tmp_path):
    np.savez(tmp_path / "a.npz", positions=np.zeros((2, 3, 3)), z=np.ones(3))
    refused(tmp_path / "a.npz", "a.npz: arrays: R, E missing among positions, z")
    whole = write_npz(tmp_path / "w.npz", waters(), keys=KEYS["md17"]).read_bytes()
    (tmp_path / "cut.npz").write_bytes(whole[: len(whole) // 2])
    refused(tmp_path / "cut.npz", "cut.npz: cannot be read")
    (tmp_path / "text.npz").write_text("hello\n")
    refused(tmp_path / "text.npz", "text.npz: cannot be read")
    with np.load(tmp_path / "w.npz") as arrays:
        good = dict(arrays)
    np.savez(tmp_path / "few.npz", **{**good, "R": good["R"][:4]})
    refused(tmp_path / "few.npz", r"few.npz: R: shape \(4, 3, 3\), not \(5, 3, 3\)")
    np.savez(tmp_path / "fortran.npz", **{**good, "R": np.asfortranarray(good["R"])})
    fortran, c_order = (list(FrameSource(tmp_path / f"{name}.npz")) for name in ("fortran", "w"))
    assert all(a == b for a, b in zip(fortran, c_order, strict=True))
    np.savez(tmp_path / "objects.npz", **{**good, "E": np.array([print] * 5, dtype=object)})
    refused(tmp_path / "objects.npz", "objects.npz: E: holds object, not numbers")
    short(tmp_path / "w.npz", tmp_path / "short.npz")
    refused(tmp_path / "short.npz", "short.npz: cannot be read .EOFError: R ends too early")


def short(path: Path, out: Path) -> None:
    """The same archive, whole as a zip file, with fewer positions than their header says."""
    with zipfile.ZipFile(path) as old, zipfile.ZipFile(out, "w") as new:
        for name in old.namelist():
            data = old.read(name)
            new.writestr(name, data[:-80] if name == "R.npy" else data)


# --- QM9 ---------------------------------------------------------------------------------------------


def test_qm9_as_a_folder_and_as_the_archive(tmp_path):
    frames = waters()
    folder = write_qm9(tmp_path / "qm9", frames, left_out=[2, 5, 77])
    archive = tmp_path / "dsgdb9nsd.xyz.tar.bz2"
    with tarfile.open(archive, "w:bz2") as tar:
        for file in sorted(folder.glob("dsgdb9nsd_*.xyz")):
            tar.add(file, arcname=file.name)
    shutil.copy(folder / "uncharacterized.txt", tmp_path)
    for path in (folder, archive):
        source = FrameSource(path)
        read = list(source)
        assert [a.info["system_id"] for a in read] == ["gdb_1", "gdb_3", "gdb_4"]
        for ours, theirs in zip(read, [frames[0], frames[2], frames[3]], strict=True):
            assert ours.get_potential_energy() == pytest.approx(theirs.get_potential_energy(), abs=1e-5)
            assert ours.positions == pytest.approx(theirs.positions, abs=1e-9)
            assert ours.numbers.tolist() == [8, 1, 1] and "forces" not in ours.calc.results
        assert source.record()["energy_unit"] == "Hartree"
        assert source.record()["ev_per_energy_unit"] == pytest.approx(HARTREE_IN_EV)
    single = FrameSource(folder / "dsgdb9nsd_000003.xyz")
    assert single.format.name == "qm9" and len(list(single)) == 1


@pytest.mark.parametrize(
    ("spoil", "message"),
    [
        (lambda d: (d / "uncharacterized.txt").unlink(), r"qm9: uncharacterized.txt: missing"),
        (lambda d: (d / "uncharacterized.txt").write_text("not found\n"), r"uncharacterized.txt: no molecule is listed"),
        (lambda d: change(d, lambda t: t.replace("gdb 3", "gdb 4")), r"000003.xyz: cannot be read .*not that of molecule 3"),
        (lambda d: change(d, lambda t: t[:150]), r"qm9: dsgdb9nsd_000003.xyz: cannot be read"),
        (lambda d: change(d, lambda t: t.replace("O\t", "Q\t")), r"000003.xyz: cannot be read"),
        (lambda d: change(d, lambda t: t.replace("*^", "*")), r"000003.xyz: cannot be read .ValueError"),
        (lambda d: change(d, lambda t: ""), r"000003.xyz: cannot be read"),
    ],
)  # fmt: skip
def test_qm9_files_that_are_wrong(tmp_path, spoil, message):
    folder = write_qm9(tmp_path / "qm9", waters())
    spoil(folder)
    refused(folder, message)


def change(folder: Path, how: Any) -> None:
    file = folder / "dsgdb9nsd_000003.xyz"
    file.write_text(how(file.read_text()))


def test_a_cut_archive_of_qm9(tmp_path):
    write_qm9(tmp_path / "qm9", [water(k) for k in range(300)])
    archive = tmp_path / "dsgdb9nsd.xyz.tar.bz2"
    with tarfile.open(archive, "w:bz2") as tar:
        tar.add(tmp_path / "qm9", arcname=".")
    shutil.copy(tmp_path / "qm9" / "uncharacterized.txt", tmp_path)
    assert len(list(FrameSource(archive))) == 299
    archive.write_bytes(archive.read_bytes()[:-200])
    refused(archive, "dsgdb9nsd.xyz.tar.bz2: cannot be read")
    assert qm9_text(water(0), 1).count("*^") == 2


# --- ASE's own formats -----------------------------------------------------------------------------


def test_an_ase_database_is_read_page_by_page_with_its_labels(tmp_path, monkeypatch):
    monkeypatch.setattr("hpopt_lib.data.format_ase_db.PAGE_ROWS", 3)
    frames = slabs(0, 8)
    with ase.db.connect(tmp_path / "a.db") as database:
        for number, atoms in enumerate(frames):
            database.write(atoms, sid=number // 2, fid=number % 2, data={"temperature": 300.0, "more": [1]})
    read = list(FrameSource(tmp_path / "a.db"))
    assert [a.get_potential_energy() for a in read] == pytest.approx(
        [a.get_potential_energy() for a in frames]
    )
    assert [a.info["system_id"] for a in read] == list("00112233")
    assert [a.info["frame"] for a in read] == [0, 1] * 4 and read[0].info["temperature_k"] == 300.0
    assert "sid" not in read[0].info and "more" not in read[0].info
    (tmp_path / "b.db").write_bytes((tmp_path / "a.db").read_bytes()[:5000])
    refused(tmp_path / "b.db", "b.db: frame 0: cannot be read .DatabaseError")
    (tmp_path / "c.db").write_text("no database\n" * 9)
    refused(tmp_path / "c.db", "c.db: frame 0: cannot be read")


@pytest.mark.parametrize("ending", ["extxyz", "xyz", "extxyz.xz", "extxyz.gz", "extxyz.bz2", "traj"])
def test_files_that_name_their_format(tmp_path, ending):
    frames = waters()
    source = FrameSource(write(tmp_path / f"w@1.{ending}", frames))  # a name, not a name and an index
    assert source.format.name == ("traj" if ending == "traj" else "extxyz")
    read = list(source)
    assert [a.get_potential_energy() for a in read] == pytest.approx(
        [a.get_potential_energy() for a in frames]
    )
    assert [a.info["source"] for a in read] == [f"w@1.{ending}"] * 5


# --- registry and labels ---------------------------------------------------------------------------


def test_another_format_is_one_call_away(tmp_path, monkeypatch):
    monkeypatch.setattr(formats, "_REGISTRY", dict(formats._REGISTRY))

    def read(path: Path, options: Any):
        for line in path.read_text().splitlines():
            atoms = water(int(line))
            atoms.info = {"system_id": f"w{line}", "temperature_k": 500}
            yield atoms

    ours = Format("numbers", "numbers of waters", lambda path: path.suffix == ".numbers", read)
    formats.register(ours)
    (tmp_path / "train.numbers").write_text("3\n4\n")
    out = tmp_path / "s.lmdb"
    result = CliRunner().invoke(
        main, ["preprocess", str(tmp_path / "train.numbers"), "--out", str(out), *GMP_OPTIONS]
    )
    assert result.exit_code == 0, result.output
    arrays = Store.open(out).read("train")
    assert arrays.system_ids.tolist() == ["w3", "w4"] and arrays.info[0]["temperature_k"] == 500
    assert "| `numbers` | numbers of waters |" in formats.formats_table()
    with pytest.raises(HpoptError, match="format 'numbers': the name is taken"):
        formats.register(ours)


def test_an_unknown_format_or_energy(tmp_path):
    path = write(tmp_path / "w.traj", waters())
    refused(path, "--format: 'vasp' is unknown", format="vasp")
    refused(path, "--energy: 'total' is unknown", energy="total")
    refused(path, "frame 0: reference_energy: missing, so there is no adsorption energy", energy="adsorption")


def test_labels_are_brought_to_one_vocabulary(tmp_path):
    frames = slabs(0, 2)
    frames[0].info = {"sid": 17, "fid": 3, "temperature": 300, "adsorption_energy": -1.5, "bulk": "Cu3Au"}
    frames[1].info = {"system_id": "a", "adsorbate": "OH", "composition": "Cu", "reference_energy": 2.0}
    read = list(FrameSource(write(tmp_path / "s.traj", frames)))
    energy = frames[0].get_potential_energy()
    assert read[0].info == {
        "system_id": "17", "frame": 3, "temperature_k": 300, "adsorption_energy": -1.5, "bulk": "Cu3Au",
        "reference_energy": energy + 1.5, "energy_kind": "raw", "adsorbate": "O", "composition": "Cu",
        "source": "s.traj",
    }  # fmt: skip
    assert read[1].info["adsorbate"] == "OH"
    energies = [a.get_potential_energy() for a in FrameSource(tmp_path / "s.traj", energy="adsorption")]
    assert energies == pytest.approx([-1.5, frames[1].get_potential_energy() - 2.0])
    assert {key for a in read for key in a.info} - set(LABELS) == {"bulk", "adsorption_energy"}


@pytest.mark.parametrize(
    ("label", "message"),
    [
        ({"energy_kind": "free"}, "energy_kind: 'free' is unknown; use raw or adsorption"),
        ({"reference_energy": "low"}, "reference_energy: 'low' is not a finite number"),
        ({"temperature_k": float("inf")}, "temperature_k: inf is not a finite number"),
    ],
)
def test_labels_that_cannot_be(tmp_path, label, message):
    frames = waters()
    frames[3].info = label
    refused(write(tmp_path / "w.traj", frames), f"w.traj: frame 3: {message}")


def test_energies_of_two_kinds_are_not_mixed(tmp_path):
    kinds = ["raw", "raw", "adsorption", "raw"]
    one, other = slabs(0, 4), slabs(4, 8)
    for atoms, kind in zip(one, kinds, strict=True):
        atoms.info |= {"energy_kind": kind}
    refused(write(tmp_path / "m.traj", one), "m.traj: frame 2: energy: adsorption, but raw before")
    for atoms in one:
        atoms.info["energy_kind"] = "raw"
    for atoms in other:
        atoms.info["energy_kind"] = "adsorption"
    paths = [str(write(tmp_path / f"{name}.traj", f)) for name, f in (("train", one), ("val", other))]
    result = CliRunner().invoke(main, ["preprocess", *paths, "--out", str(tmp_path / "s.lmdb"), *GMP_OPTIONS])
    assert result.exit_code == 1
    assert "val.traj: energy: adsorption energies, but raw in split 'train'; pass --energy" in result.stderr


def test_labels_in_another_unit_are_converted_with_the_energies(tmp_path):
    frames = slabs(0, 2)
    for atoms in frames:
        energy, forces = atoms.get_potential_energy(), atoms.get_forces(apply_constraint=False)
        atoms.info["reference_energy"] = (energy - 0.5) * KCAL_PER_EV
        labelled(atoms, energy * KCAL_PER_EV, forces * KCAL_PER_EV)
    path = write(tmp_path / "s.traj", frames)
    read = list(FrameSource(path, energy_unit="kcal/mol", energy="adsorption"))
    assert [a.get_potential_energy() for a in read] == pytest.approx([0.5, 0.5], abs=1e-5)


def test_the_book_has_the_table_and_the_vocabulary():
    page = (ROOT / "book" / "formats.md").read_text(encoding="utf-8")
    assert formats.formats_table() in page, (
        f"replace the table in book/formats.md by\n{formats.formats_table()}"
    )
    for name, meaning in LABELS.items():
        assert f"| `{name}` | {meaning} |" in page


def test_real_molecules_are_read_alike_by_way_of_md17(shared, tmp_path):
    """Ethanol of rMD17, written in MD17's units and read again."""
    frames = ase.io.read(shared / "data" / "molecules" / "ethanol_train.xyz", ":20")
    read = list(FrameSource(write_npz(tmp_path / "ethanol.npz", frames, keys=KEYS["rmd17"])))
    assert [a.get_potential_energy() for a in read] == pytest.approx(
        [a.get_potential_energy() for a in frames]
    )
    assert read[7].get_forces() == pytest.approx(frames[7].get_forces(), abs=1e-6)
    refused(tmp_path / "ethanol.npz", r"too large for eV \(the numbers fit kcal/mol\)", energy_unit="eV")
