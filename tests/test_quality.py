"""The rules of the house that a program can check (linter and types: test_style.py)."""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]

#: Where a machine keeps people's files: no committed file may point there.
PLACES = re.compile(r"(?<![\w.~$}/:-])/(?:home|Users|root|tmp|opt|mnt)/[\w.-]+")


def test_formatting():
    result = subprocess.run(
        [sys.executable, "-m", "ruff", "format", "--check", "-q", "."],
        cwd=ROOT,
        capture_output=True,
        text=True,
    )
    assert result.returncode == 0, f"run ruff format on:\n{result.stdout}{result.stderr}"


def committed() -> list[Path]:
    """Files under version control, or about to be."""
    if shutil.which("git") is None or not (ROOT / ".git").exists():
        pytest.skip("this is no git checkout, so it is not known which files are committed")
    listed = subprocess.run(
        ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"],
        cwd=ROOT,
        capture_output=True,
        text=True,
    )
    assert listed.returncode == 0, listed.stderr
    return [ROOT / name for name in listed.stdout.split("\0") if name and (ROOT / name).is_file()]


def own_places() -> re.Pattern[str]:
    """The folders of this very checkout, environment and user, whatever they are called."""
    everybody = {Path(name) for name in ("/", "/usr", "/home", "/tmp")}
    folders = {ROOT, ROOT.parent, Path(sys.prefix), Path.home()} - everybody
    names = "|".join(re.escape(str(folder)) for folder in sorted(folders))
    return re.compile(rf"(?<![\w.~$}}/-])(?:{names})(?=[/\s\"'`),;:]|$)")


def test_no_committed_file_names_a_place_on_a_machine():
    patterns = PLACES, own_places()
    found = []
    for path in committed():
        if path.name in ("test_quality.py",):
            continue
        try:
            text = path.read_text(encoding="utf-8")
        except UnicodeDecodeError:
            data = path.read_bytes()
            text = data.decode("latin-1") if str(ROOT).encode() in data else ""
        for number, line in enumerate(text.splitlines(), start=1):
            found += [
                f"{path.relative_to(ROOT)}:{number}: {match.group()}"
                for pattern in patterns
                for match in pattern.finditer(line)
            ]
    assert not found, "\n".join(found[:40])


@pytest.mark.parametrize(
    ("text", "shows"),
    [
        ("open('/home/ann/data.traj')", True),
        ("see /tmp/x1/out.log", True),
        (f"cd {ROOT}/book", True),
        ("~/scratch/hpopt", False),
        ("$HOME/tmp/file", False),
        ("https://example.org/home/page", False),
        ("_build/tmp/store.lmdb", False),
        ("#!/usr/bin/env bash", False),
    ],
)
def test_the_search_for_places(text, shows):
    assert bool(PLACES.search(text) or own_places().search(text)) == shows


def test_no_pickle_in_the_package():
    calls = re.compile(r"\bimport pickle|from pickle|\bpickle\.[lduP]|allow_pickle=True|torch\.load\(|joblib")
    sources = sorted((ROOT / "hpopt_lib").rglob("*.py"))
    assert len(sources) > 30
    found = [
        str(path.relative_to(ROOT)) for path in sources if calls.search(path.read_text(encoding="utf-8"))
    ]
    # the two loaders that a user must ask for, which know a few harmless names only (data/test_format_lmdb.py,
    # amptorch/test_pickles.py)
    assert found == ["hpopt_lib/amptorch/pickles.py", "hpopt_lib/data/restricted_pickle.py"]


def test_stations_import_only_from_stations_before_them():
    order = [
        "quantities",
        "data",
        "gmp",
        "store",
        "potential",
        "amptorch",
        "tuning",
        "cluster",
        "experiments",
        "report",
        "cli",
    ]
    station = {
        **dict.fromkeys(("archives", "errors", "files", "progress", "units", "metrics"), "quantities"),
        **dict.fromkeys(
            ("scaling", "references", "featurise", "inputs", "preprocess", "split_inputs", "workspace"),
            "store",
        ),
    }
    imports = re.compile(r"^\s*(?:from|import) hpopt_lib\.(\w+)", re.MULTILINE)
    wrong = []
    for path in sorted((ROOT / "hpopt_lib").rglob("*.py")):
        own = path.relative_to(ROOT / "hpopt_lib").parts[0].removesuffix(".py")
        if own == "__init__":
            continue
        for name in imports.findall(path.read_text(encoding="utf-8")):
            if order.index(station.get(name, name)) > order.index(station.get(own, own)):
                wrong.append(f"{path.relative_to(ROOT)} imports {name}")
    assert not wrong
