"""A server in the foreground of a batch job: watched, and stopped with a dump before the job ends."""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Iterator
from contextlib import contextmanager

from hpopt_lib.cluster import server_process
from hpopt_lib.cluster.dump import dump
from hpopt_lib.cluster.server import STOP, Server
from hpopt_lib.errors import HpoptError
from hpopt_lib.progress import say
from hpopt_lib.tuning.endpoint import remove_endpoint

#: Exit status after the warning before the time limit: the job script queues the job again.
AGAIN = 75
#: Starts in a row of a server that dies by itself, each within `STEADY_S` after the one before.
STARTS, STEADY_S = 5, 300.0
#: Seconds between two searches for trials whose worker died.
JANITOR_S = 60.0
LOOK_S = 0.2


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
        try:
            return _keep(server, told, lock, bind, max_connections)
        finally:
            os.close(lock)


def _keep(server: Server, told: list[int], lock: int, bind: str | None, max_connections: int) -> int:
    stop_file = server.folder / STOP
    starts: list[float] = []
    while True:
        starts = [t for t in starts if time.monotonic() - t < STEADY_S] + [time.monotonic()]
        if len(starts) > STARTS:
            raise HpoptError(
                f"server {server.name!r}: died {STARTS} times within {STEADY_S:.0f} s",
                remedy=f"see {server.folder / 'server.log'}",
            )
        running = server.launch(
            lock, bind=bind, max_connections=max_connections, keeper=True, cancelled=lambda: bool(told)
        )
        endpoint = running.endpoint
        say(
            f"server {server.name}: {endpoint.product} answers at {endpoint.host}:{endpoint.port} "
            f"after {running.seconds:.1f} s"
        )
        last = time.monotonic()
        while running.process.poll() is None and not told and not stop_file.exists():
            time.sleep(LOOK_S)
            if time.monotonic() - last > JANITOR_S:
                last = time.monotonic()
                tidy_studies(server.name)
        if running.process.poll() is None or told or stop_file.exists():
            break
        say(f"server {server.name}: died ({running.process.returncode}); starting it again")
    name = signal.Signals(told[0]).name if told else "hpopt db stop"
    say(f"server {server.name}: told to stop ({name})")
    if running.process.poll() is None:
        _dump(server)
    # workers that see no address wait, and do not begin anything on a server that is going down
    remove_endpoint(server.folder)
    code = server_process.end(running.process)
    server.tidy()
    say(f"server {server.name}: stopped ({code})")
    return AGAIN if told and told[0] == signal.SIGUSR1 else 0


def _dump(server: Server) -> None:
    start = time.monotonic()
    try:
        path = dump(server)
    except Exception as error:
        # the data themselves are safe: a dump that fails must not keep the server from stopping cleanly
        say(f"server {server.name}: no dump was made: {error}")
        return
    say(f"server {server.name}: all studies are in {path} ({time.monotonic() - start:.1f} s)")


def tidy_studies(name: str) -> None:
    """Put the trials of dead workers back into the queue, in all studies of a server."""
    import optuna

    from hpopt_lib.tuning.janitor import requeue_lost
    from hpopt_lib.tuning.storage import open_storage

    storage = open_storage(name, create=False, max_outage=10)
    try:
        for study_name in optuna.get_all_study_names(storage):
            study = optuna.load_study(study_name=study_name, storage=storage)
            for number in requeue_lost(study):
                say(f"study {study_name}: the worker of trial {number} died; it is in the queue again")
    except Exception as error:
        # the server may be on its way down; the next round, or the next worker, does it
        say(f"server {name}: could not look for lost trials: {error}")
    finally:
        engine = getattr(storage, "engine", None)
        if engine is not None:
            engine.dispose()
