"""A page as a list of blocks, written as Markdown (MyST) or as one HTML file."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from hpopt_lib.report.tables import format_value, markdown_table


@dataclass(frozen=True)
class Heading:
    """A heading; level 1 is the page's title."""

    text: str
    level: int = 2


@dataclass(frozen=True)
class Paragraph:
    """Text with ``**bold**`` and `` `code` `` and no other markup."""

    text: str


@dataclass(frozen=True)
class Bullets:
    """A list of `Paragraph` texts."""

    items: Sequence[str]


@dataclass(frozen=True)
class Table:
    """A table: rows by key, columns as key to heading, and a caption."""

    rows: Sequence[Mapping[str, Any]]
    columns: Mapping[str, str]
    caption: str = ""


@dataclass(frozen=True)
class Code:
    """Text shown as it is."""

    text: str
    language: str = "text"
    title: str = ""


@dataclass(frozen=True)
class Picture:
    """A figure.

    Attributes
    ----------
    name : str
        File name without ending.
    title, alt, caption : str
    png : bytes
    plotly : dict or None
        Data and layout of the interactive version.
    wide : bool
        Whether that needs more than a phone's width, and scrolls there.
    """

    name: str
    title: str
    alt: str
    caption: str
    png: bytes = field(repr=False)
    plotly: Mapping[str, Any] | None = field(default=None, repr=False)
    wide: bool = False


Block = Heading | Paragraph | Bullets | Table | Code | Picture


def code(value: object) -> str:
    """A value of the user's as inline code, which no markup in it can leave."""
    return "`" + " ".join(str(value).replace("`", "'").split()) + "`"


def escape_markdown(text: str) -> str:
    """Text in which no character means anything to Markdown or MyST."""
    text = re.sub(r"([\\*`<>$\[\]~])", r"\\\1", text)
    return re.sub(r"(?<!\w)_|_(?!\w)", r"\\_", text)  # inside a word it is only a character


def to_markdown(blocks: Sequence[Block], *, figures: str = "figures") -> str:
    """A MyST page; pictures are links into the folder `figures` beside it."""
    return "\n\n".join(_markdown(block, figures) for block in blocks) + "\n"


def _markdown(block: Block, figures: str) -> str:
    match block:
        case Heading():
            return f"{'#' * block.level} {block.text}"
        case Paragraph():
            return block.text
        case Bullets():
            return "\n".join(f"* {item}" for item in block.items)
        case Table():
            rows = [{key: _escaped(row.get(key)) for key in block.columns} for row in block.rows]
            table = markdown_table(rows, {key: escape_markdown(name) for key, name in block.columns.items()})
            return f"{table}\n\n{block.caption}" if block.caption else table
        case Code():
            fence = "`" * max(3, 1 + max((len(run) for run in re.findall(r"`+", block.text)), default=0))
            listing = f"{fence}{block.language}\n{block.text.rstrip()}\n{fence}"
            return f"{block.title}\n\n{listing}" if block.title else listing
        case Picture():
            alt = escape_markdown(block.alt)
            return f"### {block.title}\n\n![{alt}]({figures}/{block.name}.png)\n\n{block.caption}"


def _escaped(value: Any) -> Any:
    if value is None or isinstance(value, int | float):
        return value
    # a mean stays with its spread, and an interval in one piece
    return re.sub(r"(?<=\d) (±|to) (?=-?\d)", "\u00a0\\1\u00a0", escape_markdown(format_value(value)))


def write_pictures(blocks: Sequence[Block], folder: Path) -> list[str]:
    """Write every picture as PNG and give the file names."""
    names = []
    for block in blocks:
        if isinstance(block, Picture):
            (folder / f"{block.name}.png").write_bytes(block.png)
            names.append(f"{block.name}.png")
    return names
