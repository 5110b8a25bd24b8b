"""Fetching a data set: what is there afterwards, and what is left when something fails."""

from __future__ import annotations

import errno
import json
from collections import namedtuple

import pytest
from filelock import FileLock
from small_source import FRAMES, QUICK, WHOLE, everything, names, tar_of, written

from hpopt_lib.data.catalogue import load_catalogue
from hpopt_lib.data.fetch import fetch
from hpopt_lib.errors import HpoptError


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
    assert "slabs.download/frames.tar" in names(tmp_path / "data")
    site.asked.clear()
    folder = fetch(source, tmp_path / "data", patience=QUICK)
    assert [path for path, _ in site.asked] == ["/readme.txt"] and names(tmp_path / "data") == WHOLE
    tar = json.loads((folder / "SOURCE.json").read_text())["files"][0]
    assert tar["address"] == f"{site.base}/frames.tar" and tar["verified"] == ["md5", "size", "length"]


def test_a_file_that_rotted_between_two_calls_comes_again(source, site, tmp_path):
    site.plays = ["good", "status 404"]
    with pytest.raises(HpoptError, match="404"):
        fetch(source, tmp_path / "data", patience=QUICK)
    rotten = tmp_path / "data" / "slabs.download" / "frames.tar"
    rotten.write_bytes(rotten.read_bytes()[:-1] + b"x")
    fetch(source, tmp_path / "data", patience=QUICK)
    assert (tmp_path / "data" / "slabs" / "set/0.extxyz").read_bytes() == FRAMES


def test_nothing_that_came_is_lost_when_the_last_step_fails(source, tmp_path, monkeypatch):
    def fail(*_arguments):
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr("hpopt_lib.data.fetch.write_note", fail)
    with pytest.raises(HpoptError, match="No space left on device"):
        fetch(source, tmp_path / "data", patience=QUICK)
    assert {"slabs.download/frames.tar", "slabs.download/readme.txt"} < set(names(tmp_path / "data"))


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
    assert "slabs.download/readme.txt" in names(tmp_path / "data")
    assert not {"slabs.download/frames.tar", "stolen"} & set(names(tmp_path / "data"))
    site.put("frames.tar", tar_of("set/0.extxyz"))
    fetch(load_catalogue(written(site, tmp_path / "own.toml"))["slabs"], tmp_path / "data", patience=QUICK)
    assert names(tmp_path / "data") == WHOLE


def test_only_one_process_fetches_a_set(source, tmp_path):
    (tmp_path / "slabs.download").mkdir()
    with FileLock(tmp_path / "slabs.download" / "lock"):
        with pytest.raises(HpoptError, match="slabs.download: another process is fetching it"):
            fetch(source, tmp_path, patience=QUICK)


def test_what_a_killed_process_unpacked_is_not_mixed_in(source, tmp_path):
    rest = tmp_path / "data" / ".slabs.part"
    rest.mkdir(parents=True)
    (rest / "half.extxyz").write_text("half")
    fetch(source, tmp_path / "data", patience=QUICK)
    assert names(tmp_path / "data") == WHOLE
