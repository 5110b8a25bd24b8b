"""The live view: pages that reload, on this machine only, and a watch that rebuilds."""

from __future__ import annotations

import threading
import urllib.request
from collections.abc import Iterator
from http.client import HTTPConnection
from pathlib import Path

import pytest

from hpopt_lib.errors import HpoptError
from hpopt_lib.report import book_server
from hpopt_lib.report.book_server import LiveHandler, live_server, snapshot, watch


@pytest.fixture
def address(tmp_path: Path) -> Iterator[tuple[str, int]]:
    (tmp_path / "index.html").write_text("<body><p>Hello</p></body>", encoding="utf-8")
    (tmp_path / "data.txt").write_text("plain", encoding="utf-8")
    with live_server(tmp_path, 0) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        yield server.server_address
        server.shutdown()
        thread.join()


def read(address: tuple[str, int], path: str) -> str:
    with urllib.request.urlopen(f"http://127.0.0.1:{address[1]}{path}", timeout=10) as answer:
        return answer.read().decode()


def test_pages_carry_the_script_that_reloads_them(
    address: tuple[str, int], monkeypatch: pytest.MonkeyPatch
) -> None:
    assert address[0] == "127.0.0.1"
    assert "location.reload()" in read(address, "/")
    assert read(address, "/index.html").startswith("<body><p>Hello</p><script>")
    assert read(address, "/data.txt") == "plain"
    monkeypatch.setattr(LiveHandler, "version", 41)
    assert read(address, "/.version") == "41"


def test_nothing_outside_the_folder_is_served(address: tuple[str, int], tmp_path: Path) -> None:
    (tmp_path.parent / "secret.html").write_text("secret", encoding="utf-8")
    connection = HTTPConnection("127.0.0.1", address[1], timeout=10)
    connection.request("GET", "/../secret.html")
    assert connection.getresponse().status == 404
    connection.close()


def test_a_port_in_use_is_told(address: tuple[str, int], tmp_path: Path) -> None:
    with pytest.raises(HpoptError, match=rf"^port {address[1]}: .*; choose another with --port$"):
        live_server(tmp_path, address[1])


def test_a_change_is_seen_and_rebuilt_and_a_bad_one_does_not_end_the_watch(
    tiny_book: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(book_server, "POLL_INTERVAL_S", 0.0)
    monkeypatch.setattr(LiveHandler, "version", 0)
    before = snapshot(tiny_book)
    calls: list[str] = []

    def build() -> None:
        calls.append("build")
        if len(calls) == 1:
            (tiny_book / "book/first.md").write_text("second change", encoding="utf-8")
            raise HpoptError("a cell failed")

    watch(tiny_book, build, before=before, rounds=1)
    assert calls == []
    (tiny_book / "book/first.md").write_text("change", encoding="utf-8")
    watch(tiny_book, build, before=before, rounds=3)
    assert len(calls) == 2
    assert LiveHandler.version == 1
    said = capsys.readouterr().err
    assert "changed: book/first.md" in said
    assert "error: a cell failed" in said


def test_made_files_are_not_watched(tiny_book: Path) -> None:
    before = snapshot(tiny_book)
    (tiny_book / "_build").mkdir()
    (tiny_book / "_build/x.html").write_text("x")
    (tiny_book / "book/first.ipynb").write_text("{}")
    assert snapshot(tiny_book) == before
