"""A private MySQL or MariaDB server in a folder of the user's, without any special rights."""

from __future__ import annotations

import datetime
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

from hpopt_lib.cluster import server_client, server_data, server_process, server_stop
from hpopt_lib.cluster.server_lock import (
    State,
    here,
    is_locked,
    process_start,
    read_state,
    take_lock,
    write_state,
)
from hpopt_lib.cluster.server_places import job_id, listening_address, node_name
from hpopt_lib.cluster.server_programs import find_program
from hpopt_lib.errors import HpoptError
from hpopt_lib.tuning.endpoint import (
    check_server_name,
    hpopt_home,
    known_servers,
    read_endpoint,
    register_server,
    server_folder,
    write_endpoint,
)


class Server:
    """The server of a name.

    Parameters
    ----------
    name : str
        As given to `init`; studies on it have the storage address NAME.

    Examples
    --------
    >>> server = Server("team")  # doctest: +SKIP
    >>> server.init()  # doctest: +SKIP
    >>> server.start()  # doctest: +SKIP
    """

    def __init__(self, name: str) -> None:
        self.name = check_server_name(name)

    @property
    def folder(self) -> Path:
        """Folder of the server: data, address, log, dumps and the studies' files."""
        return server_folder(self.name)

    @property
    def running(self) -> bool:
        """Whether the server runs, on this node or another."""
        return is_locked(self.folder) or self._elsewhere() is not None

    def init(self, folder: str | Path | None = None) -> Path:
        """Make the server's folder and its data.

        Parameters
        ----------
        folder : str or Path, optional
            By default ``databases/NAME`` in the user's folder of this package.

        Returns
        -------
        Path
            The folder. Data that are there already stay as they are: a server that was made under
            another name or account of this package is only registered.

        Raises
        ------
        HpoptError
            When the name is taken, the folder holds something else, or no program is found.
        """
        if self.name in known_servers():
            try:
                known = self.folder
            except HpoptError:
                known = None  # its folder is gone, so the name is free
            if known is not None and server_data.has_data(known):
                raise HpoptError(
                    f"server {self.name!r}: exists already in {known}",
                    remedy=f"start it with hpopt db start {self.name}, or choose another name",
                )
        path = Path(folder or hpopt_home() / "databases" / self.name).absolute()
        try:
            if path.exists() and any(path.iterdir()) and not (path / "lock").exists():
                raise HpoptError(f"{path}: not empty", remedy="choose an empty or new folder")
            server_data.private_folder(path)
        except OSError as error:
            raise HpoptError(
                f"{path}: cannot be made: {error.strerror}", remedy="choose a folder where you may write"
            ) from error
        lock = self._lock(path)
        try:
            if not server_data.has_data(path):
                server_data.initialise(path, lock)
            register_server(self.name, path)
        finally:
            os.close(lock)
        return path

    def start(
        self,
        *,
        bind: str | None = None,
        max_connections: int = server_process.MAX_CONNECTIONS,
    ) -> server_process.Running:
        """Start the server and publish where it answers.

        It goes on when this process ends. See `hpopt_lib.cluster.server_keeper` for batch jobs.

        Parameters
        ----------
        bind : str, optional
            Address on which it listens; by default the node's own in a batch job, else the loopback.
        max_connections : int

        Raises
        ------
        HpoptError
            When it runs already, or does not start.
        """
        lock = self.lock()
        try:
            return self.launch(lock, bind=bind, max_connections=max_connections)
        finally:
            # the server has inherited it
            os.close(lock)

    def lock(self) -> int:
        """Take the lock of the server's folder; raise when it runs already."""
        lock = self._lock(self.folder)
        if elsewhere := self._elsewhere():
            os.close(lock)
            raise self._runs_already(elsewhere)
        return lock

    def launch(
        self,
        lock: int,
        *,
        bind: str | None = None,
        max_connections: int = server_process.MAX_CONNECTIONS,
        private: bool = False,
        keeper: bool = False,
        cancelled: Callable[[], bool] = lambda: False,
    ) -> server_process.Running:
        """Start the server for somebody who holds the lock.

        Parameters
        ----------
        lock : int
        bind, max_connections
            See `start`.
        private : bool
            Answer over the socket only and publish nothing.
        keeper : bool
            Whether this process stays to look after it.
        cancelled : callable
        """
        folder = self.folder
        if not server_data.has_data(folder):
            raise HpoptError(f"{folder}: has no data yet", remedy=f"run hpopt db init {self.name} first")
        account = server_data.read_account(folder)
        kind = account.get("kind") or server_data.kind_of_data(folder)
        program = find_program(kind)
        if not account:
            server_data.write_account(folder, program)
            account = server_data.read_account(folder)
        listen = None if private else listening_address(bind)
        server_stop.tidy(folder)
        now = datetime.datetime.now(datetime.timezone.utc).isoformat(timespec="seconds")
        own = os.getpid() if keeper else 0
        state = State(node_name(), job_id(), keeper=own, keeper_start=process_start(own), started=now)

        def started(pid: int, sockets: Path) -> None:
            values = {"pid": pid, "pid_start": process_start(pid), "socket_folder": str(sockets)}
            write_state(folder, State(**{**vars(state), **values}))

        running = server_process.launch(
            folder,
            program,
            account,
            listen=listen,
            lock=lock,
            job=state.job_id,
            started=now,
            max_connections=max_connections,
            cancelled=cancelled,
            on_start=started,
        )
        try:
            if not private:
                server_client.create_tables(running.endpoint)
                write_endpoint(folder, running.endpoint)
        except BaseException:
            server_process.end(running.process)
            server_stop.tidy(folder)
            raise
        return running

    def stop(self) -> bool:
        """Shut the server down cleanly, wherever it runs; False when it did not run.

        A server that a keeper looks after is asked through the keeper, which makes a dump first.

        Raises
        ------
        HpoptError
            When it cannot be reached from this node, or does not end.
        """
        return server_stop.stop(self)

    def status(self) -> dict[str, Any]:
        """State, address without the password, place and size; see `hpopt_lib.cluster.server_status`."""
        from hpopt_lib.cluster.server_status import server_status

        return server_status(self)

    def dump(self, out: str | Path | None = None, *, overwrite: bool = False) -> Path:
        """Write all studies into a new SQLite file; see `hpopt_lib.cluster.dump`."""
        from hpopt_lib.cluster.dump import dump

        return dump(self, out, overwrite=overwrite)

    def restore(self, path: str | Path, *, skip_existing: bool = False) -> dict[str, int]:
        """Put the studies of an SQLite file in; see `hpopt_lib.cluster.dump`."""
        from hpopt_lib.cluster.dump import restore

        return restore(self, path, skip_existing=skip_existing)

    def _lock(self, folder: Path) -> int:
        try:
            lock = take_lock(folder)
        except OSError as error:
            raise HpoptError(
                f"{folder}: cannot be used: {error.strerror}", remedy="use a folder where you may write"
            ) from error
        if lock is None:
            raise self._runs_already(read_state(folder))
        return lock

    def _runs_already(self, state: State | None) -> HpoptError:
        where = f"runs already {state.where()}" if state else "is just being made or started"
        return HpoptError(
            f"server {self.name!r}: {where}",
            remedy=f"use it there, or stop it first with hpopt db stop {self.name}",
        )

    def _elsewhere(self) -> State | None:
        """Who runs the server on another node, for file systems whose locks do not reach there."""
        state = read_state(self.folder)
        if state is None or here(state):
            return None
        endpoint = read_endpoint(self.folder)
        return state if endpoint is not None and server_client.answers(endpoint) else None
