"""What the build writes into executed notebooks, and reads out of them."""

from __future__ import annotations

import json
import os
import platform
import re
from pathlib import Path
from typing import Any

from hpopt_lib.report.chapters import Chapter
from hpopt_lib.report.freshness import METADATA_KEY


def annotate(notebook: Any, chapter: Chapter, *, profile: str, digest: str, name: str) -> None:
    """Note in a notebook how it was executed, and fold the cell with the parameters of this run."""
    metadata = notebook.metadata
    # papermill notes absolute paths; the published notebook shall not tell them
    metadata.papermill.input_path = chapter.label
    metadata.papermill.output_path = name
    metadata[METADATA_KEY] = {
        "digest": digest,
        "profile": profile,
        "python": platform.python_version(),
        "cores": os.cpu_count(),
    }
    for cell in notebook.cells:
        if _is_injected(cell):
            cell.metadata["tags"] = [*cell.metadata["tags"], "hide-input"]
            cell.metadata["mystnb"] = {
                "code_prompt_show": f"Parameters of this run (profile {profile})",
                "code_prompt_hide": "Hide the parameters",
            }


def renew_prose(chapter: Chapter, path: Path) -> bool:
    """Bring the text of an executed notebook up to date where only the prose of its chapter changed.

    Parameters
    ----------
    chapter : Chapter
    path : Path
        Its executed notebook, whose code cells are those of the chapter.

    Returns
    -------
    bool
        Whether there was anything to renew.
    """
    import nbformat

    notebook = nbformat.read(path, as_version=4)
    injected = [cell for cell in notebook.cells if _is_injected(cell)]
    others = [cell for cell in notebook.cells if not _is_injected(cell)]
    if list(map(_face, others)) == list(map(_face, chapter.notebook.cells)):
        return False
    computed = iter([cell for cell in others if cell.cell_type == "code"])
    cells = []
    for cell in chapter.notebook.cells:
        if cell.cell_type == "code":
            old = next(computed)
            old.metadata = {**cell.metadata, "papermill": old.metadata.get("papermill", {})}
            cells.append(old)
        else:
            cells.append(cell)
        if "parameters" in cell.metadata.get("tags", []):
            cells += injected
            injected = []
    notebook.cells = [*injected, *cells]
    part = path.with_name(f"{path.stem}.part.ipynb")
    nbformat.write(notebook, part)
    os.replace(part, path)
    return True


def _is_injected(cell: Any) -> bool:
    return "injected-parameters" in cell.metadata.get("tags", [])


def _face(cell: Any) -> tuple[str, str, str]:
    metadata = {key: value for key, value in cell.metadata.items() if key not in ("papermill", "execution")}
    # papermill adds an empty list of tags to every cell
    metadata["tags"] = metadata.get("tags", [])
    return cell.cell_type, cell.source, json.dumps(metadata, sort_keys=True)


def warnings_in(notebook: Any, chapter: Chapter) -> tuple[str, ...]:
    """Python warnings that a chapter's cells wrote, one line each with the place in the source."""
    found = []
    for cell in notebook.cells:
        for output in cell.get("outputs", []):
            if output.get("name") == "stderr":
                lines = re.findall(r"\b([A-Z]\w*Warning: .*)$", output.text, flags=re.MULTILINE)
                found += [f"{place_of(chapter, cell.source)}: {line}" for line in lines]
    return tuple(found)


def place_of(chapter: Chapter, source: str) -> str:
    """Where a cell begins in the text of its chapter: ``book/first_model.md: cell at line 42``."""
    text = chapter.path.read_text(encoding="utf-8")
    position = text.find(source) if source.strip() else -1
    if position < 0:
        return chapter.label
    line = text.count("\n", 0, position) + 1
    return f"{chapter.label}: cell at line {line}"
