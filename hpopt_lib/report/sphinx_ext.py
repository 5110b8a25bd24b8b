"""Sphinx extension of the book: everything interactive, nothing from another server.

Scripts are copied out of installed wheels (plotly, chemiscope, MathJax), and a page loads
only those it needs. See ``assets/book.js`` for the browser's side.
"""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import uuid
from html import escape
from importlib.metadata import distribution
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from sphinx.application import Sphinx
    from sphinx.config import Config

PLOTLY_MIME = "application/vnd.plotly.v1+json"
ASSETS = Path(__file__).with_name("assets")

#: Files to take out of installed wheels, by name below ``_static``.
_FROM_WHEELS = {
    "plotly.min.js": ("plotly", "plotly/package_data/plotly.min.js"),
    "chemiscope.min.js": ("chemiscope", "chemiscope/sphinx/static/chemiscope.min.js"),
    "mathjax/tex-svg-full.js": (
        "sphinx-mathjax-offline",
        "sphinx-mathjax-offline/static/mathjax/tex-svg-full.js",
    ),
}

_DEFAULT_HEIGHT_PX = 450


class PlotlyRenderer:
    """Turns the output of a Plotly figure into a div and its data; MyST-NB itself would drop it."""

    mime_priority_overrides = [("html", PLOTLY_MIME, 1)]

    @staticmethod
    def handle_mime(renderer: Any, data: Any, inline: bool) -> list[Any] | None:
        """Give docutils nodes for a figure, or None for anything else (a MyST-NB plug-in's signature)."""
        if data.mime_type != PLOTLY_MIME or inline:
            return None
        from docutils import nodes

        content = json.loads(data.content) if isinstance(data.content, str) else data.content
        images = data.output_metadata.get(PLOTLY_MIME, {})
        return [
            nodes.raw(text=plotly_html(content, images), format="html", classes=["output", "book-figure"])
        ]


def plotly_html(figure: dict[str, Any], metadata: dict[str, Any] | None = None) -> str:
    """HTML of a figure: a div that ``book.js`` fills, around a picture for browsers without scripts.

    Parameters
    ----------
    figure : dict
        Plotly's JSON: data, layout, config.
    metadata : dict, optional
        ``fallback_png`` (base64) and ``alt`` as `hpopt_lib.report.explorer.plotly_figure` gives them.
    """
    metadata = metadata or {}
    identity = f"plotly-{uuid.uuid4().hex[:12]}"
    layout = figure.get("layout", {})
    height = layout.get("height") or _DEFAULT_HEIGHT_PX
    payload = inline_json({"data": figure.get("data", []), "layout": layout})
    picture = "<noscript>This figure is interactive and needs JavaScript.</noscript>"
    alt = escape(metadata.get("alt") or _title(layout), quote=True)
    if "fallback_png" in metadata:
        picture = (
            f'<img class="book-fallback" alt="{alt}" src="data:image/png;base64,{metadata["fallback_png"]}">'
        )
    return (
        f'<div class="book-plotly" id="{identity}" role="img" aria-label="{alt}" '
        f'style="min-height:{height}px">{picture}</div>'
        f'<script type="application/json" data-plotly-for="{identity}">{payload}</script>'
    )


def inline_json(content: Any) -> str:
    """JSON that can stand inside a script element."""
    return json.dumps(content, separators=(",", ":")).replace("</", "<\\/").replace("<!--", "<\\u0021--")


def _title(layout: dict[str, Any]) -> str:
    title = layout.get("title") or {}
    text = title if isinstance(title, str) else title.get("text", "")
    return re.sub(r"<[^>]+>", " ", text or "") or "interactive figure"


def repository_url() -> str | None:
    """Public address of this repository on GitHub: from the workflow's environment, or git's remote."""
    if "GITHUB_REPOSITORY" in os.environ:
        return (
            f"{os.environ.get('GITHUB_SERVER_URL', 'https://github.com')}/{os.environ['GITHUB_REPOSITORY']}"
        )
    if shutil.which("git") is None:
        return None
    done = subprocess.run(["git", "remote", "get-url", "origin"], capture_output=True, text=True, check=False)
    match = re.fullmatch(r"(?:https://|git@|ssh://git@)github\.com[:/](.+?)(?:\.git)?/?", done.stdout.strip())
    return f"https://github.com/{match[1]}" if match else None


def _configure(app: Sphinx, config: Config) -> None:
    config.mathjax_path = "mathjax/tex-svg-full.js"
    # MathJax's menu would load further parts of it, which are not shipped
    config.mathjax3_config = {"options": {"enableMenu": False}, "svg": {"fontCache": "global"}}
    config.nb_ipywidgets_js = {}
    config.nb_render_markdown_format = "gfm"
    config.html_static_path = [*config.html_static_path, str(ASSETS)]
    config.html_favicon = config.html_favicon or str(ASSETS / "favicon.svg")
    options = config.html_theme_options
    options["logo"] = {
        "text": config.project if config.html_title is None else config.html_title,
        "image_light": str(ASSETS / "logo.svg"),
        "image_dark": str(ASSETS / "logo.svg"),
        **options.get("logo", {}),
    }
    options["navbar_persistent"] = []
    # without it the theme complains on a reader's first visit
    config.html_context.setdefault("default_mode", "auto")
    address = repository_url()
    options["repository_url"] = address or ""
    options["repository_branch"] = os.environ.get("GITHUB_REF_NAME", "main")
    for button in ("use_repository_button", "use_edit_page_button", "use_issues_button"):
        options[button] = address is not None


def _link_executed(app: Sphinx, doctree: Any) -> None:
    """Let links to ``chapter.md`` find the executed ``chapter.ipynb`` that replaced it."""
    from sphinx.addnodes import pending_xref

    for node in doctree.findall(pending_xref):
        if node.get("reftype") != "myst" or node.get("refdomain"):
            continue
        target, _, anchor = node["reftarget"].partition("#")
        if target.endswith(".md"):
            document, _ = app.env.relfn2path(target.removesuffix(".md"), app.env.docname)
            if document in app.env.found_docs:
                node.attributes.update(refdomain="doc", reftarget=document, reftargetid=anchor or None)


def _copy_scripts(app: Sphinx) -> None:
    if app.builder.format != "html":
        return
    for name, (package, file) in _FROM_WHEELS.items():
        target = Path(app.outdir) / "_static" / name
        target.parent.mkdir(parents=True, exist_ok=True)
        shutil.copy2(str(distribution(package).locate_file(file)), target)


def _page(app: Sphinx, pagename: str, templatename: str, context: dict[str, Any], doctree: Any) -> None:
    body = context.get("body") or ""
    # chemiscope carries a Plotly of its own: loaded second it would undo the styles of the other's toolbar
    if 'class="book-chemiscope"' in body:
        app.add_js_file("chemiscope.min.js", priority=600)
    if 'class="book-plotly"' in body:
        app.add_js_file("plotly.min.js", priority=610)
    if 'class="book-chemiscope"' in body or 'class="book-plotly"' in body:
        app.add_js_file("book.js", priority=620, loading_method="defer")
    # in place, because sphinx.ext.mathjax appends to this very list later
    context["script_files"][:] = [script for script in context["script_files"] if not _is_thebe(script)]
    # the executed notebook is rendered, the text is what can be edited
    if str(context.get("page_source_suffix", "")).endswith("ipynb"):
        context["page_source_suffix"] = ".md"


def _is_thebe(script: Any) -> bool:
    name = str(getattr(script, "filename", script) or "")
    return "thebe" in name.lower() or "THEBE_JS_URL" in getattr(script, "attributes", {}).get("body", "")


def setup(app: Sphinx) -> dict[str, Any]:
    """Sphinx's entry."""
    app.add_css_file("book.css")
    app.connect("config-inited", _configure)
    app.connect("builder-inited", _copy_scripts)
    app.connect("doctree-read", _link_executed)
    app.connect("html-page-context", _page, priority=100)
    return {"version": "1", "parallel_read_safe": True, "parallel_write_safe": True}
