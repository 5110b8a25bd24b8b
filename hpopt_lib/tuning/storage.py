"""Where studies live: one address, from a file on a laptop to a server."""

from __future__ import annotations

import re
import warnings
from pathlib import Path
from typing import TYPE_CHECKING

from hpopt_lib.errors import HpoptError

if TYPE_CHECKING:
    import optuna

DEFAULT_STORAGE = "sqlite:///hpopt.db"
#: A running trial beats every so often; without a beat for the grace period it counts as dead.
HEARTBEAT_INTERVAL_S = 30
HEARTBEAT_GRACE_S = 300


def open_storage(address: str | None = None, *, create: bool = True) -> optuna.storages.BaseStorage:
    """Open a storage by its address.

    Parameters
    ----------
    address : str, optional
        ``sqlite:///FILE`` (the default, ``sqlite:///hpopt.db``), ``journal:///FILE`` or any
        other address that SQLAlchemy knows, such as ``mysql+pymysql://…``.
    create : bool
        Whether a file that does not exist may be made.

    Raises
    ------
    HpoptError
        For an unknown kind of address, a missing or foreign file, or a server that does not
        answer. Passwords do not appear in messages.
    """
    import optuna
    from sqlalchemy.exc import SQLAlchemyError

    address = address or DEFAULT_STORAGE
    kind, separator, rest = address.partition("://")
    if not separator:
        raise HpoptError(
            f"--storage: {mask(address)!r} is no storage address",
            remedy="write sqlite:///FILE or journal:///FILE",
        )
    if kind in ("sqlite", "journal"):
        path = Path(rest.removeprefix("/"))
        if not str(rest).strip("/"):
            raise HpoptError(f"--storage: {address!r} names no file", remedy=f"write {kind}:///FILE")
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
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", optuna.exceptions.ExperimentalWarning)
        try:
            return optuna.storages.RDBStorage(
                address,
                heartbeat_interval=HEARTBEAT_INTERVAL_S,
                grace_period=HEARTBEAT_GRACE_S,
                engine_kwargs={"connect_args": {"timeout": 60}}
                if kind == "sqlite"
                else {"pool_pre_ping": True},
            )
        except (SQLAlchemyError, RuntimeError, ImportError) as error:
            reason = mask(str(getattr(error, "orig", None) or error)).splitlines()[0]
            raise HpoptError(
                f"--storage: {mask(address)} cannot be opened: {reason}",
                remedy="correct the address, see hpopt tune --help",
            ) from error


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


def mask(address: str) -> str:
    """The address without its password.

    Examples
    --------
    >>> mask("mysql+pymysql://me:secret@node/db")
    'mysql+pymysql://me:***@node/db'
    """
    return re.sub(r"(://[^:/@]*):.*@", r"\1:***@", address)


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
