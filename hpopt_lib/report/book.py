"""The build of the book: execute what changed, stage, render, and stop at the first kind of trouble."""

from __future__ import annotations

import shutil
import time
from collections.abc import Collection, Iterable
from pathlib import Path

from hpopt_lib.errors import HpoptError
from hpopt_lib.progress import say
from hpopt_lib.report.chapters import Chapter, find_chapter, list_chapters
from hpopt_lib.report.claims_page import collect
from hpopt_lib.report.execution import BUILD_FOLDER, Job, execute_all, run_chapter
from hpopt_lib.report.freshness import chapter_digest, inputs_digest, is_fresh, last_duration
from hpopt_lib.report.notebooks import renew_prose
from hpopt_lib.report.pages import counted, duration
from hpopt_lib.report.profiles import Profile, load_profile
from hpopt_lib.report.rendering import render_html, stage

__all__ = ["build_book", "clean", "html_folder", "list_chapters", "run_chapter"]


def executed_folder(root: str | Path, profile: str) -> Path:
    """Where the executed notebooks of a profile are."""
    return Path(root) / BUILD_FOLDER / "executed" / profile


def html_folder(root: str | Path, profile: str) -> Path:
    """Where the pages of a profile are."""
    return Path(root) / BUILD_FOLDER / profile / "html"


def build_book(
    root: str | Path,
    *,
    profile: str,
    jobs: int = 2,
    chapters: Collection[str] | None = None,
    force: bool = False,
    render: bool = True,
    incremental: bool = False,
) -> Path:
    """Execute the chapters and render the book.

    A chapter is executed only when its code, its parameters, the library, its data or the
    pinned packages changed since its last success; changed prose is taken over without that.

    Parameters
    ----------
    root : str or Path
        Root of the repository.
    profile : str
        Name of a file in ``profiles/``.
    jobs : int
        How many chapters run side by side.
    chapters : collection of str, optional
        Execute only these; the others keep the outputs they have, or are shown without any.
    force : bool
        Execute also what is fresh.
    render : bool
        Make the pages, not only the notebooks.
    incremental : bool
        Render only the pages that changed (for the live view).

    Returns
    -------
    Path
        ``_build/PROFILE/html/index.html``, or the folder of notebooks when nothing is rendered.

    Raises
    ------
    HpoptError
        For a wrong profile or parameter, a failing cell, a claim that no cell registered, a Sphinx
        warning or a broken link.
    """
    root = Path(root).resolve()
    everything = list_chapters(root)
    settings = load_profile(root, profile, everything)
    chosen = everything if chapters is None else [find_chapter(root, name) for name in chapters]
    _execute_all(root, chosen, settings, jobs=jobs, force=force)
    executed = {c: path for c in everything if (path := _notebook(root, profile, c)).is_file()}
    claims = collect(everything, executed, complete=chosen)
    if not render:
        return executed_folder(root, profile)
    start = time.monotonic()
    say(f"rendering {counted(len(executed), 'executed chapter')} and the other pages")
    place = root / BUILD_FOLDER / "stage" / profile
    folder = stage(root, executed, place, profile=profile, claims=claims)
    html, log = html_folder(root, profile), root / BUILD_FOLDER / profile / "sphinx.log"
    complaints = render_html(folder, html, log=log, incremental=incremental)
    if complaints:
        _stop(
            complaints,
            "complaint",
            f"the book was not rendered; the whole output is in {log.relative_to(root)}",
        )
    say(f"rendered in {duration(time.monotonic() - start)}")
    return html / "index.html"


def _notebook(root: Path, profile: str, chapter: Chapter) -> Path:
    return executed_folder(root, profile) / f"{chapter.name}.ipynb"


def _execute_all(
    root: Path, chapters: Iterable[Chapter], profile: Profile, *, jobs: int, force: bool
) -> None:
    inputs = inputs_digest(root)
    todo, fresh = [], []
    for chapter in chapters:
        parameters = profile.parameters(chapter)
        digest = chapter_digest(chapter, parameters, inputs)
        out = _notebook(root, profile.name, chapter)
        if not force and is_fresh(out, digest):
            renewed = renew_prose(chapter, out)
            fresh.append(f"{chapter.name} (text renewed)" if renewed else chapter.name)
        else:
            todo.append(Job(root, chapter.name, parameters, profile.name, out, digest, profile.timeout_s))
    if fresh:
        say(f"unchanged, not executed again: {', '.join(fresh)}")
    if not todo:
        return
    say(f"executing {counted(len(todo), 'chapter')}, {jobs} at a time, profile {profile.name}")
    # the longest first, so that the last one to end does not run alone
    todo.sort(key=lambda job: last_duration(job.out), reverse=True)
    problems = []
    for count, run in enumerate(execute_all(todo, jobs=jobs), start=1):
        how = "FAILED after" if run.problem else "done in"
        say(f"  [{count}/{len(todo)}] {run.chapter}: {how} {duration(run.seconds)}")
        for warning in run.warnings:
            say(f"      warning: {warning}")
        if run.problem:
            problems.append(run.problem)
    if problems:
        _stop(problems, "failing chapter", "the book was not rendered")


def _stop(problems: list[str], what: str, remedy: str) -> None:
    """Raise with all problems: the first in the message itself, the others as lines before it."""
    for problem in problems[1:]:
        say(f"error: {problem}")
    count = f" (and {counted(len(problems) - 1, f'more {what}')})" if len(problems) > 1 else ""
    raise HpoptError(f"{problems[0]}{count}", remedy=remedy)


def clean(root: str | Path, profile: str | None = None) -> list[Path]:
    """Remove what builds made: of one profile, or all of ``_build``.

    Returns
    -------
    list of Path
        The folders that were removed.
    """
    build = Path(root).resolve() / BUILD_FOLDER
    folders = (
        [build]
        if profile is None
        else [build / profile, build / "stage" / profile, build / "executed" / profile]
    )
    removed = [folder for folder in folders if folder.is_dir()]
    for folder in removed:
        shutil.rmtree(folder)
    return removed
