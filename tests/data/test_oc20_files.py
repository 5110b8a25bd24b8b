"""The embedded set in the files of an OC20 download: names, text, numbers, and what fetching makes of them."""

from __future__ import annotations

import lzma
import re
import tarfile
from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner

from hpopt_lib.cli import main
from hpopt_lib.data.catalogue import load_catalogue
from hpopt_lib.data.embedded import load_embedded
from hpopt_lib.data.fetch import fetch
from hpopt_lib.data.mirror import Mirror
from hpopt_lib.data.oc20_files import DOWNLOADS, s2ef_files, system_numbers, write_downloads
from hpopt_lib.data.readers import read_frames
from hpopt_lib.errors import HpoptError
from hpopt_lib.featurise import free_atoms

STRIDE = 60
#: The second line of each frame, as files of OC20 have it.
HEADER = re.compile(
    r'Lattice="(-?\d+\.\d{1,8} ?){9}" Properties=species:S:1:pos:R:3:move_mask:L:1:tags:I:1:forces:R:3 '
    r'energy=-?\d+\.\d{1,8} free_energy=-?\d+\.\d{1,8} pbc="T T T"'
)
ATOM = re.compile(r"[A-Z][a-z]?( +-?\d+\.\d{8}){3} +[TF] +[012]( +-?\d+\.\d{8}){3}")
LOG = re.compile(r"random\d{1,7},frame\d+,-?\d+\.\d{8}")


@pytest.fixture(scope="module")
def mirror(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("mirror")
    write_downloads(folder, stride=STRIDE)
    return folder


@pytest.fixture(scope="module")
def data(mirror, tmp_path_factory) -> Path:
    """All five sets, fetched as OC20 would be."""
    folder = tmp_path_factory.mktemp("data")
    catalogue = load_catalogue(mirror / "catalogue.toml")
    for name in catalogue:
        fetch(catalogue[name], folder, mirror=Mirror.of(str(mirror)))
    return folder


def texts(data: Path, split: str) -> tuple[list[str], list[str]]:
    """Lines of the two files of a split."""
    name, archive = DOWNLOADS[split]
    folder = data / name / archive / archive
    return tuple(lzma.open(folder / f"0.{end}.xz", "rt").read().splitlines() for end in ("extxyz", "txt"))


def test_the_names_are_those_of_the_packaged_catalogue(mirror):
    packaged, made = load_catalogue(), load_catalogue(mirror / "catalogue.toml")
    for name, archive in DOWNLOADS.values():
        assert [file.name for file in packaged[name].files] == [file.name for file in made[name].files]
        assert made[name].files[0].name == f"{archive}.tar"
        assert made[name].files[0].sums["md5"] != packaged[name].files[0].sums["md5"]


def test_an_archive_has_the_folders_of_oc20(mirror):
    with tarfile.open(mirror / "s2ef_val_id.tar") as tar:
        readme, *files = tar.getnames()
        text = tar.extractfile(readme).read().decode()
    assert readme == "s2ef_val_id/README_s2ef_val_id.md" and "not from OC20" in text
    assert files == ["s2ef_val_id/s2ef_val_id/0.extxyz.xz", "s2ef_val_id/s2ef_val_id/0.txt.xz"]


@pytest.mark.parametrize("split", DOWNLOADS)
def test_every_line_is_written_as_in_oc20(data, split):
    frames, log = texts(data, split)
    place, found = 0, 0
    while place < len(frames):
        n_atoms = int(frames[place])
        assert HEADER.fullmatch(frames[place + 1]), frames[place + 1]
        for line in frames[place + 2 : place + 2 + n_atoms]:
            assert ATOM.fullmatch(line), line
        place, found = place + 2 + n_atoms, found + 1
    assert found == len(log) == len(load_embedded("oc20-like", split, stride=STRIDE))
    assert all(LOG.fullmatch(line) for line in log)


def test_frames_come_back_as_they_were(data):
    numbers = system_numbers()
    wanted = {
        (f"random{numbers[a.info['system_id']]}", a.info["frame"]): a
        for a in load_embedded("oc20-like", "val_ood_ads", stride=STRIDE)
    }
    found = list(read_frames(data / "oc20-s2ef-val-ood-ads", energy="adsorption"))
    assert len(found) == len(wanted)
    for atoms in found:
        original = wanted[atoms.info["system_id"], atoms.info["frame"]]
        assert (atoms.numbers == original.numbers).all() and (atoms.get_tags() == original.get_tags()).all()
        assert (free_atoms(atoms) == free_atoms(original)).all() and not free_atoms(atoms).all()
        assert np.abs(atoms.positions - original.positions).max() < 1e-8
        assert np.abs(atoms.cell.array - original.cell.array).max() < 1e-8
        forces = original.get_forces(apply_constraint=False)
        assert np.abs(atoms.get_forces(apply_constraint=False) - forces).max() < 1e-8
        assert abs(atoms.get_potential_energy() - original.info["adsorption_energy"]) < 2e-8
        raw = atoms.get_potential_energy() + atoms.info["reference_energy"]
        assert abs(raw - original.get_potential_energy()) < 2e-8


def test_systems_have_numbers_of_their_own_and_are_mixed(data):
    numbers = system_numbers()
    assert len(set(numbers.values())) == len(numbers) and numbers != system_numbers(seed=1)
    log = texts(data, "train")[1]
    systems = [line.split(",")[0] for line in log]
    assert systems != sorted(systems)
    everywhere = [{line.split(",")[0] for line in texts(data, split)[1]} for split in DOWNLOADS]
    assert len(set().union(*everywhere)) == sum(map(len, everywhere)), "no system is in two splits"


def test_frames_are_divided_into_pairs_of_files():
    frames = load_embedded("oc20-like", "val_id", limit=7)
    files = dict(s2ef_files(frames, system_numbers(), frames_per_file=3))
    assert list(files) == [f"{k}.{end}.xz" for k in range(3) for end in ("extxyz", "txt")]
    lines = [len(lzma.decompress(files[f"{k}.txt.xz"]).splitlines()) for k in range(3)]
    assert lines == [3, 3, 1]


def test_the_same_twice_and_nothing_is_overwritten(mirror, tmp_path):
    write_downloads(tmp_path, stride=STRIDE)
    assert (tmp_path / "s2ef_val_id.tar").read_bytes() == (mirror / "s2ef_val_id.tar").read_bytes()
    (tmp_path / "s2ef_val_ood_both.tar").write_bytes(b"mine")
    (tmp_path / "s2ef_val_id.tar").unlink()
    with pytest.raises(HpoptError, match="output exists already"):
        write_downloads(tmp_path, stride=STRIDE)
    assert not (tmp_path / "s2ef_val_id.tar").exists()
    assert (tmp_path / "s2ef_val_ood_both.tar").read_bytes() == b"mine"


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--layout", "oc20-s2ef", "--set", "ethanol-like"], "--layout oc20-s2ef: holds the packaged set"),
        (["--layout", "oc20-s2ef", "--seed", "3"], "--layout oc20-s2ef: holds the packaged set"),
        (["--stride", "2"], "--stride: without --layout oc20-s2ef"),
        (["--layout", "oc20-s2ef", "--stride", "0"], "stride 0"),
    ],
)
def test_options_that_do_not_go_together(tmp_path, options, message):
    result = CliRunner().invoke(main, ["data", "make", "--out", str(tmp_path), *options])
    assert result.exit_code == 1 and message in result.output, result.output
    assert not list(tmp_path.iterdir())
