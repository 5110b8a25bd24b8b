"""Claims of the book, registered by the cells that check them.

What a cell registers is part of its output, so it is kept with the executed chapter, whichever process
ran it and whether or not it is executed again; `hpopt_lib.report.claims_page` collects it.
"""

from __future__ import annotations

import re
from html import escape
from typing import Any

import numpy as np

#: Verdicts by what a cell found.
VERDICTS: dict[bool | None, str] = {True: "holds", False: "does not hold", None: "cannot be shown here"}
#: Key of an output's metadata.
METADATA_KEY = "hpopt_claim"
_NAME = re.compile(r"[a-z][a-z0-9]*(-[a-z0-9]+)*")


def claim(name: str, text: str, verdict: bool | np.bool_ | None, evidence: str) -> None:
    """Register a claim that this cell has checked, and show it on the page.

    Parameters
    ----------
    name : str
        Unique in the book, words with hyphens. Written out: the build reads it in the source, and fails
        when no cell registers it.
    text : str
        What is claimed, as a sentence. Code may stand in backticks.
    verdict : bool or None
        True when it holds, False when it does not, None when these data cannot tell.
    evidence : str
        The numbers that decided, with units.

    Raises
    ------
    ValueError
        For a name that is none, an empty text, or evidence without a number.
    """
    from IPython.display import display

    if not _NAME.fullmatch(name):
        raise ValueError(f"claim {name!r}: the name is words with hyphens, such as gmp-speed")
    if not text.strip() or (verdict is not None and not re.search(r"\d", evidence)):
        raise ValueError(f"claim {name}: a claim needs a sentence, and evidence with numbers")
    if verdict is not None and not isinstance(verdict, bool | np.bool_):
        raise ValueError(f"claim {name}: the verdict is True, False or None, not {verdict!r}")
    word = VERDICTS[None if verdict is None else bool(verdict)]
    content = {"name": name, "text": text.strip(), "verdict": word, "evidence": evidence.strip()}
    display(
        {"text/html": _html(content), "text/plain": f"Claim {name}: {text} {word}: {evidence}"},
        raw=True,
        metadata={METADATA_KEY: content},
    )


def below(interval: tuple[float, float], limit: float = 0.0) -> bool | None:
    """Verdict on "is smaller than a limit": None when the interval contains it."""
    low, high = interval
    return True if high < limit else False if low > limit else None


def _html(content: dict[str, Any]) -> str:
    return (
        f'<div class="book-claim" id="claim-{content["name"]}">'
        f"<strong>Claim: {inline(content['text'])}</strong> "
        f'<a href="claims.html#{content["name"]}">{content["verdict"]}</a>: '
        f"{inline(content['evidence'])}</div>"
    )


def inline(text: str) -> str:
    """Text as HTML, with code in backticks."""
    return re.sub(r"`([^`]+)`", r"<code>\1</code>", escape(text, quote=False))
