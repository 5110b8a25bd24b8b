"""A small store, and its frames with AMPtorch's features."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from hpopt_lib.amptorch.compat import quiet_import


@pytest.fixture
def amptorch(needs, tmp_path, monkeypatch) -> Path:
    """An empty working folder for a test that needs AMPtorch."""
    needs("amptorch")
    quiet_import("skorch")
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.fixture(scope="session")
def upstream(needs, store_path, dataset):
    """The data set of `store_path` with AMPtorch's features."""
    needs("amptorch")
    from hpopt_lib.amptorch.features import upstream_dataset
    from hpopt_lib.store import Store

    folder = os.getcwd()
    data = upstream_dataset(dataset, Store.open(store_path), "val")
    assert os.getcwd() == folder
    return data
