"""A study that is made once and looked at by many tests, and what tuning tests share."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from hpopt_lib.tuning.config import StudyConfig, store_path

SPACE = """
[lr]
type = "float"
low = 1e-3
high = 1e-1
log = true
[num_nodes]
type = "int"
low = 2
high = 16
[activation]
type = "categorical"
choices = ["tanh", "silu"]
"""
FIXED = {"epochs": 3, "num_layers": 1, "batch_size": 32}


@pytest.fixture(scope="session")
def make_config(store_path_session: str):
    """A small study's configuration, with changes."""

    def make(**changes) -> StudyConfig:
        values = {
            "store": store_path_session,
            "space": SPACE,
            "validation": "val",
            "fixed": FIXED,
            "pruner": "none",
        }
        return StudyConfig(**{**values, **changes})

    return make


@pytest.fixture(scope="session")
def store_path_session(request) -> str:
    return store_path(request.getfixturevalue("store_path"))


@pytest.fixture(scope="session")
def tuned(tmp_path_factory, make_config) -> tuple[str, Path]:
    """Storage address and folder of a study `small` of 6 trials (do not change it)."""
    from hpopt_lib.tuning.study import tune

    folder = tmp_path_factory.mktemp("tuned")
    storage = f"sqlite:///{folder}/studies.db"
    tune("small", make_config(), trials=6, storage=storage)
    return storage, folder


@pytest.fixture(scope="session")
def server(tmp_path_factory, needs) -> Iterator[str]:
    """Name of a running private server; dead workers are known after three seconds there."""
    needs("mariadbd")
    from hpopt_lib.cluster.server import Server

    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("HPOPT_HOME", str(tmp_path_factory.mktemp("home")))
        patch.setenv("HPOPT_HEARTBEAT_S", "1")
        patch.setenv("HPOPT_GRACE_S", "3")
        server = Server("shared")
        server.init()
        running = server.start()
        yield "shared"
        server.stop()
        running.process.wait(timeout=30)
