"""OC20's S2EF downloads: pairs of files, both energies, labels in the store, and what is wrong with a pair."""

from __future__ import annotations

import lzma
import subprocess
import sys
from pathlib import Path

import ase.io
import numpy as np
import pytest
from click.testing import CliRunner
from foreign_files import extxyz, fixed_atoms, log_text, references, write_s2ef, write_tar
from synthetic import GMP_OPTIONS, environment, slabs

from hpopt_lib.cli import main
from hpopt_lib.data.readers import FrameSource
from hpopt_lib.errors import HpoptError
from hpopt_lib.store import Store


@pytest.fixture
def frames():
    return slabs(0, 7)


def refused(path: Path, message: str, **options: object) -> None:
    with pytest.raises(HpoptError, match=message) as raised:
        list(FrameSource(path, **options))  # type: ignore[arg-type]
    assert raised.value.remedy


def check(read, frames) -> None:
    assert [a.info["system_id"] for a in read] == [f"random{k // 2}" for k in range(7)]
    assert [a.info["frame"] for a in read] == [k % 2 for k in range(7)]
    assert [a.info["reference_energy"] for a in read] == pytest.approx(references(frames))
    for ours, theirs in zip(read, frames, strict=True):
        assert ours.get_potential_energy() == pytest.approx(theirs.get_potential_energy())
        assert ours.positions == pytest.approx(theirs.positions, abs=1e-7)
        assert ours.get_forces(apply_constraint=False) == pytest.approx(
            theirs.get_forces(apply_constraint=False), abs=1e-7
        )
        assert ours.get_tags().tolist() == theirs.get_tags().tolist()
        assert fixed_atoms(ours) == fixed_atoms(theirs) == [0, 1, 2, 3]


@pytest.mark.parametrize("compressed", [True, False])
def test_a_folder_of_pairs(tmp_path, frames, compressed):
    source = FrameSource(write_s2ef(tmp_path / "s2ef", frames, compressed=compressed))
    read = list(source)
    check(read, frames)
    suffix = ".xz" if compressed else ""
    assert read[4].info["source"] == f"s2ef/1.extxyz{suffix}"
    assert read[0].info["adsorbate"] == "O" and read[0].info["composition"] == "Cu"
    assert source.record()["format"] == "oc20-s2ef" and source.record()["energy"] == "raw"


def test_files_are_read_in_counting_order(tmp_path):
    frames = slabs(0, 12)
    read = list(FrameSource(write_s2ef(tmp_path / "s2ef", frames, per_file=1)))
    assert [a.get_potential_energy() for a in read] == pytest.approx(
        [a.get_potential_energy() for a in frames]
    )


def test_an_archive_is_read_in_place(tmp_path, frames):
    folder = write_s2ef(tmp_path / "s2ef", frames)
    check(list(FrameSource(write_tar(folder, tmp_path / "s2ef.tar"))), frames)
    refused(write_tar(folder, tmp_path / "s2ef.tar.gz", "w:gz"), "s2ef.tar.gz: no plain .tar archive")
    cut = tmp_path / "cut.tar"
    cut.write_bytes((tmp_path / "s2ef.tar").read_bytes()[:4000])
    refused(cut, "cut.tar: ", format="oc20-s2ef")


def test_one_file_with_its_log_beside_it(tmp_path, frames):
    for name, text in (("7.extxyz", extxyz(frames)), ("7.txt", log_text(frames))):
        (tmp_path / name).write_text(text)
    check(list(FrameSource(tmp_path / "7.extxyz")), frames)
    as_written = list(FrameSource(tmp_path / "7.extxyz", format="extxyz"))
    assert "reference_energy" not in as_written[0].info and as_written[3].info["system_id"] == "7-3"
    (tmp_path / "7.txt").write_text("notes about this file\n")
    assert FrameSource(tmp_path / "7.extxyz").format.name == "extxyz"
    refused(tmp_path / "7.extxyz", "7.extxyz: its .txt file is missing", format="oc20-s2ef")


def test_adsorption_energies_and_labels_arrive_in_the_store(tmp_path, frames):
    folder = write_s2ef(tmp_path / "s2ef", frames)
    command = ["preprocess", f"train={folder}", *GMP_OPTIONS]
    shown = {}
    for name, more in (("raw", []), ("adsorption", ["--energy", "adsorption"])):
        out = str(tmp_path / f"{name}.lmdb")
        result = CliRunner().invoke(main, [*command, "--out", out, *more])
        assert result.exit_code == 0, result.output
        shown[name] = CliRunner().invoke(main, ["data", "info", out]).output
        assert f"input    oc20-s2ef in eV and Å; energies: {name}" in shown[name]
        arrays = Store.open(out).read("train")
        raw = np.array([a.get_potential_energy() for a in frames])
        expected = raw if name == "raw" else 0.1 * np.arange(1, 8)
        assert arrays.energy == pytest.approx(expected, abs=1e-6)
        assert [e["reference_energy"] for e in arrays.info] == pytest.approx(references(frames))
        assert [e["system_id"] for e in arrays.info] == [f"random{k // 2}" for k in range(7)]
        assert [(e["frame"], e["adsorbate"]) for e in arrays.info[:2]] == [(0, "O"), (1, "N")]
        assert {e["energy_kind"] for e in arrays.info} == {name}
        header = Store.open(out).header
        assert header["energy_kind"] == name
        assert header["splits"]["train"]["input"] == {
            "format": "oc20-s2ef", "energy_unit": "eV", "length_unit": "Å", "ev_per_energy_unit": 1.0,
            "angstrom_per_length_unit": 1.0, "energy": name,
        }  # fmt: skip


@pytest.mark.parametrize(
    ("spoil", "message"),
    [
        (lambda d: (d / "1.txt.xz").unlink(), r"s2ef: s2ef/1.txt: missing beside s2ef/1.extxyz.xz"),
        (lambda d: (d / "1.extxyz.xz").unlink(), r"s2ef: s2ef/1.extxyz: missing beside s2ef/1.txt.xz"),
        (lambda d: (d / "1.txt").write_text(""), r"s2ef/1.txt and s2ef/1.txt.xz are the same file twice"),
        (lambda d: lines(d / "1.txt.xz", slice(2)), r"1.txt.xz: line 3: missing, but s2ef/1.extxyz.xz goes on with frame 2"),
        (lambda d: lines(d / "1.txt.xz", slice(3), "random9,frame9,1.0\n"), r"1.txt.xz: line 4: no frame for it: s2ef/1.extxyz.xz ends after 3"),
        (lambda d: lines(d / "1.txt.xz", slice(1), "random9,9,1.0\n"), r"1.txt.xz: line 2: 'random9,9,1.0' is not system,frameN,reference"),
        (lambda d: lines(d / "1.txt.xz", slice(1), "random9,frame9,x\n"), r"1.txt.xz: line 2: 'random9,frame9,x' is not"),
        (lambda d: lines(d / "1.txt.xz", slice(1), "random9,frame9,nan\n"), r"frame 4 \(in s2ef/1.extxyz.xz\): reference_energy: nan is not a finite number"),
        (lambda d: cut(d / "1.txt.xz", 0.9), r"1.txt.xz: line \d: cannot be read \(EOFError"),
        (lambda d: cut(d / "1.extxyz.xz", 0.6), r"1.extxyz.xz: frame \d: cannot be read \(EOFError"),
        (lambda d: (d / "1.extxyz.xz").write_bytes(b"no xz" * 20), r"1.extxyz.xz: frame 0: cannot be read \(LZMAError"),
    ],
)  # fmt: skip
def test_a_pair_that_does_not_fit_is_named(tmp_path, frames, spoil, message):
    folder = write_s2ef(tmp_path / "s2ef", frames)
    spoil(folder / "s2ef")
    refused(folder, message)


def lines(path: Path, kept: slice, more: str = "") -> None:
    text = lzma.decompress(path.read_bytes()).decode().splitlines(keepends=True)
    path.write_bytes(lzma.compress(("".join(text[kept]) + more).encode()))


def cut(path: Path, share: float) -> None:
    path.write_bytes(path.read_bytes()[: int(path.stat().st_size * share)])


def test_an_empty_line_within_a_file_does_not_hide_the_rest(tmp_path, frames):
    text = extxyz(frames[:2]) + "\n" + extxyz(frames[2:])
    (tmp_path / "a.extxyz").write_text(text)
    refused(
        tmp_path / "a.extxyz",
        r"a.extxyz: frame 2: cannot be read \(ValueError: line 23 is empty, but not the last",
    )
    (tmp_path / "b.extxyz").write_text(extxyz(frames) + "\n\n")
    assert len(list(FrameSource(tmp_path / "b.extxyz"))) == 7


def test_a_file_without_end_in_a_frame(tmp_path, frames):
    text = extxyz(frames[:2]).splitlines(keepends=True)
    (tmp_path / "a.xyz").write_text("".join(text[:-1]))
    refused(tmp_path / "a.xyz", "a.xyz: frame 1: .*line 12: the file ends within a frame of 9 atoms")
    (tmp_path / "b.xyz").write_text("".join(["999999999999\n", *text[1:]]))
    refused(
        tmp_path / "b.xyz", "b.xyz: frame 0: .*line 1: the file ends within a frame of 999999999999 atoms"
    )


MEASURE = """
import resource, sys
from pathlib import Path
from hpopt_lib.data.format_s2ef import read_s2ef
from hpopt_lib.data.reader_protocol import ReaderOptions
def megabytes():
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
for number, atoms in enumerate(read_s2ef(Path(sys.argv[1]), ReaderOptions())):
    if number == 2000:
        first = megabytes()
print(number + 1, megabytes() - first)
"""


@pytest.mark.slow
def test_memory_does_not_grow_with_the_number_of_frames(tmp_path):
    """20,000 frames in one pair; as Atoms they would take more than 60 MB."""
    single = '2\nProperties=species:S:1:pos:R:3 energy=-6.7 pbc="F F F"\nH 0 0 0\nH 0 0 0.74\n'
    (tmp_path / "0.extxyz.xz").write_bytes(lzma.compress((single * 20_000).encode(), preset=0))
    log = "".join(f"random{k // 10},frame{k % 10},-6.0\n" for k in range(20_000))
    (tmp_path / "0.txt.xz").write_bytes(lzma.compress(log.encode(), preset=0))
    done = subprocess.run(
        [sys.executable, "-c", MEASURE, str(tmp_path)], env=environment(), capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr
    count, growth = done.stdout.split()
    assert count == "20000" and float(growth) < 10.0


def test_real_frames_survive_the_format(shared, tmp_path):
    """OC20 frames written as OC20 distributes them come back, and no unit check objects."""
    frames = ase.io.read(shared / "data" / "oc20" / "oc20_frames_200.traj", ":20")
    read = list(FrameSource(write_s2ef(tmp_path / "s2ef", frames, per_file=7), energy="adsorption"))
    assert [a.get_potential_energy() for a in read] == pytest.approx(
        [0.1 * (k + 1) for k in range(20)], abs=1e-5
    )
    assert all(np.array_equal(a.get_tags(), b.get_tags()) for a, b in zip(read, frames, strict=True))
    assert all(fixed_atoms(a) == fixed_atoms(b) for a, b in zip(read, frames, strict=True))
