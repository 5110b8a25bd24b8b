"""The commands ``hpopt book …``: list, run, build, serve and clean."""

from __future__ import annotations

from pathlib import Path

import click

_ROOT = click.option(
    "--root",
    type=click.Path(file_okay=False, path_type=Path),
    default=".",
    help="Folder of the repository; by default the current one.",
)
_JOBS = click.option(
    "--jobs", "-j", type=click.IntRange(min=1), default=2, show_default=True, help="Chapters at a time."
)


@click.group()
def book() -> None:
    """Execute chapters and build the book."""


@book.command("list")
@_ROOT
def list_command(root: Path) -> None:
    """List the chapters with their parameters and defaults."""
    from hpopt_lib.report.chapters import list_chapters

    for chapter in list_chapters(root):
        click.echo(f"{chapter.name}: {chapter.title}")
        for name, default in chapter.parameters.items():
            click.echo(f"    {name} = {default}")


@book.command("run")
@click.argument("chapter")
@click.option(
    "--parameter",
    "-p",
    "pairs",
    type=(str, str),
    multiple=True,
    metavar="NAME VALUE",
    help="Set a parameter.",
)
@click.option("--profile", help="Start from this profile's parameters instead of the chapter's defaults.")
@click.option("--out", "-o", type=click.Path(dir_okay=False, path_type=Path), help="Notebook to write.")
@click.option("--overwrite", is_flag=True, help="Replace an existing notebook.")
@_ROOT
def run_command(
    chapter: str,
    pairs: tuple[tuple[str, str], ...],
    profile: str | None,
    out: Path | None,
    overwrite: bool,
    root: Path,
) -> None:
    """Execute one CHAPTER and write the notebook with its outputs.

    Example: hpopt book run tuning_local -p trials 5
    """
    from hpopt_lib.files import refuse_existing
    from hpopt_lib.progress import say
    from hpopt_lib.report.chapters import find_chapter, list_chapters, parse_value
    from hpopt_lib.report.execution import run_chapter
    from hpopt_lib.report.profiles import load_profile

    found = find_chapter(root, chapter)
    parameters = load_profile(root, profile, list_chapters(root)).parameters(found) if profile else {}
    parameters |= {name: parse_value(value) for name, value in pairs}
    if out:
        refuse_existing(out, overwrite=overwrite)
    target = out or Path(root) / "_build" / "runs" / f"{found.name}.ipynb"
    say(f"executing {found.label}")
    click.echo(run_chapter(root, found.name, parameters=parameters, profile=profile or "by hand", out=target))


@book.command("build")
@click.option("--profile", default="default", show_default=True, help="Name of a file in profiles/.")
@_JOBS
@click.option(
    "--chapter", "chapters", multiple=True, help="Execute only this chapter (may be given several times)."
)
@click.option("--force", is_flag=True, help="Execute also what did not change.")
@click.option("--no-render", is_flag=True, help="Only execute; make no pages.")
@_ROOT
def build_command(
    profile: str, jobs: int, chapters: tuple[str, ...], force: bool, no_render: bool, root: Path
) -> None:
    """Execute what changed and render the book; print the page to open."""
    from hpopt_lib.report.book import build_book

    page = build_book(
        root, profile=profile, jobs=jobs, chapters=chapters or None, force=force, render=not no_render
    )
    here = Path.cwd()
    click.echo(f"open {page.relative_to(here) if page.is_relative_to(here) else page}")


@book.command("serve")
@click.option("--profile", default="default", show_default=True, help="Name of a file in profiles/.")
@_JOBS
@click.option(
    "--port", type=click.IntRange(0, 65535), default=8000, show_default=True, help="0 takes a free port."
)
@_ROOT
def serve_command(profile: str, jobs: int, port: int, root: Path) -> None:
    """Build the book, show it in the browser and rebuild what changes."""
    from hpopt_lib.report.book_server import serve_book

    serve_book(root, profile=profile, jobs=jobs, port=port)


@book.command("clean")
@click.option("--profile", help="Remove only what belongs to this profile.")
@_ROOT
def clean_command(profile: str | None, root: Path) -> None:
    """Remove built pages and executed notebooks."""
    from hpopt_lib.report.book import clean

    for folder in clean(root, profile):
        click.echo(f"removed {folder}")
