"""A server with a small data set, and the catalogue that names it."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from faulty_server import Site, serving
from small_source import tar_of, written

from hpopt_lib.data.catalogue import Source, load_catalogue


@pytest.fixture
def site(monkeypatch: pytest.MonkeyPatch) -> Iterator[Site]:
    monkeypatch.setenv("no_proxy", "127.0.0.1")
    with serving() as site:
        site.put("readme.txt", b"read me\n")
        site.put("frames.tar", tar_of("set/0.extxyz"))
        yield site


@pytest.fixture
def catalogue(site: Site, tmp_path: Path) -> Path:
    return written(site, tmp_path / "own.toml")


@pytest.fixture
def source(catalogue: Path) -> Source:
    return load_catalogue(catalogue)["slabs"]
