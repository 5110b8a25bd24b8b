"""Copies of published files: verified like downloads, and never changed."""

from __future__ import annotations

import json

import pytest
from small_source import QUICK, WHOLE, everything, names

from hpopt_lib.data.fetch import fetch
from hpopt_lib.data.mirror import Mirror
from hpopt_lib.errors import HpoptError


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
