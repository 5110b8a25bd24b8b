"""The whole book, built with the smallest profile, or the pages that ``HPOPT_BOOK_HTML`` names."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
HPOPT = Path(sys.executable).with_name("hpopt")


@dataclass(frozen=True)
class BuiltBook:
    """Where the pages are, and which files the build left in the work tree."""

    html: Path
    new_files: tuple[str, ...] = ()


def _untracked() -> set[str]:
    if shutil.which("git") is None or not (ROOT / ".git").exists():
        return set()
    command = ["git", "ls-files", "--others", "--exclude-standard"]
    return set(
        subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True).stdout.splitlines()
    )


@pytest.fixture(scope="session")
def built_book() -> BuiltBook:
    """Pages to look at. Without ``HPOPT_BOOK_HTML`` the book is built: some minutes, or seconds when nothing changed."""
    if "HPOPT_BOOK_HTML" in os.environ:
        html = Path(os.environ["HPOPT_BOOK_HTML"]).resolve()
        assert (html / "index.html").is_file(), f"HPOPT_BOOK_HTML: {html} has no index.html"
        return BuiltBook(html)
    before = _untracked()
    command = [str(HPOPT), "book", "build", "--profile", "smoke"]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return BuiltBook(ROOT / "_build/smoke/html", tuple(sorted(_untracked() - before)))
