"""Where studies live: one address, from a file on a laptop to a server."""

from __future__ import annotations

import random
import re
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

from hpopt_lib.errors import HpoptError
from hpopt_lib.tuning.addresses import DEFAULT_STORAGE, absolute, mask, server_name, storage_file
from hpopt_lib.tuning.endpoint import connect, read_endpoint, server_folder

if TYPE_CHECKING:
    import optuna

    from hpopt_lib.tuning.resilient import ResilientStorage

#: For every server: connections are renewed in time, since servers close idle ones; a test before every use
#: would cost a round trip for each transaction, and a call that finds its connection closed is repeated. A
#: worker holds two (one for the heartbeat), and each sees what the others have committed.
SERVER_OPTIONS = {
    "pool_pre_ping": False,
    "pool_recycle": 1800,
    "pool_size": 2,
    "max_overflow": 4,
    "isolation_level": "READ COMMITTED",
}
TIMEOUTS_S = {"connect_timeout": 10, "read_timeout": 120, "write_timeout": 120}


def open_storage(
    address: str | None = None, *, create: bool = True, max_outage: float | None = None
) -> optuna.storages.BaseStorage:
    """Open a storage by its address.

    Parameters
    ----------
    address : str, optional
        ``sqlite:///FILE`` (the default, ``sqlite:///hpopt.db``), ``journal:///FILE``, the name of a
        server that ``hpopt db init`` made, or any other address that SQLAlchemy knows, such as
        ``mysql+pymysql://…``.
    create : bool
        Whether a file that does not exist may be made, and a server that is down be waited for.
    max_outage : float, optional
        Seconds that a call waits for a server that went away; 900 by default, or what the
        environment variable ``HPOPT_MAX_OUTAGE_S`` says.

    Raises
    ------
    HpoptError
        For an unknown kind of address, a missing or foreign file, or a server that does not
        answer. Passwords do not appear in messages.
    """
    address = address or DEFAULT_STORAGE
    backend = _open(address, create, max_outage)
    # who holds a study can find the files that belong to it
    backend.hpopt_address = absolute(address)
    return backend


def _open(address: str, create: bool, max_outage: float | None) -> Any:
    kind, separator, _ = address.partition("://")
    if not separator:
        return _open_server(server_name(address), max_outage, wait=create)
    if kind in ("sqlite", "journal"):
        path = storage_file(address)
        if not create and not path.exists():
            raise HpoptError(
                f"{path}: no such study storage", remedy="name it with --storage, or run hpopt tune first"
            )
        if not path.parent.exists():
            raise HpoptError(f"{path.parent}: no such folder", remedy="make it first")
        if path.is_dir():
            raise HpoptError(f"{path}: a folder, not a file", remedy="name a file in it")
        if kind == "journal":
            return _open_journal(path)
        _check_sqlite(path)
        # dead workers are known by their locks, see presence.py: no heartbeat needs to be written
        return _open_database(
            address, {"connect_args": {"timeout": 60}}, max_outage=max_outage, heartbeat=False
        )
    options: dict[str, Any] = (
        dict(SERVER_OPTIONS) if kind.startswith(("mysql", "mariadb")) else {"pool_pre_ping": True}
    )
    if kind == "mysql+pymysql":
        options["connect_args"] = dict(TIMEOUTS_S)
    # somebody who typed an address wants to know at once when nobody answers there
    backend = _open_database(address, options, max_outage=0)
    backend.max_outage = _max_outage(max_outage)
    return backend


def _max_outage(given: float | None) -> float:
    from hpopt_lib.tuning.resilient import MAX_OUTAGE_S, setting

    return setting("HPOPT_MAX_OUTAGE_S", MAX_OUTAGE_S) if given is None else given


def _open_server(name: str, max_outage: float | None, *, wait: bool) -> optuna.storages.BaseStorage:
    """A storage on a server of `hpopt db`, wherever it is at the moment."""
    folder = server_folder(name)
    try:
        import pymysql
    except ImportError as error:
        raise HpoptError(
            "--storage: the package pymysql is not installed", remedy="run pip install 'pymysql[rsa]'"
        ) from error

    def reach() -> Any:
        # read at every connection: the server may have moved to another node since the last one
        endpoint = read_endpoint(folder)
        if endpoint is None:
            # the code of "cannot connect", so that workers wait for it as for a server that is down
            raise pymysql.err.OperationalError(2003, f"server {name!r} is not running")
        return connect(endpoint)

    if read_endpoint(folder) is None and not wait:
        raise HpoptError(
            f"server {name!r}: not running", remedy=f"start it with hpopt db start {name}, or submit its job"
        )
    return _open_database(
        "mysql+pymysql://", {**SERVER_OPTIONS, "creator": reach}, max_outage=max_outage, shown=name
    )


def _open_database(
    address: str,
    options: dict[str, Any],
    *,
    max_outage: float | None,
    heartbeat: bool = True,
    shown: str | None = None,
) -> ResilientStorage:
    from sqlalchemy.exc import SQLAlchemyError

    from hpopt_lib.tuning.resilient import ResilientStorage

    for attempt in range(10):
        try:
            return ResilientStorage(
                address, engine_kwargs=options, max_outage=_max_outage(max_outage), heartbeat=heartbeat
            )
        except (SQLAlchemyError, RuntimeError, ImportError) as error:
            # processes that open an empty database at the same moment make its tables at the same moment
            if isinstance(error, SQLAlchemyError) and _FIRST_USE.search(str(error)) and attempt < 9:
                time.sleep(random.uniform(0.05, 0.3))
                continue
            reason = mask(str(getattr(error, "orig", None) or error)).splitlines()[0]
            start = f"start it with hpopt db start {shown}"
            if "optuna storage upgrade" in reason:
                raise HpoptError(
                    f"--storage: {shown or mask(address)}: made by an older Optuna",
                    remedy="copy its studies with hpopt study import NAME --from ADDRESS",
                ) from error
            raise HpoptError(
                f"--storage: {shown or mask(address)} cannot be opened: {reason}",
                remedy=start if shown else "correct the address, see hpopt tune --help",
            ) from error
    raise AssertionError("unreachable")


_FIRST_USE = re.compile("already exists|Duplicate entry|UNIQUE constraint|doesn't exist|no such table")


def _check_sqlite(path: Path) -> None:
    """Raise for a file that is not SQLite, is damaged, or belongs to another program.

    Optuna would add its tables to any database; a stranger's stays as it is.
    """
    import sqlite3
    from contextlib import closing

    if not path.exists() or not path.stat().st_size:
        return
    remedy = "name the file of your studies, or a new one"
    with open(path, "rb") as stream:
        if stream.read(15) != b"SQLite format 3":
            raise HpoptError(f"{path}: not an SQLite file", remedy=remedy)
    try:
        with closing(
            sqlite3.connect(f"{path.resolve().as_uri()}?mode=ro", uri=True, timeout=60)
        ) as connection:
            tables = {name for (name,) in connection.execute("SELECT name FROM sqlite_master")}
    except sqlite3.Error as error:
        raise HpoptError(f"{path}: cannot be read: {error}", remedy=remedy) from error
    if tables and "studies" not in tables:
        raise HpoptError(f"{path}: a database of another program", remedy=remedy)


def _open_journal(path: Path) -> optuna.storages.BaseStorage:
    import optuna
    from optuna.storages.journal import JournalFileBackend

    try:
        return optuna.storages.JournalStorage(JournalFileBackend(str(path)))
    except (ValueError, KeyError, UnicodeDecodeError) as error:
        raise HpoptError(f"{path}: not a journal of Optuna ({error})", remedy="name another file") from error


def load_study(name: str, storage: str | None = None) -> optuna.Study:
    """Load a study for reading.

    Raises
    ------
    HpoptError
        When the storage has no such study; the message lists those it has.
    """
    import optuna

    backend = open_storage(storage, create=False)
    try:
        return optuna.load_study(study_name=name, storage=backend)
    except KeyError:
        known = [summary.study_name for summary in optuna.get_all_study_summaries(backend)]
        raise HpoptError(
            f"study {name!r}: not in {mask(storage or DEFAULT_STORAGE)}",
            remedy=f"it has {', '.join(sorted(known))}" if known else "it has no study yet",
        ) from None
