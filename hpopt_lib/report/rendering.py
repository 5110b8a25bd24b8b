"""From executed notebooks to pages: the staging copy, Sphinx, and the check of every internal link."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from collections.abc import Collection, Iterator, Mapping
from html.parser import HTMLParser
from pathlib import Path
from urllib.parse import unquote, urlsplit

from hpopt_lib.errors import HpoptError
from hpopt_lib.report.chapters import BOOK_FOLDER, Chapter
from hpopt_lib.report.claims_page import CLAIMS_PAGE, Claim, claims_page
from hpopt_lib.report.freshness import LIBRARY
from hpopt_lib.report.pages import STATISTICS_PAGE, closing_cell, statistics_page

#: What pages may include or show, besides the folder of the chapters.
STAGED = (
    "index.md",
    "_config.yml",
    "_toc.yml",
    "references.bib",
    "CITATION.cff",
    "CHANGELOG.md",
    "profiles",
    "pace_jobs",
)

_WARNING = re.compile(
    r"^(?:(?P<file>\S.*?):(?P<line>\d+)?:? )?(?P<level>WARNING|ERROR|CRITICAL|SEVERE): (?P<text>.*)$"
)
_JUPYTER_BOOK = "from jupyter_book.cli.main import main; main()"
_COLOUR = re.compile(r"\x1b\[[0-9;]*m")


def stage(
    root: Path,
    executed: Mapping[Chapter, Path],
    folder: Path,
    *,
    profile: str,
    claims: Collection[Claim] = (),
) -> Path:
    """Bring a copy of the book's sources up to date in which executed notebooks replace chapters.

    Only files that differ are written, so that a following incremental render is short.

    Parameters
    ----------
    root : Path
        Root of the repository.
    executed : mapping
        Executed notebook of each chapter to show; other chapters are shown without outputs.
    folder : Path
        The staging folder.
    profile : str
        Named on the generated pages.
    claims : collection of Claim
        For the ledger; there is no such page without any.
    """
    wanted = {name: path.read_bytes() for name, path in _sources(root)}
    for chapter, path in executed.items():
        del wanted[chapter.label]
        wanted[str(Path(chapter.label).with_suffix(".ipynb"))] = _page_notebook(path)
    wanted[STATISTICS_PAGE] = statistics_page(executed, profile).encode()
    if claims:
        wanted[CLAIMS_PAGE] = claims_page(claims, profile, wanted["_toc.yml"].decode()).encode()
    for old in sorted(folder.rglob("*")):
        name = old.relative_to(folder).as_posix()
        if old.is_file() and name not in wanted and not name.startswith("_build/"):
            old.unlink()
    for name, content in wanted.items():
        target = folder / name
        if not target.is_file() or target.read_bytes() != content:
            target.parent.mkdir(parents=True, exist_ok=True)
            target.write_bytes(content)
    return folder


def _sources(root: Path) -> Iterator[tuple[str, Path]]:
    for name in (*STAGED, BOOK_FOLDER):
        top = root / name
        for path in [top] if top.is_file() else sorted(top.rglob("*")):
            if path.is_file() and path.suffix != ".ipynb" and "__pycache__" not in path.parts:
                yield path.relative_to(root).as_posix(), path


def _page_notebook(path: Path) -> bytes:
    import nbformat

    notebook = nbformat.read(path, as_version=4)
    notebook.cells.append(closing_cell(notebook))
    return nbformat.writes(notebook).encode()


def render_html(folder: Path, html: Path, *, log: Path, incremental: bool = False) -> list[str]:
    """Run Jupyter Book over a staging folder and put the pages in place when nothing is wrong.

    Parameters
    ----------
    folder : Path
        The staging folder.
    html : Path
        Folder for the pages; replaced only when there is no complaint.
    log : Path
        Where Sphinx's whole output goes.
    incremental : bool
        Render only what changed. Such a run may miss warnings of unchanged pages.

    Returns
    -------
    list of str
        Complaints, one line each: Sphinx warnings and broken internal links. Empty when all is well.

    Raises
    ------
    HpoptError
        When Sphinx fails without saying what is wrong.
    """
    command = [sys.executable, "-c", _JUPYTER_BOOK, "build", str(folder), "-W", "-n", "--keep-going", "-q"]
    environment = {**os.environ, "NO_COLOR": "1", "PYTHONIOENCODING": "utf-8"}
    done = subprocess.run(
        command if incremental else [*command, "--all"],
        capture_output=True, encoding="utf-8", env=environment, stdin=subprocess.DEVNULL, check=False,
    )  # fmt: skip
    output = _COLOUR.sub("", done.stdout + done.stderr)
    log.parent.mkdir(parents=True, exist_ok=True)
    log.write_text(output, encoding="utf-8")
    complaints = sphinx_complaints(output, folder)
    built = folder / "_build" / "html"
    if done.returncode and not complaints:
        cause = re.search(r"^[\w.]*(?:Error|Exception|Interrupt): .+$", output, flags=re.MULTILINE)
        what = cause[0] if cause else f"exit code {done.returncode}"
        raise HpoptError(f"Jupyter Book failed: {what}", remedy=f"the whole output is in {log}")
    if not complaints:
        complaints = broken_links(built)
    if not complaints:
        _publish(built, html)
    return complaints


def _publish(built: Path, html: Path) -> None:
    fresh = html.with_name(f".{html.name}.part")
    shutil.rmtree(fresh, ignore_errors=True)
    shutil.copytree(built, fresh)
    shutil.rmtree(html, ignore_errors=True)
    os.replace(fresh, html)


def sphinx_complaints(output: str, folder: Path) -> list[str]:
    """The warnings in Sphinx's output, one line each, with the places of the text sources."""
    complaints = []
    for line in output.splitlines():
        match = _WARNING.match(line.strip())
        if match:
            place = _source_place(match["file"], int(match["line"] or 0), folder)
            complaints.append(f"{place}{match['text']}")
    return list(dict.fromkeys(complaints))


def _source_place(file: str | None, line: int, folder: Path) -> str:
    if not file:
        return ""
    path = Path(file)
    base = next((top for top in (folder, LIBRARY.parent) if path.is_relative_to(top)), path.parent)
    name = path.relative_to(base).as_posix()
    if path.suffix != ".ipynb":
        return f"{name}:{line}: " if line else f"{name}: "
    # MyST-NB counts 10000 lines per cell
    cell, line_in_cell = divmod(line, 10_000)
    return f"{Path(name).with_suffix('.md')}: cell {cell}, line {line_in_cell}: "


class _Links(HTMLParser):
    def __init__(self) -> None:
        super().__init__()
        self.targets: set[str] = set()
        self.anchors: set[str] = set()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        for name, value in attrs:
            if value and (name == "id" or (tag == "a" and name == "name")):
                self.anchors.add(value)
            elif value and ((tag == "a" and name == "href") or (tag in ("img", "script") and name == "src")):
                self.targets.add(value)


def broken_links(html: Path) -> list[str]:
    """Links between the pages of a built book that lead nowhere, one line each.

    Sphinx checks its own references only; this also sees links in raw HTML, images, and
    anchors of other pages.
    """
    pages: dict[Path, _Links] = {}
    for path in sorted(html.rglob("*.html")):
        if "_static" not in path.relative_to(html).parts:
            pages[path.resolve()] = parser = _Links()
            parser.feed(path.read_text(encoding="utf-8"))
    complaints = []
    for page, links in pages.items():
        for link in sorted(links.targets):
            parts = urlsplit(link)
            if parts.scheme or parts.netloc or link in ("#", ""):
                continue
            target = (page.parent / unquote(parts.path)).resolve() if parts.path else page
            anchor = unquote(parts.fragment)
            if not target.exists():
                complaints.append(
                    f"{page.relative_to(html.resolve())}: broken link {link}: there is no such file"
                )
            elif anchor and target in pages and anchor not in pages[target].anchors:
                complaints.append(
                    f"{page.relative_to(html.resolve())}: broken link {link}: there is no such anchor"
                )
    return complaints
