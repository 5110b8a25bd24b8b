"""Pages and page parts that the build itself writes: how long each chapter took, and on what."""

from __future__ import annotations

import platform
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from hpopt_lib.report.chapters import BOOK_FOLDER, Chapter
from hpopt_lib.report.freshness import METADATA_KEY

STATISTICS_PAGE = f"{BOOK_FOLDER}/execution_statistics.md"


def closing_cell(notebook: Any) -> Any:
    """A Markdown cell that tells when, how long and with which profile the page was executed."""
    import nbformat

    run, papermill = notebook.metadata[METADATA_KEY], notebook.metadata.papermill
    text = (
        "```{div} book-executed\n"
        f"Executed on {papermill.start_time[:10]} in {duration(papermill.duration)}, "
        f"profile `{run['profile']}`, Python {run['python']}, {run['cores']} CPU cores.\n"
        "```"
    )
    return nbformat.v4.new_markdown_cell(text, id="book-executed")


def statistics_page(executed: Mapping[Chapter, Path], profile: str) -> str:
    """The page with every chapter's execution time, as MyST Markdown.

    Parameters
    ----------
    executed : mapping
        Notebook of every chapter, as papermill wrote it.
    profile : str
        Profile of this build.
    """
    import nbformat

    rows, total = [], 0.0
    for chapter, path in executed.items():
        metadata = nbformat.read(path, as_version=4).metadata
        seconds = float(metadata.papermill.duration)
        total += seconds
        cells = f"{{doc}}`{chapter.name}` | {metadata.papermill.start_time[:16].replace('T', ' ')}"
        rows.append(f"| {cells} | {seconds:.1f} | {metadata[METADATA_KEY]['python']} |")
    return "\n".join(
        [
            "# Execution statistics",
            "",
            f"This book was executed with the profile `{profile}`. Every number, table and figure on its",
            "pages comes from these runs; a page whose code fails is not published. The page was written by",
            f"`hpopt book build` on {platform.system()} with Python {platform.python_version()}.",
            "",
            "| chapter | started (UTC) | seconds | Python |",
            "|---|---|---:|---|",
            *rows,
            f"| all chapters | | {total:.1f} | |",
            "",
        ]
    )


def duration(seconds: float) -> str:
    """Seconds as people say them: ``0.8 s``, ``12 s``, ``3 min 20 s``, ``2 h 5 min``."""
    if seconds < 1:
        return f"{seconds:.1f} s"
    whole = round(seconds)
    if whole < 60:
        return f"{whole} s"
    if whole < 3600:
        return f"{whole // 60} min {whole % 60} s"
    return f"{whole // 3600} h {whole % 3600 // 60} min"


def counted(number: int, thing: str) -> str:
    """A number with its thing: ``1 chapter``, ``2 chapters``."""
    return f"{number} {thing}" if number == 1 else f"{number} {thing}s"
