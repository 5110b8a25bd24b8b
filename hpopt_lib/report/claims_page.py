"""The ledger of claims: what the chapters of a build registered, each with verdict, evidence and place."""

from __future__ import annotations

import ast
from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from hpopt_lib.errors import HpoptError
from hpopt_lib.report.chapters import BOOK_FOLDER, Chapter
from hpopt_lib.report.ledger import METADATA_KEY, VERDICTS, inline

CLAIMS_PAGE = f"{BOOK_FOLDER}/claims.md"
NOT_RUN = "not run in this build"


@dataclass(frozen=True)
class Claim:
    """One line of the ledger."""

    chapter: Chapter
    name: str
    text: str
    verdict: str
    evidence: str


def declared(chapter: Chapter) -> list[str]:
    """Names of the claims in a chapter's source, in their order.

    Raises
    ------
    HpoptError
        For a name that is not written out.
    """
    from IPython.core.inputtransformer2 import TransformerManager

    names = []
    for cell in chapter.notebook.cells:
        if cell.cell_type != "code" or "claim(" not in cell.source:
            continue
        try:
            tree = ast.parse(TransformerManager().transform_cell(cell.source))
        except SyntaxError:
            continue  # the chapter does not run either, and says where
        calls = [node for node in ast.walk(tree) if isinstance(node, ast.Call) and _is_claim(node.func)]
        for call in sorted(calls, key=lambda call: call.lineno):
            first = call.args[0] if call.args else None
            if not isinstance(first, ast.Constant) or not isinstance(first.value, str):
                raise HpoptError(
                    f"{chapter.label}: claim: its name is not written out",
                    remedy="give a text as the first argument, so that the build can look for it",
                )
            names.append(first.value)
    return names


def _is_claim(function: ast.expr) -> bool:
    name = function.id if isinstance(function, ast.Name) else getattr(function, "attr", None)
    return name == "claim"


def registered(notebook: Path) -> dict[str, dict[str, Any]]:
    """What the cells of an executed chapter registered, by name."""
    import nbformat

    found = {}
    for cell in nbformat.read(notebook, as_version=4).cells:
        for output in cell.get("outputs", []):
            if content := output.get("metadata", {}).get(METADATA_KEY):
                found[content["name"]] = dict(content)
    return found


def collect(
    chapters: Iterable[Chapter], executed: Mapping[Chapter, Path], *, complete: Collection[Chapter]
) -> list[Claim]:
    """All claims of the book.

    Parameters
    ----------
    chapters : iterable of Chapter
    executed : mapping
        Executed notebook of each chapter that has one.
    complete : collection of Chapter
        Those that belong to this build. Of the others, claims that are missing are shown as not run.

    Raises
    ------
    HpoptError
        When a claim has no output, because its cell or its whole chapter did not run, or two chapters use
        one name.
    """
    claims: dict[str, Claim] = {}
    for chapter in chapters:
        names = declared(chapter)
        found = registered(executed[chapter]) if chapter in executed else {}
        for name in names:
            if name in claims:
                others = claims[name].chapter.label
                raise HpoptError(
                    f"{chapter.label}: claim {name!r}: is registered in {others} too", remedy="rename one"
                )
            if name in found:
                claims[name] = Claim(chapter, **found[name])
            elif chapter in complete:
                missing = "no cell registered it" if chapter in executed else "the chapter did not run"
                raise HpoptError(
                    f"{chapter.label}: claim {name!r}: {missing}",
                    remedy="register it in every run, with verdict None where nothing can be shown",
                )
            else:
                claims[name] = Claim(chapter, name, f"`{name}`", NOT_RUN, "")
    return list(claims.values())


def claims_page(claims: Collection[Claim], profile: str, toc: str = "") -> str:
    """The page with all claims, as MyST Markdown.

    Parameters
    ----------
    claims : collection of Claim
    profile : str
        Profile of this build.
    toc : str
        Text of the table of contents, for the order of the chapters.
    """
    counts = {word: sum(claim.verdict == word for claim in claims) for word in VERDICTS.values()}
    counts |= {NOT_RUN: number} if (number := sum(claim.verdict == NOT_RUN for claim in claims)) else {}
    lines = [
        "# Claims",
        "",
        "Every claim of this book that a cell checked while the book was built, with the numbers that",
        f"decided and a link to the cell. `hpopt book build` wrote this page, with the profile `{profile}`;",
        "no verdict is typed. A claim whose cell did not run stops the build. *Cannot be shown here* means",
        "that these data, or this size, do not decide.",
        "",
        "; ".join(f"**{word}**: {number}" for word, number in counts.items()) + ".",
    ]
    by_chapter: dict[Chapter, list[Claim]] = {}
    for claim in claims:
        by_chapter.setdefault(claim.chapter, []).append(claim)
    for chapter in sorted(by_chapter, key=lambda one: toc.find(f"file: {BOOK_FOLDER}/{one.name}\n")):
        lines += ["", f"## {chapter.title}", "", "| claim | verdict | evidence | cell |", "|---|---|---|---|"]
        lines += [_row(claim) for claim in by_chapter[chapter]]
    return "\n".join([*lines, ""])


def _row(claim: Claim) -> str:
    page = f"{claim.chapter.name}.html"
    target = page if claim.verdict == NOT_RUN else f"{page}#claim-{claim.name}"
    link = f'<a href="{target}">{claim.name}</a>'
    text = f'<span id="{claim.name}">{inline(claim.text)}</span>'
    cells = (text, f"**{claim.verdict}**", inline(claim.evidence), link)
    return "| " + " | ".join(cell.replace("|", "&#124;").replace("\n", " ") for cell in cells) + " |"
