"""Blocks of a report as outputs of a notebook cell: a page shows a study's report piece by piece."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from hpopt_lib.errors import HpoptError
from hpopt_lib.report.document import Block, Heading, Picture, to_markdown


def sections(blocks: Iterable[Block]) -> dict[str, list[Block]]:
    """Blocks by the level-2 heading they stand under; what stands above the first goes under ``""``."""
    found: dict[str, list[Block]] = {"": []}
    current = ""
    for block in blocks:
        if isinstance(block, Heading):
            current = block.text if block.level == 2 else ""
            found.setdefault(current, [])
        else:
            found[current].append(block)
    return found


def show(blocks: Sequence[Block], *, only: Iterable[str] | None = None) -> None:
    """Display blocks in order: text as Markdown, figures live with a still picture.

    Parameters
    ----------
    blocks : sequence of Block
        Without headings: these belong to the page.
    only : iterable of str, optional
        Names of the pictures to show; all other blocks are left out.

    Raises
    ------
    HpoptError
        When `only` names a picture that is not there and nothing says why.
    """
    from IPython.display import Markdown, display

    wanted = None if only is None else list(only)
    for block in blocks:
        if isinstance(block, Picture):
            if wanted is None or block.name in wanted:
                display(_live(block))
                display(Markdown(f"*{block.title}.* {block.caption}"))
        elif wanted is None:
            display(Markdown(to_markdown([block])))
    if wanted is not None:
        missing = set(wanted) - {block.name for block in blocks if isinstance(block, Picture)}
        if missing:
            raise HpoptError(f"the report has no figure {', '.join(sorted(missing))}")


def _live(picture: Picture) -> Any:
    from IPython.display import Image

    if picture.plotly is None:
        # the PNG has twice the pixels that it needs on the page
        return Image(data=picture.png, alt=picture.alt, width=_page_width(picture.png))
    return live_figure(picture.plotly, png=picture.png, alt=picture.alt)


def live_figure(plotly: Mapping[str, Any] | Any, *, png: bytes, alt: str) -> Any:
    """A Plotly figure (or its JSON) with a still picture for pages that run no scripts."""
    import plotly.graph_objects as go

    from hpopt_lib.report.explorer import plotly_figure

    figure = go.Figure(plotly) if isinstance(plotly, Mapping) else plotly
    return plotly_figure(figure, png=png, alt=alt)


def _page_width(png: bytes) -> int:
    """Width on the page in pixels of a PNG, from its header."""
    from hpopt_lib.report.style import DPI

    return round(int.from_bytes(png[16:20], "big") * 100 / DPI)
