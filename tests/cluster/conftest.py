"""Servers, clusters and studies for these tests."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest
from servers import Foreground

from hpopt_lib.cluster.server import Server
from hpopt_lib.tuning.endpoint import register_server


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An own folder for what belongs to the user."""
    folder = tmp_path / "home"
    monkeypatch.setenv("HPOPT_HOME", str(folder))
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.delenv("HPOPT_PROFILE", raising=False)
    return folder


@pytest.fixture(scope="session")
def template(tmp_path_factory, needs) -> Path:
    """Folder of a server that was made and never started; copied by the tests, which takes less time.

    It is made by the program that HPOPT_MYSQLD names, where that is set.
    """
    if not os.environ.get("HPOPT_MYSQLD"):
        needs("mariadbd")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("HPOPT_HOME", str(tmp_path_factory.mktemp("template")))
        return Server("team").init()


@pytest.fixture
def server(template, tmp_path, monkeypatch) -> Iterator[Server]:
    """A server of its own for the test, not started."""
    monkeypatch.setenv("HPOPT_HOME", str(tmp_path / "home"))
    for name in ("SLURM_JOB_ID", "PBS_JOBID"):
        monkeypatch.delenv(name, raising=False)
    folder = Path(shutil.copytree(template, tmp_path / "team"))
    folder.chmod(0o700)
    register_server("team", folder)
    server = Server("team")
    yield server
    monkeypatch.undo()  # what the test pretended must not keep the server from ending
    monkeypatch.setenv("HPOPT_HOME", str(tmp_path / "home"))
    if server.running:
        server.stop()
    Foreground.close_all()


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
