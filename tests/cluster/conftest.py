"""Servers, clusters and studies for these tests."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An own folder for what belongs to the user."""
    folder = tmp_path / "home"
    monkeypatch.setenv("HPOPT_HOME", str(folder))
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.delenv("HPOPT_PROFILE", raising=False)
    return folder


@pytest.fixture(scope="module")
def slurm(needs) -> Iterator:
    """Slurm with four nodes of two cores."""
    needs("slurm")
    from slurm import Slurm

    cluster = Slurm()
    try:
        cluster.start()
        yield cluster
    finally:
        cluster.stop()
