"""Every chapter executed with the smallest profile, and what its notebooks hold."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from hpopt_lib.report.chapters import list_chapters

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture(scope="module")
def notebooks(built_book) -> Iterator[dict[str, Any]]:
    if "HPOPT_BOOK_HTML" in os.environ:
        pytest.skip("HPOPT_BOOK_HTML names pages only")
    folder = ROOT / "_build/executed/smoke"
    yield {
        c.name: json.loads((folder / f"{c.name}.ipynb").read_text(encoding="utf-8"))
        for c in list_chapters(ROOT)
    }


def test_every_chapter_computes_something(notebooks: dict[str, Any]) -> None:
    assert notebooks
    for name, notebook in notebooks.items():
        outputs = [output for cell in notebook["cells"] for output in cell.get("outputs", [])]
        assert outputs, f"{name} shows no result"
        assert notebook["metadata"]["hpopt_book"]["profile"] == "smoke"


def test_no_chapter_warns(notebooks: dict[str, Any]) -> None:
    for name, notebook in notebooks.items():
        for cell in notebook["cells"]:
            for output in cell.get("outputs", []):
                text = "".join(output.get("text", "")) if output.get("name") == "stderr" else ""
                assert "Warning" not in text, f"{name}: {text}"


def test_no_page_names_this_machine(notebooks: dict[str, Any]) -> None:
    for name, notebook in notebooks.items():
        shown = json.dumps([cell.get("outputs", []) for cell in notebook["cells"]])
        assert str(ROOT) not in shown, f"{name} shows a path of this machine"


def test_a_build_leaves_no_files_in_the_work_tree(built_book) -> None:
    assert built_book.new_files == ()
