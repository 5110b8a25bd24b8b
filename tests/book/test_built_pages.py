"""The built book in headless Chromium: quiet, offline, drawn, dark when asked, and at home on a phone."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import yaml
from browser import DESKTOP, PHONE, Browser, open_browser

ROOT = Path(__file__).resolve().parents[2]
SCREENSHOTS = ROOT / "_build" / "screenshots"
OWN_SCHEMES = ("file:", "data:", "blob:", "about:")

_TOC = yaml.safe_load((ROOT / "_toc.yml").read_text(encoding="utf-8"))
CHAPTERS = [
    "index.html",
    *(f"{chapter['file']}.html" for part in _TOC["parts"] for chapter in part["chapters"]),
]
PAGES = [*CHAPTERS, "genindex.html", "py-modindex.html", "search.html"]


@pytest.fixture(scope="module")
def browser(tmp_path_factory: pytest.TempPathFactory, needs: Callable[[str], None]) -> Iterator[Browser]:
    needs("chromium")
    with open_browser(tmp_path_factory.mktemp("chromium")) as opened:
        yield opened


@pytest.fixture
def html(built_book) -> Path:
    return built_book.html


def test_there_are_no_other_pages(html: Path) -> None:
    found = {
        path.relative_to(html).as_posix() for path in html.rglob("*.html") if "_static" not in path.parts
    }
    assert found == set(PAGES)


@pytest.mark.parametrize("page", PAGES)
def test_a_page_is_quiet_and_offline_in_light_dark_and_on_a_phone(
    browser: Browser, html: Path, page: str
) -> None:
    name = page.removesuffix(".html").replace("/", "-")
    looks = {"light": ("light", DESKTOP), "dark": ("dark", DESKTOP), "phone": ("light", PHONE)}
    for look, (theme, size) in looks.items():
        browser.open(html / page, theme=theme, size=size)
        width = browser.script("return document.documentElement.scrollWidth")
        background = browser.script("return getComputedStyle(document.body).backgroundColor")
        browser.screenshot(SCREENSHOTS / f"{name}-{look}.png")
        errors, asked = browser.drain()
        assert errors == [], f"{look}: console errors"
        assert [url for url in asked if not url.startswith(OWN_SCHEMES)] == [], (
            f"{look}: requests left the page"
        )
        assert width <= size[0], f"{look}: the page is {width} px wide and scrolls sideways"
        assert (brightness(background) < 64) == (theme == "dark"), f"{look}: background {background}"


@pytest.mark.parametrize("page", PAGES)
def test_figures_are_drawn_and_follow_the_theme(browser: Browser, html: Path, page: str) -> None:
    text = (html / page).read_text(encoding="utf-8")
    plots, maps = text.count('class="book-plotly"'), text.count('class="book-chemiscope"')
    if not plots and not maps:
        return
    browser.open(html / page, theme="light")
    assert browser.script("return document.querySelectorAll('.book-plotly .main-svg').length") >= plots
    drawn = browser.script(
        "return [...document.querySelectorAll('.book-chemiscope')].map(e => e.dataset.drawn)"
    )
    assert drawn == ["live"] * maps
    if not plots:
        return
    ink = "return getComputedStyle(document.querySelector('.book-plotly text')).fill"
    if browser.script("return document.querySelector('.book-plotly text') !== null"):
        light = brightness(browser.script(ink))
        browser.script("document.documentElement.dataset.theme = 'dark'")
        browser.wait(
            "return [...document.querySelectorAll('.book-plotly')].every(e => e.dataset.drawn === 'dark')"
        )
        assert light < 128 < brightness(browser.script(ink))


def test_the_search_page_finds_a_word_offline(browser: Browser, html: Path) -> None:
    browser.driver.get((html / "search.html").resolve().as_uri() + "?q=potentials")
    browser.wait("return document.querySelectorAll('#search-results li').length > 0")


def test_structures_have_a_picture_to_fall_back_on(html: Path) -> None:
    for page in CHAPTERS:
        text = (html / page).read_text(encoding="utf-8")
        for start in text.split('<div class="book-chemiscope"')[1:]:
            assert '<img class="book-fallback"' in start[:400], (
                f"{page}: a structure explorer without a picture"
            )


def test_brightness_tells_light_from_dark() -> None:
    assert brightness("rgb(255, 255, 255)") == 255
    assert brightness("rgba(18, 18, 18, 1)") == 18


def brightness(colour: str) -> float:
    """Mean of red, green and blue of a CSS colour such as ``rgb(18, 18, 18)``."""
    parts = colour[colour.index("(") + 1 : colour.index(")")].split(",")
    return sum(float(part) for part in parts[:3]) / 3
