"""Commands and report pieces as chapters show them."""

from __future__ import annotations

import pytest

from hpopt_lib.errors import HpoptError
from hpopt_lib.report import chapter_output
from hpopt_lib.report.document import Bullets, Heading, Paragraph, Picture
from hpopt_lib.report.style import new_figure, png_bytes
from hpopt_lib.report.terminal import terminal


def test_terminal_prints_the_command_and_its_answer(capsys):
    answer = terminal("hpopt --version")
    printed = capsys.readouterr().out
    assert printed.startswith("$ hpopt --version\n") and answer.strip() in printed
    assert "hpopt" in answer


def test_terminal_raises_with_the_commands_own_line(tmp_path):
    with pytest.raises(HpoptError, match=r"no such store"):
        terminal("hpopt data info missing.lmdb", cwd=tmp_path)
    with pytest.raises(HpoptError, match="not an hpopt command"):
        terminal("ls")


def picture(name: str) -> Picture:
    return Picture(name, "Title", "what it shows", "A caption.", png_bytes(new_figure(1.0)))


def test_sections_keep_every_block_under_its_heading():
    blocks = [
        Heading("Study", level=1),
        Heading("One"),
        Paragraph("text"),
        Heading("Two"),
        picture("a"),
        Bullets(["x"]),
    ]
    found = chapter_output.sections(blocks)
    assert list(found) == ["", "One", "Two"]
    assert found["One"] == [Paragraph("text")] and len(found["Two"]) == 2


def test_show_displays_text_and_pictures_in_order(monkeypatch):
    shown = []
    monkeypatch.setattr("IPython.display.display", shown.append)
    chapter_output.show([Paragraph("first"), picture("a")])
    assert [type(entry).__name__ for entry in shown] == ["Markdown", "Image", "Markdown"]
    assert shown[0].data.strip() == "first"
    assert "A caption." in shown[2].data
    assert shown[1].alt == "what it shows"


def test_show_only_named_pictures(monkeypatch):
    shown = []
    monkeypatch.setattr("IPython.display.display", shown.append)
    chapter_output.show([Paragraph("text"), picture("a"), picture("b")], only=["b"])
    assert [type(entry).__name__ for entry in shown] == ["Image", "Markdown"]
    with pytest.raises(HpoptError, match="no figure missing"):
        chapter_output.show([picture("a")], only=["missing"])


def test_a_live_figure_carries_its_still_picture():
    live = chapter_output.live_figure({"data": [], "layout": {}}, png=b"\x89PNG", alt="alt text")
    data, metadata = live._repr_mimebundle_()
    assert "image/png" in data and "application/vnd.plotly.v1+json" in data
    assert next(iter(metadata.values()))["alt"] == "alt text"
