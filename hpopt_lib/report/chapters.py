"""The chapters of the book: which there are, and which parameters each one takes."""

from __future__ import annotations

import ast
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

from hpopt_lib.errors import HpoptError

#: Folder of the chapters below the root of the repository.
BOOK_FOLDER = "book"


@dataclass(frozen=True)
class Chapter:
    """A MyST text notebook of the book.

    Attributes
    ----------
    root : Path
        Root of the repository (the folder of ``_config.yml``).
    path : Path
        The chapter's file.
    """

    root: Path
    path: Path

    @property
    def name(self) -> str:
        """Path below ``book/`` without the suffix: what the command line and the profiles call it."""
        return self.path.relative_to(self.root / BOOK_FOLDER).with_suffix("").as_posix()

    @property
    def label(self) -> str:
        """Path below the root, for messages."""
        return self.path.relative_to(self.root).as_posix()

    @cached_property
    def notebook(self) -> Any:
        """The chapter as a notebook without outputs."""
        import jupytext

        try:
            return jupytext.read(self.path, fmt="md:myst")
        except Exception as error:
            raise HpoptError(f"{self.label}: not a MyST notebook: {error}") from error

    @property
    def title(self) -> str:
        """The first heading."""
        for line in self.path.read_text(encoding="utf-8").splitlines():
            if line.startswith("# "):
                return line[2:].strip()
        return self.name

    @cached_property
    def parameters(self) -> dict[str, str]:
        """Names in the cell tagged ``parameters``, each with its default as source text."""
        import papermill

        found = papermill.inspect_notebook(self.notebook)
        return {name: str(entry["default"]) for name, entry in found.items()}


def is_chapter(path: Path) -> bool:
    """Whether the front matter of a Markdown file says that it is a MyST notebook."""
    text = path.read_text(encoding="utf-8")
    if not text.startswith("---\n"):
        return False
    front_matter = text[4:].split("\n---", 1)[0]
    return "format_name: myst" in front_matter


def list_chapters(root: str | Path) -> list[Chapter]:
    """All chapters with cells to execute, in alphabetical order.

    Parameters
    ----------
    root : str or Path
        Root of the repository.

    Raises
    ------
    HpoptError
        When `root` is not the root of a book.
    """
    root = Path(root).resolve()
    if not (root / "_config.yml").is_file() or not (root / BOOK_FOLDER).is_dir():
        raise HpoptError(
            f"{root}: not the root of a book (no _config.yml beside a {BOOK_FOLDER} folder)",
            remedy="change to the folder of the repository, or name it with --root",
        )
    paths = sorted((root / BOOK_FOLDER).rglob("*.md"))
    return [Chapter(root, path) for path in paths if is_chapter(path)]


def find_chapter(root: str | Path, name: str) -> Chapter:
    """The chapter called `name`: ``first_model``, ``book/first_model`` or ``book/first_model.md``.

    Raises
    ------
    HpoptError
        When there is none; the message names those there are.
    """
    chapters = list_chapters(root)
    wanted = name.removeprefix("./").removeprefix(f"{BOOK_FOLDER}/").removesuffix(".md")
    for chapter in chapters:
        if chapter.name == wanted:
            return chapter
    raise HpoptError(
        f"no chapter is called {name!r}", remedy=f"the chapters are {_names(c.name for c in chapters)}"
    )


def check_parameters(chapter: Chapter, parameters: Mapping[str, Any], *, origin: str) -> None:
    """Refuse a parameter that the chapter does not have.

    Papermill itself only logs an unknown name and goes on with the default, so a typing
    mistake would quietly run the wrong experiment.

    Parameters
    ----------
    chapter : Chapter
    parameters : mapping
        Values by name.
    origin : str
        Where they come from, to begin the message with.

    Raises
    ------
    HpoptError
        Naming the origin, the unknown names and the known ones.
    """
    unknown = [name for name in parameters if name not in chapter.parameters]
    if unknown:
        known = (
            _names(chapter.parameters) if chapter.parameters else "none (it has no cell tagged parameters)"
        )
        raise HpoptError(
            f"{origin}: {chapter.label} has no parameter {_names(unknown)}",
            remedy=f"its parameters are {known}",
        )


def parse_value(text: str) -> Any:
    """A parameter's value from the command line: a Python literal when it is one, else the text."""
    try:
        return ast.literal_eval(text)
    except (ValueError, SyntaxError):
        return text


def _names(names: Iterable[str]) -> str:
    return ", ".join(names) or "(none)"
