"""One worker at a time looks at the budget and starts a trial, wherever the workers run."""

from __future__ import annotations

import hashlib
import time
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from pathlib import Path
from typing import Any

from filelock import FileLock


def gate_of(storage: Any, folder: Path | None, study: str) -> AbstractContextManager[Any]:
    """The lock of a study; the system or the server opens it when its holder dies.

    Parameters
    ----------
    storage : optuna storage
    folder : Path or None
        Where file storages keep the lock; None for a storage in memory.
    study : str

    Returns
    -------
    context manager
        A lock on a file for storages in files, ``GET_LOCK`` of MySQL and MariaDB on servers.
    """
    engine = getattr(storage, "engine", None)
    if engine is not None and engine.dialect.name in ("mysql", "mariadb"):
        return _server_lock(storage, study)
    if folder is None:
        return nullcontext()
    folder.mkdir(parents=True, exist_ok=True)
    return FileLock(folder / f"{_digest(study)}.lock", timeout=-1, poll_interval=0.01)


def _digest(study: str) -> str:
    return hashlib.sha256(study.encode()).hexdigest()[:24]


@contextmanager
def _server_lock(storage: Any, study: str) -> Iterator[None]:
    from sqlalchemy import text

    # a server knows one name space of locks; the database's name keeps ours apart from others'
    name = text("CONCAT(LEFT(DATABASE(), 30), '/hpopt/', :study)")

    def acquire() -> Any:
        connection = storage.engine.connect()
        try:
            while (
                connection.execute(text(f"SELECT GET_LOCK({name}, 10)"), {"study": _digest(study)}).scalar()
                != 1
            ):
                time.sleep(0.01)
        except BaseException:
            connection.close()
            raise
        return connection

    held = storage.retry(acquire, "lock")
    try:
        yield
    finally:
        # closing the connection for good frees the lock even where the query cannot be sent any more
        try:
            held.execute(text(f"SELECT RELEASE_LOCK({name})"), {"study": _digest(study)})
        except Exception:
            held.invalidate()
        held.close()
