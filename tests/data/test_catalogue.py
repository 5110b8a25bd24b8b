"""The packaged catalogue is complete and honest, and mistakes in another one are named."""

from __future__ import annotations

import hashlib
import re
import subprocess
from pathlib import Path

import pytest

from hpopt_lib.data.catalogue import Size, find_source, format_size, load_catalogue, parse_size
from hpopt_lib.data.checksums import Checksums, git_blob
from hpopt_lib.errors import HpoptError

ROOT = Path(__file__).resolve().parents[2]

OWN = """
[family.ours]
citation = "us2026"
license = "CC-BY-4.0"
format = "extxyz"
energy = "total energies"
energy_unit = "eV"
force_unit = "eV/Å"
length_unit = "Å"
method = "PBE"
frames = "10"
homepage = "https://example.org"
base = "https://example.org/data/"
facts = "ourselves"
checked = "2026-11-01"

[set.slabs]
family = "ours"
title = "slabs"
files = [{ name = "slabs.tar.gz", size = "1.5K" }]
"""


def own(tmp_path: Path, old: str = "", new: str = "") -> Path:
    """A catalogue of one's own, with a mistake."""
    assert old in OWN
    (tmp_path / "own.toml").write_text(OWN.replace(old, new), encoding="utf-8")
    return tmp_path / "own.toml"


def test_the_catalogue_names_what_was_promised():
    names = set(load_catalogue())
    oc20 = ("200k", "2m", "20m", "all", "val-id", "val-ood-ads", "val-ood-cat", "val-ood-both")
    assert {f"oc20-s2ef-{name}" for name in oc20} | {"oc20-is2re", "rmd17-all", "qm9"} <= names
    assert {"botnet-ethanol", "botnet-acac", "botnet-3bpa", "rmd17-azobenzene", "md17-aspirin"} <= names
    assert len([name for name in names if name.startswith("rmd17-")]) == 11
    assert len([name for name in names if name.startswith("md17-")]) == 8


def test_every_citation_is_in_the_bibliography():
    keys = set(
        re.findall(r"^@\w+\{(\w+),", (ROOT / "references.bib").read_text(encoding="utf-8"), re.MULTILINE)
    )
    assert {source.citation for source in load_catalogue().values()} <= keys


def test_every_published_sum_of_oc20_is_there_and_no_two_files_share_one():
    sources = load_catalogue().values()
    assert all(
        f.sums for s in sources if s.name.startswith(("oc20", "rmd17", "qm9", "botnet")) for f in s.files
    )
    sums = [value for s in sources for f in s.files for value in f.sums.values()]
    assert len(sums) == len(set(sums)) > 25


def test_whether_an_address_was_checked_is_a_date_or_nothing(tmp_path):
    assert {source.checked for source in load_catalogue().values()} == {""}, "say in the pages who checked"
    assert load_catalogue(own(tmp_path))["slabs"].checked == "2026-11-01"
    with pytest.raises(HpoptError, match=r"\[set.slabs\] checked = 'yes': not a date"):
        load_catalogue(own(tmp_path, '"2026-11-01"', '"yes"'))


def test_the_addresses_of_a_family_are_its_base_and_the_name():
    source = find_source("oc20-s2ef-200k", load_catalogue())
    assert source.files[0].addresses == (
        "https://dl.fbaipublicfiles.com/opencatalystproject/data/s2ef_train_200K.tar",
    )
    assert source.size == Size(344 * 2**20, exact=False, published="344M")


def test_an_unknown_name_gets_a_hint():
    with pytest.raises(HpoptError, match="oc20: no data set of that name; did you mean oc20-s2ef-200k, "):
        find_source("oc20", load_catalogue())
    with pytest.raises(HpoptError, match="see hpopt data list"):
        find_source("xyz", load_catalogue())


def test_sizes():
    assert parse_size("1.1T", "").n_bytes == round(1.1 * 2**40)
    assert [format_size(s) for s in (None, 12, 5198, 86144227, 1066301513, Size(1, False, "225G"))] == [
        "not known", "12 B", "5.2 kB", "86 MB", "1.1 GB", "225 GB",
    ]  # fmt: skip
    rounded = parse_size("344M", "")
    assert rounded.fits(344 * 10**6) and rounded.fits(344 * 2**20) and not rounded.fits(500 * 10**6)
    assert Size(10, True).fits(10) and not Size(10, True).fits(11)


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ('title = "slabs"', "", r"own.toml: \[set.slabs\]: without title; add"),
        ('"slabs"', "3", r"own.toml: \[set.slabs\] title = 3: not text"),
        ("frames =", "framse =", r"\[set.slabs\] framse: no such field; use checked, citation"),
        ('family = "ours"', 'family = "theirs"', r"\[set.slabs\] family: no \[family.theirs\]"),
        ("[set.slabs]", "[set.Slabs]", r"\[set.Slabs\]: not a name"),
        ('size = "1.5K"', 'size = "big"', r"files, slabs.tar.gz: size = 'big': not a size"),
        ('size = "1.5K"', "size = -1", r"files, slabs.tar.gz: size = -1: not a size"),
        ('size = "1.5K"', 'md5 = "abc"', r"files, slabs.tar.gz: md5: not 32 hexadecimal digits"),
        ('size = "1.5K"', "sha256 = 12", r"files, slabs.tar.gz: sha256: not 64 hexadecimal digits"),
        ('size = "1.5K"', 'crc = "abc"', r"files, slabs.tar.gz: crc: no such field"),
        ('size = "1.5K"', 'addresses = ["ftp://a/b"]', "'ftp://a/b': not an address"),
        ('size = "1.5K"', 'addresses = "https://a/b"', "addresses: no list"),
        ('size = "1.5K"', 'unpack = "no"', "unpack = 'no': not true or false"),
        ("slabs.tar.gz", "../slabs.tar.gz", "files, ../slabs.tar.gz: not a file name"),
        ('base = "https://example.org/data/"', "", "slabs.tar.gz: addresses: no list"),
        ('files = [{ name = "slabs.tar.gz", size = "1.5K" }]', "files = []", r"files: none"),
        ("files = [", 'files = [{ name = "slabs.tar.gz" }, ', "files: a name stands there twice"),
        ("files = [{", "files = [3, {", "files, one without a name: not a file name"),
        ("[set.slabs]", "[set.slabs", "own.toml: cannot be read: .*at line 17"),
    ],
)
def test_mistakes_are_named_with_file_set_and_field(tmp_path, old, new, message):
    with pytest.raises(HpoptError, match=message):
        load_catalogue(own(tmp_path, old, new))


def test_an_empty_or_absent_catalogue_is_one_clear_line(tmp_path):
    (tmp_path / "empty.toml").write_text("")
    with pytest.raises(HpoptError, match="empty.toml: names no data set"):
        load_catalogue(tmp_path / "empty.toml")
    with pytest.raises(HpoptError, match="absent.toml: cannot be read: .*No such file"):
        load_catalogue(tmp_path / "absent.toml")


def test_checksums_grow_with_the_stream(tmp_path):
    path = tmp_path / "file"
    path.write_bytes(b"hello\n")
    sums = {
        "md5": hashlib.md5(b"hello\n").hexdigest(),
        "git_blob": "ce013625030ba8dba906f756967f9e9ca394464a",
    }
    checksums = Checksums(sums)
    checksums.update(b"hel")
    checksums.update_from(path)
    found = checksums.values(path)
    assert found == {**sums, "sha256": hashlib.sha256(b"hello\n").hexdigest()}
    assert checksums.problem(found) == ""
    assert "its md5 is" in Checksums({"md5": "0" * 32}).problem({"md5": "1" * 32})


def test_git_gives_the_same_name_to_a_file(tmp_path):
    path = tmp_path / "file"
    path.write_bytes(b"frames" * 1000)
    git = subprocess.run(["git", "hash-object", str(path)], capture_output=True, text=True, check=True)
    assert git.stdout.strip() == git_blob(path)
