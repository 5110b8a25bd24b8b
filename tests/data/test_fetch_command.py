"""hpopt data list and hpopt data fetch, as a person or a batch system uses them."""

from __future__ import annotations

import signal
import subprocess
import sys
import time

import pytest
from click.testing import CliRunner
from small_source import WHOLE, names
from synthetic import environment

from hpopt_lib.cli import main
from hpopt_lib.data.catalogue import load_catalogue


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
