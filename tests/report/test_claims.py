"""The ledger of claims: collected from what the chapters of a build printed, complete or no build."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from hpopt_lib.errors import HpoptError
from hpopt_lib.report.book import build_book
from hpopt_lib.report.chapters import find_chapter, list_chapters
from hpopt_lib.report.claims_page import collect, declared
from hpopt_lib.report.ledger import below, claim

CLAIM = 'from hpopt_lib.report.ledger import claim\nclaim("answer-is-42", "The answer is `6 * 7` | 42.", 6 * 7 == 42, "6 * 7 = 42")'


def edit(path: Path, old: str, new: str) -> None:
    text = path.read_text(encoding="utf-8")
    assert old in text
    path.write_text(text.replace(old, new), encoding="utf-8")


@pytest.fixture
def book(tiny_book: Path) -> Path:
    """A tiny book whose second chapter has a claim."""
    edit(tiny_book / "_toc.yml", "  - file: book/exec", "  - file: book/claims\n  - file: book/exec")
    edit(tiny_book / "book/second.md", "6 * 7", CLAIM)
    return tiny_book


def only(book: Path, **options) -> Path:
    return build_book(book, profile="quick", render=False, chapters=["second"], **options)


def test_the_ledger_has_every_claim_with_links_both_ways_also_when_nothing_is_executed_again(book, capsys):
    for _ in range(2):
        html = build_book(book, profile="quick").parent
        page = (html / "book/claims.html").read_text(encoding="utf-8")
        assert "<strong>holds</strong>: 1; <strong>does not hold</strong>: 0" in page
        assert 'href="second.html#claim-answer-is-42"' in page and "6 * 7 = 42" in page
        assert "<code>6 * 7</code> | 42." in page
        chapter = (html / "book/second.html").read_text(encoding="utf-8")
        assert 'id="claim-answer-is-42"' in chapter and 'href="claims.html#answer-is-42"' in chapter
    assert "unchanged, not executed again: first, second" in capsys.readouterr().err
    edit(book / "book/second.md", "== 42", "== 41")
    build_book(book, profile="quick")
    page = (html / "book/claims.html").read_text(encoding="utf-8")
    assert "<strong>holds</strong>: 0; <strong>does not hold</strong>: 1" in page


def test_a_claim_whose_cell_is_skipped_stops_the_build(book):
    edit(book / "book/second.md", 'claim("answer', 'if False:\n    claim("answer')
    with pytest.raises(HpoptError, match=r"book/second.md: claim 'answer-is-42': no cell registered it; reg"):
        only(book)


def test_a_claim_whose_chapter_did_not_run_stops_the_build(book):
    chapters = list_chapters(book)
    with pytest.raises(HpoptError, match="book/second.md: claim 'answer-is-42': the chapter did not run"):
        collect(chapters, {}, complete=chapters)
    (line,) = collect(chapters, {}, complete=[])  # another chapter alone is built
    assert line.verdict == "not run in this build"


def test_two_claims_of_one_name_stop_the_build(book):
    edit(book / "book/first.md", 'print("trials:", trials, label)', CLAIM)
    with pytest.raises(
        HpoptError, match="second.md: claim 'answer-is-42': is registered in book/first.md too"
    ):
        only(book)


def test_a_name_that_the_build_cannot_read_stops_it(book):
    edit(book / "book/second.md", '"answer-is-42"', '"answer-" + "is-42"')
    with pytest.raises(HpoptError, match="book/second.md: claim: its name is not written out"):
        declared(find_chapter(book, "second"))


def test_the_book_itself_has_claims_in_its_chapters():
    names = [name for chapter in list_chapters(Path(__file__).parents[2]) for name in declared(chapter)]
    assert len(names) == len(set(names)) >= 20


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("Two words", "x", True, "1"), "the name is words with hyphens"),
        (("x", " ", True, "1"), "needs a sentence"),
        (("x", "x", True, "much"), "evidence with numbers"),
        (("x", "x", "yes", "1"), "the verdict is True, False or None, not 'yes'"),
        (("x", "x", 1, "1"), "the verdict is True, False or None"),
    ],
)
def test_claims_that_say_nothing_are_refused(arguments, message):
    with pytest.raises(ValueError, match=message):
        claim(*arguments)


def test_verdicts_of_intervals():
    assert below((-2.0, -1.0)) is True and below((1.0, 2.0)) is False and below((-1.0, 1.0)) is None
    assert below((1.0, 2.0), 3.0) is True
    claim("x", "x", np.bool_(True), "1 is not 2")
