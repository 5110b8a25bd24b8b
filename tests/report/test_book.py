"""The build of a tiny book: what it does again, and how it stops."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from hpopt_lib.errors import HpoptError
from hpopt_lib.report.book import build_book, clean
from hpopt_lib.report.chapters import find_chapter
from hpopt_lib.report.freshness import LIBRARY, chapter_digest, inputs_digest, is_fresh
from hpopt_lib.report.pages import duration
from hpopt_lib.report.rendering import broken_links, sphinx_complaints

HPOPT = Path(sys.executable).with_name("hpopt")


def hpopt(*arguments: str, root: Path) -> subprocess.CompletedProcess[str]:
    environment = {**os.environ, "GITHUB_REPOSITORY": "somebody/fork", "GITHUB_REF_NAME": "main"}
    return subprocess.run(
        [str(HPOPT), "book", *arguments],
        cwd=root,
        capture_output=True,
        text=True,
        check=False,
        env=environment,
    )


def only_error(done: subprocess.CompletedProcess[str]) -> str:
    """The one line that tells why a command failed; there must be no other, and no traceback."""
    assert done.returncode == 1, done.stdout + done.stderr
    assert "Traceback" not in done.stderr
    lines = [line for line in done.stderr.splitlines() if "error:" in line]
    assert len(lines) == 1, done.stderr
    return lines[0]


def edit(path: Path, old: str, new: str) -> None:
    text = path.read_text(encoding="utf-8")
    assert old in text
    path.write_text(text.replace(old, new), encoding="utf-8")


def test_a_book_is_built_once_and_then_only_what_changed(tiny_book: Path) -> None:
    first = hpopt("build", "--profile", "quick", root=tiny_book)
    assert first.returncode == 0, first.stderr
    assert first.stdout.strip() == "open _build/quick/html/index.html"
    html = tiny_book / "_build/quick/html"
    page = (html / "book/first.html").read_text(encoding="utf-8")
    assert "trials: 5 plain" in page
    assert "Parameters of this run (profile quick)" in page
    assert 'href="second.html"' in page
    assert 'href="https://github.com/somebody/fork/edit/main/book/first.md"' in page
    statistics = (html / "book/execution_statistics.html").read_text(encoding="utf-8")
    assert "The second chapter" in statistics
    assert "profile" in statistics
    published = (html / "_sources/book/first.ipynb").read_text(encoding="utf-8")
    assert str(tiny_book) not in published

    second = hpopt("build", "--profile", "quick", root=tiny_book)
    assert second.returncode == 0, second.stderr
    assert "unchanged, not executed again: first, second" in second.stderr

    edit(tiny_book / "book/second.md", "6 * 7", "6 * 8")
    third = hpopt("build", "--profile", "quick", root=tiny_book)
    assert "unchanged, not executed again: first\n" in third.stderr
    assert "second: done in" in third.stderr
    assert "48" in (html / "book/second.html").read_text(encoding="utf-8")

    edit(tiny_book / "book/first.md", "It continues", "It goes on")
    fourth = hpopt("build", "--profile", "quick", root=tiny_book)
    assert "unchanged, not executed again: first (text renewed), second\n" in fourth.stderr
    page = (html / "book/first.html").read_text(encoding="utf-8")
    assert "It goes on" in page
    assert page.index("Parameters of this run (profile quick)") < page.index("trials: 5 plain")


def test_a_failing_cell_stops_the_build_and_keeps_the_notebook(tiny_book: Path) -> None:
    edit(tiny_book / "book/first.md", 'print("trials:", trials, label)', 'print("before")\n1 / 0')
    error = only_error(hpopt("build", "--profile", "quick", root=tiny_book))
    part = tiny_book / "_build/executed/quick/first.part.ipynb"
    assert error == (
        "hpopt: error: book/first.md: cell at line 24: ZeroDivisionError: division by zero; "
        "the partial notebook is _build/executed/quick/first.part.ipynb; the book was not rendered"
    )
    assert "before" in part.read_text(encoding="utf-8")
    assert not (tiny_book / "_build/executed/quick/first.ipynb").exists()
    assert not (tiny_book / "_build/quick/html").exists()


def test_a_cell_that_takes_too_long_names_the_limit(tiny_book: Path) -> None:
    (tiny_book / "profiles/quick.yml").write_text("timeout_s: 1\n")
    edit(tiny_book / "book/second.md", "6 * 7", "import time; time.sleep(60)")
    error = only_error(hpopt("build", "--profile", "quick", "--chapter", "second", root=tiny_book))
    assert "book/second.md: a cell took longer than 1 s (timeout_s of profile quick)" in error


def test_a_kernel_that_dies_is_told(tiny_book: Path) -> None:
    edit(tiny_book / "book/second.md", "6 * 7", "import os; os._exit(1)")
    error = only_error(hpopt("build", "--profile", "quick", "--chapter", "second", root=tiny_book))
    assert "book/second.md: the kernel died" in error


def test_a_sphinx_warning_stops_the_build(tiny_book: Path) -> None:
    edit(tiny_book / "book/second.md", "# The second chapter", "# The second chapter\n\nSee {eq}`nothing`.")
    error = only_error(hpopt("build", "--profile", "quick", root=tiny_book))
    assert "book/second.md: cell 1" in error
    assert "nothing" in error
    assert not (tiny_book / "_build/quick/html").exists()


def test_a_broken_link_stops_the_build(tiny_book: Path) -> None:
    edit(tiny_book / "index.md", "book/first.md", "book/frist.md")
    error = only_error(hpopt("build", "--profile", "quick", root=tiny_book))
    assert "index.md:3: 'myst' cross-reference target not found: 'book/frist.md'" in error


def test_a_broken_link_in_raw_html_stops_the_build(tiny_book: Path) -> None:
    edit(tiny_book / "index.md", "See", '<a href="book/first.html#nowhere">there</a> See')
    error = only_error(hpopt("build", "--profile", "quick", root=tiny_book))
    assert "index.html: broken link book/first.html#nowhere: there is no such anchor" in error


def test_an_unknown_parameter_stops_before_anything_runs(tiny_book: Path) -> None:
    (tiny_book / "profiles/quick.yml").write_text("chapters: {first: {trails: 5}}")
    error = only_error(hpopt("build", "--profile", "quick", root=tiny_book))
    assert error.startswith("hpopt: error: profiles/quick.yml: book/first.md has no parameter trails")
    assert not (tiny_book / "_build").exists()


def test_run_writes_one_notebook_with_the_parameters_given(tiny_book: Path) -> None:
    done = hpopt("run", "first", "-p", "trials", "11", "-o", "out.ipynb", root=tiny_book)
    assert done.returncode == 0, done.stderr
    assert done.stdout.strip() == "out.ipynb"
    notebook = json.loads((tiny_book / "out.ipynb").read_text(encoding="utf-8"))
    outputs = [output for cell in notebook["cells"] for output in cell.get("outputs", [])]
    assert "".join(outputs[0]["text"]) == "trials: 11 plain\n"

    again = only_error(hpopt("run", "first", "-o", "out.ipynb", root=tiny_book))
    assert again == "hpopt: error: out.ipynb: output exists already; choose another name or pass --overwrite"
    wrong = only_error(hpopt("run", "first", "-p", "trails", "11", root=tiny_book))
    assert "-p: book/first.md has no parameter trails; its parameters are trials, label" in wrong


def test_list_prints_parameters_with_defaults(tiny_book: Path) -> None:
    done = hpopt("list", root=tiny_book)
    assert done.stdout.splitlines() == [
        "first: The first chapter",
        "    trials = 3",
        '    label = "plain"',
        "second: The second chapter",
    ]


def test_what_makes_a_chapter_stale(tiny_book: Path) -> None:
    chapter = find_chapter(tiny_book, "first")
    inputs = inputs_digest(tiny_book)
    digest = chapter_digest(chapter, {"trials": 3}, inputs)
    assert digest == chapter_digest(chapter, {"trials": 3}, inputs_digest(tiny_book))
    assert digest != chapter_digest(chapter, {"trials": 4}, inputs)
    (tiny_book / "constraints.txt").write_text("numpy==1\n")
    assert digest != chapter_digest(chapter, {"trials": 3}, inputs_digest(tiny_book))
    (tiny_book / "constraints.txt").unlink()
    edit(chapter.path, "It continues", "It goes on")
    assert digest == chapter_digest(find_chapter(tiny_book, "first"), {"trials": 3}, inputs)
    edit(chapter.path, "trials = 3", "trials = 30")
    assert digest != chapter_digest(find_chapter(tiny_book, "first"), {"trials": 3}, inputs)


def test_a_damaged_notebook_is_not_fresh(tmp_path: Path) -> None:
    path = tmp_path / "x.ipynb"
    assert not is_fresh(path, "d")
    path.write_text("{")
    assert not is_fresh(path, "d")
    path.write_text(json.dumps({"metadata": {"hpopt_book": {"digest": "d"}}}))
    assert is_fresh(path, "d")
    assert not is_fresh(path, "e")


def test_sphinx_output_becomes_one_line_per_complaint(tmp_path: Path) -> None:
    output = (
        f"{tmp_path}/index.md:3: WARNING: undefined label: 'x' [ref.ref]\n"
        "noise\n"
        f"{tmp_path}/book/first.ipynb:20004: ERROR: Unknown directive [myst]\n"
        f"{tmp_path}/index.md:3: WARNING: undefined label: 'x' [ref.ref]\n"
        f"{tmp_path}/api.md:: WARNING: no line [x.y]\n"
        f"{LIBRARY}/units.py:docstring of hpopt_lib.units.f:2: WARNING: nothing there\n"
        "WARNING: something of no file\n"
    )
    assert sphinx_complaints(output, tmp_path) == [
        "index.md:3: undefined label: 'x' [ref.ref]",
        "book/first.md: cell 2, line 4: Unknown directive [myst]",
        "api.md: no line [x.y]",
        "hpopt_lib/units.py:docstring of hpopt_lib.units.f:2: nothing there",
        "something of no file",
    ]


def test_broken_links_looks_at_files_anchors_and_images(tmp_path: Path) -> None:
    (tmp_path / "a.html").write_text(
        '<p id="top"></p><a href="b.html#x">1</a><a href="#top">2</a><a href="https://example.org/">3</a>'
        '<a href="c.html">4</a><img src="d.png"><a href="b.html#y%20z">5</a><a href="#bottom">6</a>'
    )
    (tmp_path / "b.html").write_text('<p id="y z"></p>')
    assert broken_links(tmp_path) == [
        "a.html: broken link #bottom: there is no such anchor",
        "a.html: broken link b.html#x: there is no such anchor",
        "a.html: broken link c.html: there is no such file",
        "a.html: broken link d.png: there is no such file",
    ]


def test_clean_removes_only_what_builds_made(tiny_book: Path) -> None:
    for name in ("quick/html", "executed/quick", "stage/quick", "other/html"):
        (tiny_book / "_build" / name).mkdir(parents=True)
    assert len(clean(tiny_book, "quick")) == 3
    assert (tiny_book / "_build/other/html").is_dir()
    clean(tiny_book)
    assert not (tiny_book / "_build").exists()
    assert (tiny_book / "book/first.md").exists()


def test_an_unknown_chapter_to_build(tiny_book: Path) -> None:
    with pytest.raises(HpoptError, match="no chapter is called 'third'"):
        build_book(tiny_book, profile="quick", chapters=["third"])


@pytest.mark.parametrize(
    ("seconds", "text"),
    [(0.44, "0.4 s"), (12.3, "12 s"), (200, "3 min 20 s"), (59.7, "1 min 0 s"), (7500, "2 h 5 min")],
)
def test_durations_as_people_say_them(seconds: float, text: str) -> None:
    assert duration(seconds) == text


def test_the_package_brings_no_notebook_with_outputs() -> None:
    root = Path(__file__).resolve().parents[2]
    if shutil.which("git") is None or not (root / ".git").exists():
        pytest.skip("this is not a git checkout")
    tracked = subprocess.run(
        ["git", "ls-files", "*.ipynb"], cwd=root, capture_output=True, text=True, check=True
    )
    assert tracked.stdout == ""
