"""Start the server program, wait until it answers, and end it."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from hpopt_lib.cluster.server_client import answers
from hpopt_lib.cluster.server_commands import server_command
from hpopt_lib.cluster.server_data import DATA, LOG, init_sql, last_error, write_private
from hpopt_lib.cluster.server_places import file_system, free_port, node_name, on_network, socket_folder
from hpopt_lib.cluster.server_programs import Program
from hpopt_lib.errors import HpoptError
from hpopt_lib.tuning.endpoint import Endpoint

#: Longest wait for a server to recover and answer, and to shut down.
START_S, STOP_S = 600.0, 300.0
#: Longest wait for a server that has not answered yet: MariaDB 10.11 hangs for good when it is told to end
#: amid its start, and all that was ever committed survives a kill.
ABORT_S = 10.0
#: Seconds between two signals to a server that shall end.
TELL_AGAIN_S = 2.0
MAX_CONNECTIONS = 512


class Cancelled(Exception):
    """Somebody asked to stop before the server answered."""


@dataclass
class Running:
    """A server program that answers.

    Attributes
    ----------
    process : subprocess.Popen
    endpoint : Endpoint
    socket_folder : Path
    seconds : float
        Time until it answered.
    """

    process: subprocess.Popen[bytes]
    endpoint: Endpoint
    socket_folder: Path
    seconds: float


def flush_mode(folder: Path) -> tuple[int, str]:
    """``innodb_flush_log_at_trx_commit`` for a folder, and why.

    1 writes each commit through to the disk. 2 hands it to the system at once and to the disk each second:
    nothing is lost when the server is killed, and at most a second when the node loses power. A trial makes
    a commit for each epoch, and each write-through costs milliseconds on a network file system. 0 would
    lose commits with the server and is never used.
    """
    if on_network(folder):
        kind = file_system(folder)
        return (
            2,
            f"each second: {kind} is a network file system; the loss of the node may cost the last second",
        )
    return 1, "each commit: a local disk; nothing that was acknowledged is lost"


def launch(
    folder: Path,
    program: Program,
    account: dict[str, str],
    *,
    listen: tuple[str, str] | None,
    lock: int,
    job: str = "",
    started: str = "",
    max_connections: int = MAX_CONNECTIONS,
    cancelled: Callable[[], bool] = lambda: False,
    on_start: Callable[[int, Path], None] = lambda pid, sockets: None,
) -> Running:
    """Run the server of a folder until it answers.

    Parameters
    ----------
    folder, program, account
    listen : (str, str) or None
        Address on which it listens, and the one that workers use; None for the socket alone.
    lock : int
        Descriptor of the folder's lock, which the server inherits.
    job, started : str
    max_connections : int
    cancelled : callable
        Asked while waiting.
    on_start : callable
        Told the number of the process and its socket folder at once.
    """
    for attempt in range(3):
        try:
            return _launch(
                folder, program, account, listen, lock, job, started, max_connections, cancelled, on_start
            )
        except _PortTaken:
            # somebody took the free port in the moment before the server did
            if attempt == 2:
                raise
    raise AssertionError


class _PortTaken(HpoptError):
    pass


def _launch(
    folder: Path,
    program: Program,
    account: dict[str, str],
    listen: tuple[str, str] | None,
    lock: int,
    job: str,
    started: str,
    max_connections: int,
    cancelled: Callable[[], bool],
    on_start: Callable[[int, Path], None],
) -> Running:
    sockets, log = socket_folder(), folder / LOG
    log.touch(mode=0o600)
    log.chmod(0o600)
    offset = log.stat().st_size
    init_file = sockets / "init.sql"
    write_private(init_file, init_sql(account, program.kind))
    address, public = listen or (None, "")
    port = free_port(address) if address else 0
    command = server_command(
        program,
        folder / DATA,
        socket=sockets / "s",
        address=address,
        port=port,
        log=log,
        init_file=init_file,
        flush=flush_mode(folder)[0],
        network_files=on_network(folder),
        max_connections=max_connections,
    )
    endpoint = Endpoint(
        host=public,
        port=port,
        user=account["user"],
        password=account["password"],
        database=account["database"],
        socket=str(sockets / "s"),
        node=node_name(),
        product=program.product,
        job_id=job,
        started=started,
    )
    start = time.monotonic()
    with open(log, "ab") as stream:
        try:
            process = subprocess.Popen(
                command,
                stdin=subprocess.DEVNULL,
                stdout=stream,
                stderr=stream,
                env=program.environment(),
                cwd=sockets,
                pass_fds=(lock,),
                start_new_session=True,  # Ctrl-C in the terminal is for this process alone
                umask=0o077,
            )
        except OSError as error:
            shutil.rmtree(sockets, ignore_errors=True)
            raise HpoptError(f"{program.path}: does not run: {error.strerror}") from error
    try:
        on_start(process.pid, sockets)
        _wait(process, endpoint, program, log, offset, cancelled, start)
    except BaseException:
        end(process, ABORT_S)
        shutil.rmtree(sockets, ignore_errors=True)
        raise
    init_file.unlink(missing_ok=True)
    return Running(process, endpoint, sockets, time.monotonic() - start)


def _wait(
    process: subprocess.Popen[bytes],
    endpoint: Endpoint,
    program: Program,
    log: Path,
    offset: int,
    cancelled: Callable[[], bool],
    start: float,
) -> None:
    while not (Path(endpoint.socket).exists() and answers(endpoint)):
        if process.poll() is not None:
            text = log.read_bytes()[offset:].decode(errors="replace").lower()
            if "bind on tcp/ip port" in text or "do you already have another" in text:
                raise _PortTaken(
                    f"{program.product}: port {endpoint.port} was taken", remedy="start it again"
                )
            raise HpoptError(
                f"{log.parent}: {program.product} does not start: {last_error(log, offset)}",
                remedy=f"see {log}; if the data are damaged, restore the last dump into a new server",
            )
        if cancelled():
            raise Cancelled
        if time.monotonic() - start > START_S:
            raise HpoptError(
                f"{log.parent}: {program.product} does not answer after {START_S:.0f} s: "
                f"{last_error(log, offset)}",
                remedy=f"see {log}",
            )
        time.sleep(0.03)


def end(process: subprocess.Popen[bytes], seconds: float = STOP_S) -> int:
    """Shut a server down cleanly, and wait for it; kill it only when it does not."""
    limit = time.monotonic() + seconds
    while process.poll() is None:
        if time.monotonic() > limit:
            process.kill()  # both kinds recover from that
            break
        # again and again: a server that has just begun to start ignores the first ones
        process.send_signal(signal.SIGTERM)
        try:
            process.wait(TELL_AGAIN_S)
        except subprocess.TimeoutExpired:
            continue
    return process.wait()


def end_foreign(pid: int, alive: Callable[[], bool], *, seconds: float = STOP_S) -> bool:
    """Ask a process that is not a child to end, and wait for it; False when it goes on."""
    limit, again = time.monotonic() + seconds, 0.0
    while alive():
        now = time.monotonic()
        if now > limit:
            return False
        if now > again:
            try:
                os.kill(pid, signal.SIGTERM)
            except ProcessLookupError:
                return True
            again = now + TELL_AGAIN_S
        time.sleep(0.05)
    return True
