"""Fetching a data set: space, mirrors, interruptions, and what is left behind."""

from __future__ import annotations

import errno
import hashlib
import io
import json
import os
import signal
import subprocess
import sys
import tarfile
import time
from collections import namedtuple
from pathlib import Path

import pytest
from click.testing import CliRunner
from faulty_server import serving
from filelock import FileLock
from synthetic import environment

from hpopt_lib.cli import main
from hpopt_lib.data.catalogue import load_catalogue
from hpopt_lib.data.download import Patience
from hpopt_lib.data.fetch import fetch
from hpopt_lib.data.mirror import Mirror
from hpopt_lib.errors import HpoptError

QUICK = Patience(timeout_s=5.0, wait_s=0.001, longest_wait_s=0.01, attempts=2, first_attempts=2)
FRAMES = os.urandom(300_000)
ENTRY = """
[set.{name}]
title = "made for a test"
citation = "chanussot2021oc20"
license = "CC-BY-4.0"
format = "extxyz"
energy = "total energies"
energy_unit = "eV"
force_unit = "eV/Å"
length_unit = "Å"
method = "none"
frames = "1"
homepage = "https://example.org"
facts = "this test"
checked = ""
files = [
  {{ name = "frames.tar", addresses = [{address}"{base}/frames.tar"], md5 = "{md5}", size = {size}, unpacked = 300000 }},
  {{ name = "readme.txt", addresses = ["{base}/readme.txt"] }},
]
"""


def tar_of(name: str) -> bytes:
    with io.BytesIO() as raw:
        with tarfile.open(fileobj=raw, mode="w") as archive:
            info = tarfile.TarInfo(name)
            info.size = len(FRAMES)
            archive.addfile(info, io.BytesIO(FRAMES))
        return raw.getvalue()


@pytest.fixture
def site(monkeypatch):
    monkeypatch.setenv("no_proxy", "127.0.0.1")
    with serving() as site:
        site.put("readme.txt", b"read me\n")
        site.put("frames.tar", tar_of("set/0.extxyz"))
        yield site


@pytest.fixture
def catalogue(site, tmp_path):
    return written(site, tmp_path / "own.toml")


@pytest.fixture
def source(catalogue):
    return load_catalogue(catalogue)["slabs"]


def written(site, path: Path, *, first: str = "") -> Path:
    content = site.files["/frames.tar"]
    md5 = hashlib.md5(content).hexdigest()
    text = ENTRY.format(name="slabs", base=site.base, md5=md5, size=len(content), address=first)
    path.write_text(text, encoding="utf-8")
    return path


def everything(folder: Path) -> dict[str, bytes]:
    return {str(p.relative_to(folder)): p.read_bytes() for p in folder.rglob("*") if p.is_file()}


def names(folder: Path) -> list[str]:
    return sorted(everything(folder))


WHOLE = ["slabs/SOURCE.json", "slabs/readme.txt", "slabs/set/0.extxyz"]


def test_a_set_is_downloaded_unpacked_and_described(source, tmp_path):
    folder = fetch(source, tmp_path / "data", patience=QUICK)
    assert folder == tmp_path / "data" / "slabs" and names(tmp_path / "data") == WHOLE
    assert (folder / "set/0.extxyz").read_bytes() == FRAMES
    note = json.loads((folder / "SOURCE.json").read_text())
    assert note["license"] == "CC-BY-4.0" and note["citation"] == "chanussot2021oc20"
    assert note["units"] == {"energy": "eV", "force": "eV/Å", "length": "Å"} and note["fetched"].endswith(
        "+00:00"
    )
    tar, readme = note["files"]
    assert tar["address"] == source.files[0].addresses[0] and tar["verified"] == ["md5", "size", "length"]
    assert tar["sums"]["md5"] == source.files[0].sums["md5"] and len(tar["sums"]["sha256"]) == 64
    assert readme["verified"] == ["length"] and readme["bytes"] == 8


def test_what_is_there_is_not_fetched_again_and_nothing_is_overwritten(source, site, tmp_path):
    fetch(source, tmp_path, patience=QUICK)
    (tmp_path / "slabs" / "mine.txt").write_text("mine")
    site.asked.clear()
    fetch(source, tmp_path, patience=QUICK)
    assert site.asked == [] and (tmp_path / "slabs" / "mine.txt").exists()
    note = tmp_path / "slabs" / "SOURCE.json"
    note.write_text(note.read_text().replace(source.files[0].sums["md5"], "0" * 32))
    with pytest.raises(HpoptError, match="slabs: output exists already; .*--overwrite"):
        fetch(source, tmp_path, patience=QUICK)
    assert (tmp_path / "slabs" / "mine.txt").exists() and site.asked == []
    fetch(source, tmp_path, patience=QUICK, overwrite=True)
    assert names(tmp_path / "slabs") == ["SOURCE.json", "readme.txt", "set/0.extxyz"]


def test_a_folder_of_somebody_else_is_not_touched(source, site, tmp_path):
    (tmp_path / "slabs").mkdir()
    (tmp_path / "slabs" / "mine.txt").write_text("mine")
    with pytest.raises(HpoptError, match="output exists already"):
        fetch(source, tmp_path, patience=QUICK)
    assert everything(tmp_path / "slabs") == {"mine.txt": b"mine"} and site.asked == []


def test_an_old_folder_survives_a_failing_overwrite(source, site, tmp_path):
    fetch(source, tmp_path / "data", patience=QUICK)
    before = everything(tmp_path / "data")
    site.plays = ["status 404"]
    with pytest.raises(HpoptError, match="404"):
        fetch(source, tmp_path / "data", patience=QUICK, overwrite=True)
    assert everything(tmp_path / "data") == before


def test_archives_are_kept_on_request(source, site, tmp_path):
    folder = fetch(source, tmp_path, keep_archive=True, patience=QUICK)
    assert (folder / "frames.tar").read_bytes() == site.files["/frames.tar"]


def test_the_next_address_is_tried(site, tmp_path):
    path = written(site, tmp_path / "own.toml", first=f'"{site.base}/gone/frames.tar?key=secret", ')
    folder = fetch(load_catalogue(path)["slabs"], tmp_path / "data", patience=QUICK)
    note = (folder / "SOURCE.json").read_text()
    assert json.loads(note)["files"][0]["address"] == f"{site.base}/frames.tar" and "secret" not in note


def test_all_addresses_that_failed_are_named(site, tmp_path):
    path = written(site, tmp_path / "own.toml", first=f'"{site.base}/gone/frames.tar", ')
    site.plays = ["status 404", "html"]
    with pytest.raises(
        HpoptError, match="/gone/frames.tar: the server answers 404.*/frames.tar: answers with a web"
    ):
        fetch(load_catalogue(path)["slabs"], tmp_path / "data", patience=QUICK)
    assert names(tmp_path / "data") == []


def test_a_failure_in_the_second_file_keeps_the_first(source, site, tmp_path):
    site.plays = ["good", "status 404"]
    with pytest.raises(HpoptError, match="readme.txt: the server answers 404"):
        fetch(source, tmp_path / "data", patience=QUICK)
    assert names(tmp_path / "data") == ["slabs.download/frames.tar", "slabs.download/lock"]
    site.asked.clear()
    fetch(source, tmp_path / "data", patience=QUICK)
    assert [path for path, _ in site.asked] == ["/readme.txt"] and names(tmp_path / "data") == WHOLE


# ---- space


def usage(free: int):
    return lambda _path: namedtuple("usage", "total used free")(10**9, 10**9 - free, free)


def test_the_disk_is_looked_at_before_anything_comes(source, site, tmp_path, monkeypatch):
    tar = len(site.files["/frames.tar"])
    monkeypatch.setattr("hpopt_lib.data.fetch.shutil.disk_usage", usage(tar + 299_999))
    with pytest.raises(
        HpoptError, match="slabs needs 607 kB more, 607 kB are free; free some space or choose another"
    ):
        fetch(source, tmp_path / "data", patience=QUICK)
    assert site.asked == [] and names(tmp_path / "data") == []
    monkeypatch.setattr("hpopt_lib.data.fetch.shutil.disk_usage", usage(tar + 300_000))
    fetch(source, tmp_path / "data", patience=QUICK)
    assert names(tmp_path / "data") == WHOLE


def test_what_has_come_needs_no_space_again(source, site, tmp_path, monkeypatch):
    site.plays = ["cut 250000", *["status 500"] * 5]
    with pytest.raises(HpoptError, match="500"):
        fetch(source, tmp_path / "data", patience=QUICK)
    monkeypatch.setattr(
        "hpopt_lib.data.fetch.shutil.disk_usage", usage(len(site.files["/frames.tar"]) + 50_000)
    )
    site.plays = []
    fetch(source, tmp_path / "data", patience=QUICK)
    assert site.ranges.count("bytes=250000-") >= 1 and names(tmp_path / "data") == WHOLE


def test_a_disk_that_is_full_in_the_middle_of_unpacking_keeps_the_archive(
    source, site, tmp_path, monkeypatch
):
    def full(archive, folder, *, name):
        (folder / "half").write_text("half")
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr("hpopt_lib.data.fetch.unpack", full)
    with pytest.raises(
        HpoptError, match="slabs: cannot be written: No space left on device; free some space"
    ):
        fetch(source, tmp_path / "data", patience=QUICK)
    monkeypatch.undo()
    monkeypatch.setenv("no_proxy", "127.0.0.1")
    assert (
        "slabs.download/frames.tar" in names(tmp_path / "data") and not (tmp_path / "data" / "slabs").exists()
    )
    site.asked.clear()
    fetch(source, tmp_path / "data", patience=QUICK)
    assert site.asked == [] and names(tmp_path / "data") == WHOLE


def test_an_archive_that_leads_out_of_the_folder_is_refused_and_thrown_away(site, tmp_path):
    site.put("frames.tar", tar_of("../stolen"))
    source = load_catalogue(written(site, tmp_path / "own.toml"))["slabs"]
    with pytest.raises(HpoptError, match="frames.tar: member '../stolen': leads out of the folder"):
        fetch(source, tmp_path / "data", patience=QUICK)
    assert names(tmp_path / "data") == ["slabs.download/lock", "slabs.download/readme.txt"]


def test_only_one_process_fetches_a_set(source, tmp_path):
    (tmp_path / "slabs.download").mkdir()
    with FileLock(tmp_path / "slabs.download" / "lock"):
        with pytest.raises(HpoptError, match="slabs.download: another process is fetching it"):
            fetch(source, tmp_path, patience=QUICK)


# ---- mirrors


@pytest.fixture
def copies(site, tmp_path):
    folder = tmp_path / "copies"
    folder.mkdir()
    for name in ("frames.tar", "readme.txt"):
        (folder / name).write_bytes(site.files[f"/{name}"])
    return folder


def test_a_folder_with_copies(source, site, copies, tmp_path):
    before = everything(copies)
    folder = fetch(source, tmp_path / "data", mirror=Mirror.of(str(copies)))
    assert site.asked == [] and names(tmp_path / "data") == WHOLE and everything(copies) == before
    note = json.loads((folder / "SOURCE.json").read_text())
    assert note["mirror"] == str(copies) and note["files"][0]["verified"] == ["md5", "size"]
    (folder / "readme.txt").write_text("changed")
    assert everything(copies) == before


@pytest.mark.parametrize(
    ("spoil", "message"),
    [
        (lambda path: path.unlink(), "frames.tar: no such file; put it there: it is at http"),
        (
            lambda path: path.write_bytes(path.read_bytes()[:-1]),
            "frames.tar: has 307199 bytes, published are 307200",
        ),
        (
            lambda path: path.write_bytes(b"x" * 307200),
            "frames.tar: its md5 is .*, published is .*; it is damaged",
        ),
    ],
)
def test_bad_copies_are_refused_and_left_alone(source, copies, tmp_path, spoil, message):
    spoil(copies / "frames.tar")
    before = everything(copies)
    with pytest.raises(HpoptError, match=message):
        fetch(source, tmp_path / "data", mirror=Mirror.of(str(copies)))
    assert names(tmp_path / "data") == [] and everything(copies) == before


def test_the_address_of_a_mirror(source, site, tmp_path):
    for name in ("frames.tar", "readme.txt"):
        site.files[f"/mirror/of us/{name}".replace(" ", "%20")] = site.files.pop(f"/{name}")
    mirror = Mirror.of(f"{site.base}/mirror/of%20us/?key=secret")
    folder = fetch(source, tmp_path / "data", mirror=mirror, patience=QUICK)
    assert names(tmp_path / "data") == WHOLE and site.asked[0][0] == "/mirror/of%20us/frames.tar?key=secret"
    note = (folder / "SOURCE.json").read_text()
    assert json.loads(note)["mirror"] == f"{site.base}/mirror/of%20us/" and "secret" not in note


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("absent", "--from: absent: no such folder"),
        ("ftp://example.org", "only http and https are known"),
        ("https://ann:secret@example.org", "--from: example.org: an address with a password"),
    ],
)
def test_what_is_no_mirror(text, message):
    with pytest.raises(HpoptError, match=message) as caught:
        Mirror.of(text)
    assert "secret" not in str(caught.value)


# ---- the command


def hpopt(*arguments: str) -> subprocess.Popen:
    code = "from hpopt_lib.cli import main; main(prog_name='hpopt')"
    return subprocess.Popen(
        [sys.executable, "-c", code, "data", *arguments],
        env={**environment(), "no_proxy": "127.0.0.1"}, text=True, stdout=subprocess.PIPE, stderr=subprocess.PIPE,
    )  # fmt: skip


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGKILL])
def test_stopped_in_the_middle_the_same_command_goes_on(site, catalogue, tmp_path, number):
    site.plays = ["stall 200000"]
    command = "fetch", "slabs", "--out", str(tmp_path / "data"), "--catalogue", str(catalogue)
    part = tmp_path / "data" / "slabs.download" / "frames.tar.part"
    with hpopt(*command) as process:
        assert site.stalled.wait(20)
        while not part.exists() or part.stat().st_size < 200_000:
            assert process.poll() is None
            time.sleep(0.01)
        process.send_signal(number)
        said = process.communicate(timeout=20)[1]
    if number == signal.SIGKILL:
        assert process.returncode == -9
    else:
        assert process.returncode == 130 and "the same command goes on" in said
    assert (
        not (tmp_path / "data" / "slabs").exists()
        and part.read_bytes() == site.files["/frames.tar"][:200_000]
    )
    with hpopt(*command) as process:
        out, said = process.communicate(timeout=20)
    assert process.returncode == 0 and out.strip() == str(tmp_path / "data" / "slabs"), said
    assert site.ranges == ["", "bytes=200000-", ""] and names(tmp_path / "data") == WHOLE


def test_what_a_killed_process_unpacked_is_not_mixed_in(source, tmp_path):
    rest = tmp_path / "data" / ".slabs.part"
    rest.mkdir(parents=True)
    (rest / "half.extxyz").write_text("half")
    fetch(source, tmp_path / "data", patience=QUICK)
    assert names(tmp_path / "data") == WHOLE


def test_the_list_says_what_is_known_and_what_is_not():
    shown = CliRunner().invoke(main, ["data", "list"]).stdout.splitlines()
    rows = {line.split()[0]: line.split() for line in shown}
    assert len(rows) == len(load_catalogue()) + 1
    assert rows["oc20-s2ef-200k"][1:] == ["344", "MB", "CC-BY-4.0", "md5", "no"]
    assert rows["md17-ethanol"][1:] == ["not", "known", "not", "stated", "not", "published", "no"]


def test_the_list_of_one_set_says_all(site, catalogue):
    shown = CliRunner().invoke(main, ["data", "list", "qm9"]).stdout
    for text in ("3195404", "ad1ebd51ee7f5b3a6e32e974e5d54012", "Hartree", "CC0-1.0", "no: nobody has seen"):
        assert text in shown
    assert "unpacked" not in shown.split("dsgdb9nsd")[1].split("uncharacterized.txt")[0]
    site.plays = ["good", "status 404"]
    arguments = ["data", "list", "slabs", "--catalogue", str(catalogue), "--check"]
    checked = CliRunner().invoke(main, arguments).stdout.splitlines()[-2:]
    assert checked == [
        f"{site.base}/frames.tar: answers, 307 kB, as published",
        f"{site.base}/readme.txt: answers 404 Not Found",
    ]
    assert CliRunner().invoke(main, ["data", "list", "--check"]).exit_code == 1


def test_a_bad_name_is_one_line_and_no_folder(tmp_path):
    result = CliRunner().invoke(main, ["data", "fetch", "oc21", "--out", str(tmp_path / "data")])
    assert (
        result.exit_code == 1
        and result.stderr == "hpopt: error: oc21: no data set of that name; see hpopt data list\n"
    )
    assert not (tmp_path / "data").exists()


def test_real_ethanol_frames_are_those_of_the_catalogue(shared, tmp_path):
    """The checksums of the packaged catalogue fit real files: git's names of the frames that are here."""
    from hpopt_lib.data.checksums import git_blob

    known = {
        "ethanol_train.xyz": "142e2973fd0348877538bc177bf947b8acccf3f8",
        "acac_train_300K.xyz": "5f83fc060856b25b9942b320c73a6b58dbc29c0a",
    }
    assert {name: git_blob(shared / "data" / "molecules" / name) for name in known} == known
