"""The end of a server, from whatever node it is asked for, and what is left of it."""

from __future__ import annotations

import os
import shutil
import time
from pathlib import Path
from typing import TYPE_CHECKING

from hpopt_lib.cluster import server_process
from hpopt_lib.cluster.server_data import LOG
from hpopt_lib.cluster.server_lock import here, is_alive, is_locked, read_state, remove_state, take_lock
from hpopt_lib.errors import HpoptError
from hpopt_lib.tuning.endpoint import remove_endpoint

if TYPE_CHECKING:
    from hpopt_lib.cluster.server import Server

#: A file of this name in the folder asks the keeper of the server, on whatever node, to stop.
STOP = "stop"


def stop(server: Server) -> bool:
    """Shut a server down cleanly; False when it did not run. See `hpopt_lib.cluster.server.Server.stop`.

    Parameters
    ----------
    server : Server
    """
    folder, state = server.folder, read_state(server.folder)
    if not server.running:
        _tidy_unless_started(folder)
        return False
    if state is None:
        raise HpoptError(f"server {server.name!r}: is just being made or started", remedy="try again soon")
    if here(state):
        keeper = is_alive(state.keeper, state.keeper_start)
        pid, start = (state.keeper, state.keeper_start) if keeper else (state.pid, state.pid_start)
        if is_alive(pid, start):
            server_process.end_foreign(pid, lambda: is_locked(folder))
    elif state.keeper:
        (folder / STOP).touch(mode=0o600)
        limit = time.monotonic() + server_process.STOP_S
        while (folder / STOP).exists() and time.monotonic() < limit:
            time.sleep(0.2)
        (folder / STOP).unlink(missing_ok=True)
    else:
        raise HpoptError(
            f"server {server.name!r}: runs {state.where()}", remedy=f"run hpopt db stop {server.name} there"
        )
    if server.running:
        raise HpoptError(
            f"server {server.name!r}: has not ended {state.where()}",
            remedy=f"see {folder / LOG}" + (f", or cancel job {state.job_id}" if state.job_id else ""),
        )
    _tidy_unless_started(folder)
    return True


def tidy(folder: Path) -> None:
    """Remove what a server that is gone has left: its address, its note and its socket.

    Only for who holds the folder's lock: somebody else may have started it again.
    """
    state = read_state(folder)
    remove_endpoint(folder)
    if state is not None and here(state) and state.socket_folder:
        sockets = Path(state.socket_folder)
        # the note is a file that could say anything: only what this package makes is removed
        if sockets.name.startswith("hpopt-") and not sockets.is_symlink():
            shutil.rmtree(sockets, ignore_errors=True)
    remove_state(folder)


def _tidy_unless_started(folder: Path) -> None:
    lock = take_lock(folder, patience_s=0)
    if lock is not None:
        try:
            tidy(folder)
            (folder / STOP).unlink(missing_ok=True)
        finally:
            os.close(lock)
