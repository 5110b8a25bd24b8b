"""Stores of embedded sets are made once and found again."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor

import pytest
from synthetic import GMP

from hpopt_lib import workspace
from hpopt_lib.store import Store


@pytest.fixture
def made(monkeypatch, tmp_path) -> list[str]:
    """Names of stores that are made, in a work folder of the test's own."""
    monkeypatch.setenv("HPOPT_WORK", str(tmp_path / "work"))
    calls, preprocess = [], workspace.preprocess

    def counted(inputs, out, **options):
        calls.append(out.name)
        return preprocess(inputs, out, **options)

    monkeypatch.setattr(workspace, "preprocess", counted)
    return calls


def test_a_store_is_made_once_for_each_recipe(made, tmp_path):
    store = workspace.embedded_store("ethanol-like", settings=GMP, stride=100)
    assert store.splits == ["train", "val", "test", "test_hot"] and store.settings == GMP
    again = workspace.embedded_store("ethanol-like", settings=GMP, stride=100)
    assert again.path == store.path and len(made) == 1
    other = workspace.embedded_store("ethanol-like", settings=GMP, stride=200)
    assert other.path != store.path and len(made) == 2
    assert len(other.read("train")) < len(store.read("train"))
    assert {path.suffix for path in (tmp_path / "work").iterdir()} == {".lmdb", ".lock"}


def test_several_that_ask_at_once_wait_for_the_first(made):
    def ask(_number: int) -> Store:
        return workspace.embedded_store("ethanol-like", settings=GMP, stride=200)

    with ThreadPoolExecutor(4) as pool:
        stores = list(pool.map(ask, range(4)))
    assert len(made) == 1 and len({store.path for store in stores}) == 1
