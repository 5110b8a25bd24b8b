"""The storages that the benchmark compares, with a private server if there is a program for it."""

from __future__ import annotations

import contextlib
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from storage_workers import grpc_proxy, hpopt_worker, optuna_worker

from hpopt_lib.errors import HpoptError

SERVER = "bench"


@dataclass
class Place:
    """A storage and who works on it.

    Attributes
    ----------
    address : str
        Where the study is made.
    prepare : callable
        See `storage_load.run`.
    arguments : tuple
    server : list of int
        Processes of the server.
    """

    address: str
    prepare: Callable[..., Any]
    arguments: tuple[Any, ...]
    server: list[int] = field(default_factory=list)


@contextlib.contextmanager
def private_server(folder: Path) -> Iterator[tuple[str, int] | None]:
    """Product and process of a fresh server; None without a server program."""
    from hpopt_lib.cluster.server import Server
    from hpopt_lib.cluster.server_data import read_account
    from hpopt_lib.cluster.server_lock import read_state

    server = Server(SERVER)
    try:
        server.init(folder / "server")
    except HpoptError as error:
        print(f"no server: {error.problem}", file=sys.stderr)
        yield None
        return
    server.start()
    try:
        state = read_state(server.folder)
        assert state is not None
        yield read_account(server.folder).get("made_by", "server"), state.pid
    finally:
        server.stop()


def places(folder: Path, server: tuple[str, int] | None) -> dict[str, Place]:
    """All storages of this machine by what the tables call them; the first is the peer of the server."""
    made = {}
    if server:
        product, pid = server
        made[f"Optuna alone, {product}"] = Place(SERVER, optuna_worker, (SERVER,), [pid])
        made[f"hpopt, {product}"] = Place(SERVER, hpopt_worker, (SERVER,), [pid])
    for kind, title in (("sqlite", "SQLite"), ("journal", "journal")):
        address = f"{kind}:///{folder}/studies.{kind}"
        made[f"hpopt, {title}"] = Place(address, hpopt_worker, (address,))
    if server and find_spec("grpc"):
        from hpopt_lib.cluster.server_places import free_port

        port = free_port("127.0.0.1")
        proxy = grpc_proxy(SERVER, port)
        made[f"Optuna alone, gRPC proxy, {product}"] = Place(
            SERVER, optuna_worker, (SERVER, port), [pid, proxy.pid]
        )
        time.sleep(3)
    return made
