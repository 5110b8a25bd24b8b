"""Chapters, their parameters, and the profiles that set them."""

from __future__ import annotations

from pathlib import Path

import pytest

from hpopt_lib.errors import HpoptError
from hpopt_lib.report.chapters import check_parameters, find_chapter, list_chapters, parse_value
from hpopt_lib.report.profiles import DEFAULT_CELL_TIMEOUT_S, load_profile


def test_chapters_are_the_pages_with_cells(tiny_book: Path) -> None:
    chapters = list_chapters(tiny_book)
    assert [chapter.name for chapter in chapters] == ["first", "second"]
    assert chapters[0].title == "The first chapter"
    assert chapters[0].parameters == {"trials": "3", "label": '"plain"'}
    assert chapters[1].parameters == {}


@pytest.mark.parametrize("name", ["first", "book/first", "book/first.md", "./book/first.md"])
def test_a_chapter_is_found_by_several_names(tiny_book: Path, name: str) -> None:
    assert find_chapter(tiny_book, name).name == "first"


def test_an_unknown_chapter_names_those_there_are(tiny_book: Path) -> None:
    with pytest.raises(HpoptError, match=r"'third'; the chapters are first, second$"):
        find_chapter(tiny_book, "third")


def test_a_folder_that_is_no_book(tmp_path: Path) -> None:
    with pytest.raises(HpoptError, match="not the root of a book"):
        list_chapters(tmp_path)


def test_an_unknown_parameter_names_file_and_known_ones(tiny_book: Path) -> None:
    chapter = find_chapter(tiny_book, "first")
    with pytest.raises(
        HpoptError, match=r"^-p: book/first.md has no parameter trails; its parameters are trials, label$"
    ):
        check_parameters(chapter, {"trails": 4, "label": "x"}, origin="-p")
    with pytest.raises(HpoptError, match="no cell tagged parameters"):
        check_parameters(find_chapter(tiny_book, "second"), {"trials": 4}, origin="-p")


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("5", 5),
        ("1e-3", 1e-3),
        ("True", True),
        ("tpe", "tpe"),
        ("[1, 2]", [1, 2]),
        ("None", None),
        ("a b(", "a b("),
    ],
)
def test_values_from_the_command_line(text: str, value: object) -> None:
    assert parse_value(text) == value
    assert type(parse_value(text)) is type(value)


def test_a_profile_sets_common_and_own_parameters(tiny_book: Path) -> None:
    (tiny_book / "profiles/quick.yml").write_text(
        "common: {label: x, trials: 1}\nchapters: {first: {trials: 5}}\n"
    )
    chapters = list_chapters(tiny_book)
    profile = load_profile(tiny_book, "quick", chapters)
    assert profile.parameters(chapters[0]) == {"label": "x", "trials": 5}
    assert profile.parameters(chapters[1]) == {}
    assert profile.timeout_s == DEFAULT_CELL_TIMEOUT_S


def test_a_chapter_may_ask_for_the_profiles_name(tiny_book: Path) -> None:
    first = tiny_book / "book/first.md"
    first.write_text(first.read_text().replace('label = "plain"', 'profile = "default"'))
    chapters = list_chapters(tiny_book)
    assert load_profile(tiny_book, "quick", chapters).parameters(chapters[0]) == {
        "profile": "quick",
        "trials": 5,
    }


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (
            "chapters: {first: {trails: 5}}",
            r"^profiles/quick.yml: book/first.md has no parameter trails; .* trials, label$",
        ),
        (
            "chapters: {third: {trials: 5}}",
            r"^profiles/quick.yml: chapters: unknown chapter 'third'; .* first, second$",
        ),
        ("common: {trails: 5}", r"^profiles/quick.yml: common: no chapter has a parameter 'trails'"),
        (
            "chapter: {}",
            r"^profiles/quick.yml: unknown key chapter; the keys are timeout_s, common, chapters$",
        ),
        ("timeout_s: soon", r"^profiles/quick.yml: timeout_s: 'soon' is not a positive number"),
        ("timeout_s: true", r"^profiles/quick.yml: timeout_s: True is not a positive number"),
        ("chapters: [first]", r"^profiles/quick.yml: chapters: holds \['first'\] instead of names"),
        ("chapters: {first: 5}", r"^profiles/quick.yml: chapters: first: holds 5 instead of names"),
        ("- 1", r"^profiles/quick.yml: holds list instead of a mapping$"),
        ("a: [", r"^profiles/quick.yml: not YAML: "),
    ],
)
def test_a_wrong_profile_is_one_clear_line(tiny_book: Path, content: str, message: str) -> None:
    (tiny_book / "profiles/quick.yml").write_text(content)
    with pytest.raises(HpoptError, match=message) as caught:
        load_profile(tiny_book, "quick", list_chapters(tiny_book))
    assert "\n" not in str(caught.value)


def test_an_unknown_profile_names_those_there_are(tiny_book: Path) -> None:
    with pytest.raises(HpoptError, match=r"^profiles/slow.yml: no such profile; the profiles are quick$"):
        load_profile(tiny_book, "slow", list_chapters(tiny_book))
