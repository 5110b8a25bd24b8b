"""A server in the foreground of a batch job: watched, and stopped with a dump before the job ends."""

from __future__ import annotations

import os
import signal
import subprocess
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from hpopt_lib.cluster import server_process
from hpopt_lib.cluster.dump import dump
from hpopt_lib.cluster.server import Server
from hpopt_lib.cluster.server_stop import STOP, tidy
from hpopt_lib.errors import HpoptError
from hpopt_lib.progress import say
from hpopt_lib.tuning.endpoint import remove_endpoint

#: Exit status after the warning before the time limit: the job script queues the job again.
AGAIN = 75
#: Starts in a row of a server that dies by itself, each within `STEADY_S` after the one before.
STARTS, STEADY_S = 5, 300.0
#: Seconds between two searches for trials whose worker died, or what HPOPT_JANITOR_S says.
JANITOR_S = 60.0
#: Seconds between two looks at the process, and at the folder, which may be on a network file system.
LOOK_S, LOOK_FOLDER_S = 0.2, 2.0
#: Wait for a server that is about to end, before its dump counts as failed.
ENDING_S = 15.0


@contextmanager
def _noted_signals() -> Iterator[list[int]]:
    """Note SIGTERM, SIGUSR1 and Ctrl-C in a list."""
    told: list[int] = []
    numbers = (signal.SIGTERM, signal.SIGUSR1, signal.SIGINT)
    before = [signal.signal(number, lambda n, _: told.append(n)) for number in numbers]
    try:
        yield told
    finally:
        for number, handler in zip(numbers, before):
            signal.signal(number, handler)


def keep(
    server: Server, *, bind: str | None = None, max_connections: int = server_process.MAX_CONNECTIONS
) -> int:
    """Run a server until SIGTERM, SIGUSR1, Ctrl-C or ``hpopt db stop``.

    A server that dies is started again. Once a minute the trials of dead workers go back into the
    queue. At the end all studies are dumped, and the server stops cleanly.

    Parameters
    ----------
    server : Server
    bind, max_connections
        See `Server.start`.

    Returns
    -------
    int
        75 after SIGUSR1, the warning before a time limit, else 0.

    Raises
    ------
    HpoptError
        When it runs already, does not start, or dies again and again.
    """
    with _noted_signals() as told:
        lock = server.lock()  # held here too, so that nobody takes it between two starts
        stop_file = server.folder / STOP
        try:
            stop_file.unlink(missing_ok=True)  # of a request that came when nobody was here
            looked = 0.0

            def stop() -> bool:
                nonlocal looked
                if not told and time.monotonic() - looked > LOOK_FOLDER_S:
                    looked = time.monotonic()
                    if stop_file.exists():
                        told.append(0)
                return bool(told)

            _keep(server, lock, bind, max_connections, stop, told)
        finally:
            stop_file.unlink(missing_ok=True)
            os.close(lock)
        return AGAIN if told and told[0] == signal.SIGUSR1 else 0


def _keep(
    server: Server,
    lock: int,
    bind: str | None,
    max_connections: int,
    stop: Callable[[], bool],
    told: list[int],
) -> None:
    starts: list[float] = []
    running: server_process.Running | None = None
    try:
        while not stop():
            starts = [t for t in starts if time.monotonic() - t < STEADY_S] + [time.monotonic()]
            if len(starts) > STARTS:
                raise HpoptError(
                    f"server {server.name!r}: died {STARTS} times within {STEADY_S:.0f} s",
                    remedy=f"see {server.folder / 'server.log'}",
                )
            try:
                running = server.launch(
                    lock, bind=bind, max_connections=max_connections, keeper=True, cancelled=stop
                )
            except server_process.Cancelled:
                break
            endpoint = running.endpoint
            say(
                f"server {server.name}: {endpoint.product} answers at {endpoint.host}:{endpoint.port} "
                f"after {running.seconds:.1f} s"
            )
            _watch(server, running.process, stop)
            if not stop():
                say(f"server {server.name}: died ({running.process.returncode}); starting it again")
        by = signal.Signals(told[0]).name if told[0] else "hpopt db stop"
        say(f"server {server.name}: told to stop ({by})")
        if running is not None:
            running = _dump(server, running, lock)
    finally:
        # workers that see no address wait, and do not begin anything on a server that is going down
        remove_endpoint(server.folder)
        code = server_process.end(running.process) if running is not None else 0
        tidy(server.folder)
    say(f"server {server.name}: stopped ({code})")


def _watch(server: Server, process: subprocess.Popen[bytes], stop: Callable[[], bool]) -> None:
    """Wait until the server dies or is to stop; look for lost trials meanwhile."""
    interval = float(os.environ.get("HPOPT_JANITOR_S") or JANITOR_S)
    last = time.monotonic()
    while process.poll() is None and not stop():
        time.sleep(LOOK_S)
        if time.monotonic() - last > interval:
            tidy_studies(server.name, stop)
            last = time.monotonic()


def _dump(server: Server, running: server_process.Running, lock: int) -> server_process.Running:
    """Dump all studies; returns the server that runs afterwards.

    The end of a job is told to all its processes, so the server may stop before or amid its dump.
    It then starts once more, for this process alone.
    """
    start = time.monotonic()
    for last in (False, True):
        try:
            path = dump(server, endpoint=running.endpoint)
            say(f"server {server.name}: all studies are in {path} ({time.monotonic() - start:.1f} s)")
            break
        except Exception as error:
            try:
                if last:
                    raise subprocess.TimeoutExpired("", 0)
                running.process.wait(ENDING_S)
                say(f"server {server.name}: ended before its dump; starting it once more for that")
                remove_endpoint(server.folder)
                running = server.launch(lock, private=True, keeper=True)
            except (subprocess.TimeoutExpired, HpoptError):
                # the data are safe: a dump that fails must not keep the server from stopping cleanly
                say(f"server {server.name}: no dump was made: {error}")
                break
    return running


def tidy_studies(name: str, stop: Callable[[], bool] = lambda: False) -> None:
    """Put the trials of dead workers back into the queue, in all studies of a server.

    Parameters
    ----------
    name : str
        Of the server.
    stop : callable
        Asked between two studies.
    """
    import optuna

    from hpopt_lib.tuning.janitor import requeue_lost
    from hpopt_lib.tuning.storage import open_storage

    engine = None
    try:
        # no patience: while this waits, nobody would start the server again
        storage = open_storage(name, create=False, max_outage=2)
        engine = getattr(storage, "engine", None)
        for study_name in optuna.get_all_study_names(storage):
            if stop():
                return
            study = optuna.load_study(study_name=study_name, storage=storage)
            for number in requeue_lost(study):
                say(f"study {study_name}: the worker of trial {number} died; it is in the queue again")
    except Exception as error:
        # the server may be on its way down; the next round, or the next worker, does it
        say(f"server {name}: could not look for lost trials: {' '.join(str(error).split())[:200]}")
    finally:
        if engine is not None:
            engine.dispose()
