"""What a chapter's outputs depend on, and whether they are still those of today's inputs."""

from __future__ import annotations

import hashlib
import json
import math
import platform
import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from hpopt_lib.report.chapters import Chapter

#: Where a notebook keeps what the build notes about its run.
METADATA_KEY = "hpopt_book"

#: Files and folders of a repository whose content can change what a chapter prints, besides the library.
INPUTS = ("pace_jobs", "benchmarks", "book/results", "requirements.txt", "constraints.txt")
LIBRARY = Path(__file__).resolve().parents[1]

#: The machinery that renders pages: a change in it does not call for another execution.
NOT_INPUTS = re.compile(
    r"report/(assets/.*|(book\w*|chapters|claims_page|execution|freshness|notebooks|pages|profiles|rendering|sphinx_ext)\.py)"
)

#: Tags that change what happens when a cell is executed; all others are about its looks.
_EXECUTION_TAGS = {"parameters", "raises-exception", "skip-execution"}


def inputs_digest(root: Path) -> str:
    """SHA-256 over the library's code and data, the pins and the Python version."""
    total = hashlib.sha256(platform.python_version().encode())
    for name, path in _input_files(root):
        total.update(f"{name}\0{hashlib.sha256(path.read_bytes()).hexdigest()}\0".encode())
    return total.hexdigest()


def _input_files(root: Path) -> Iterator[tuple[str, Path]]:
    for top in (LIBRARY, *(root / name for name in INPUTS)):
        for path in [top] if top.is_file() else sorted(top.rglob("*")):
            name = path.relative_to(top if top == LIBRARY else root).as_posix()
            if path.is_file() and "__pycache__" not in name and not NOT_INPUTS.fullmatch(name):
                yield name, path


def chapter_digest(chapter: Chapter, parameters: Mapping[str, Any], inputs: str) -> str:
    """SHA-256 over the chapter's code, its parameters and `inputs` (see `inputs_digest`).

    Prose is left out: a corrected sentence needs no other numbers.
    """
    code = [
        (cell.source, sorted(_EXECUTION_TAGS.intersection(cell.metadata.get("tags", []))))
        for cell in chapter.notebook.cells
        if cell.cell_type == "code"
    ]
    content = json.dumps([code, dict(parameters), inputs], sort_keys=True, default=str)
    return hashlib.sha256(content.encode()).hexdigest()


def is_fresh(out: Path, digest: str) -> bool:
    """Whether `out` is a finished execution of exactly these inputs."""
    return _metadata(out).get(METADATA_KEY, {}).get("digest") == digest


def last_duration(out: Path) -> float:
    """Seconds that the last execution took; infinite when there was none."""
    return float(_metadata(out).get("papermill", {}).get("duration") or math.inf)


def _metadata(out: Path) -> dict[str, Any]:
    try:
        return json.loads(out.read_text(encoding="utf-8"))["metadata"]
    except (OSError, ValueError, KeyError):
        return {}
