"""One HTML file that holds everything it needs: works from a disk, makes no request."""

from __future__ import annotations

import base64
import re
from collections.abc import Sequence
from html import escape
from pathlib import Path

from hpopt_lib.report.document import Block, Bullets, Code, Heading, Paragraph, Picture, Table
from hpopt_lib.report.sphinx_ext import ASSETS, plotly_html
from hpopt_lib.report.tables import format_value, right_aligned

_FOLLOW_SYSTEM = """
(function () {
  var dark = matchMedia("(prefers-color-scheme: dark)");
  function follow() { document.documentElement.dataset.theme = dark.matches ? "dark" : "light"; }
  follow();
  dark.addEventListener("change", follow);
})();
"""


def to_html(blocks: Sequence[Block], *, title: str) -> str:
    """A standalone page.

    Parameters
    ----------
    blocks : sequence of Block
    title : str

    Returns
    -------
    str
        Styles, pictures, figures' data and plotly.js (once, only when a figure needs it) are
        inside. Colours follow the system's light or dark setting.
    """
    body, open_section = [], False
    for block in blocks:
        if isinstance(block, Heading) and block.level == 2:
            body.append(("</section>" if open_section else "") + "<section>")
            open_section = True
        body.append(_html(block))
    if open_section:
        body.append("</section>")
    scripts = f"<script>{_FOLLOW_SYSTEM}</script>"
    interactive = any(isinstance(block, Picture) and block.plotly is not None for block in blocks)
    ending = f"<script>{_plotly_js()}</script>\n<script>{_asset('book.js')}</script>" if interactive else ""
    return (
        '<!DOCTYPE html>\n<html lang="en" data-theme="light">\n<head>\n<meta charset="utf-8">\n'
        '<meta name="viewport" content="width=device-width, initial-scale=1">\n'
        f"<title>{escape(title)}</title>\n<style>{_asset('report.css')}</style>\n{scripts}\n</head>\n"
        f"<body>\n<main>\n{chr(10).join(body)}\n</main>\n{ending}\n</body>\n</html>\n"
    )


def _asset(name: str) -> str:
    return (ASSETS / name).read_text(encoding="utf-8")


def _plotly_js() -> str:
    import plotly

    path = Path(plotly.__file__).parent / "package_data" / "plotly.min.js"
    # a script element ends at the first closing tag, even inside a string of the script
    return path.read_text(encoding="utf-8").replace("</script", "<\\/script")


def inline(text: str) -> str:
    """HTML of a paragraph's text: bold, code, and nothing else."""
    parts = re.split(r"(`[^`]*`|\*\*[^*]+\*\*)", text)
    return "".join(_inline_part(part) for part in parts)


def _inline_part(part: str) -> str:
    if len(part) > 1 and part.startswith("`"):
        return f"<code>{escape(part[1:-1])}</code>"
    if part.startswith("**") and part.endswith("**") and len(part) > 4:
        return f"<strong>{escape(part[2:-2])}</strong>"
    return escape(part)


def _html(block: Block) -> str:
    match block:
        case Heading():
            return f"<h{block.level}>{inline(block.text)}</h{block.level}>"
        case Paragraph():
            return f"<p>{inline(block.text)}</p>"
        case Bullets():
            return "<ul>" + "".join(f"<li>{inline(item)}</li>" for item in block.items) + "</ul>"
        case Table():
            return _table(block)
        case Code():
            listing = f"<pre><code>{escape(block.text.rstrip())}</code></pre>"
            return (
                f"<details><summary>{inline(block.title)}</summary>{listing}</details>"
                if block.title
                else listing
            )
        case Picture():
            return _picture(block)


def _table(table: Table) -> str:
    right = right_aligned(table.rows, table.columns)
    marks = {key: ' class="number"' if right[key] else "" for key in table.columns}
    head = "".join(f"<th{marks[key]}>{escape(name)}</th>" for key, name in table.columns.items())
    rows = []
    for row in table.rows:
        cells = [f"<td{marks[key]}>{escape(format_value(row.get(key)))}</td>" for key in table.columns]
        rows.append(f"<tr>{''.join(cells)}</tr>")
    caption = f'<p class="caption">{inline(table.caption)}</p>' if table.caption else ""
    return (
        f'<div class="scroll"><table><thead><tr>{head}</tr></thead>'
        f"<tbody>{''.join(rows)}</tbody></table></div>{caption}"
    )


def _picture(picture: Picture) -> str:
    encoded, alt = base64.b64encode(picture.png).decode(), escape(picture.alt, quote=True)
    image = f'<img alt="{alt}" src="data:image/png;base64,{encoded}">'
    if picture.plotly is not None:
        interactive = plotly_html(dict(picture.plotly), {"alt": picture.alt})
        if picture.wide:
            interactive = f'<div class="wide"><div>{interactive}</div></div>'
        image = f"{interactive}<details><summary>Static version</summary>{image}</details>"
    return (
        f'<figure id="{escape(picture.name, quote=True)}"><h3>{inline(picture.title)}</h3>{image}'
        f"<figcaption>{inline(picture.caption)}</figcaption></figure>"
    )
