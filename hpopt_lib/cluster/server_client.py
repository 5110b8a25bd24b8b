"""Connections to a server that this package runs; passwords stay inside of this process."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any

from hpopt_lib.errors import HpoptError
from hpopt_lib.tuning.endpoint import Endpoint, connect

if TYPE_CHECKING:
    import sqlalchemy as sa


def answers(endpoint: Endpoint, *, timeout_s: float = 3) -> bool:
    """Whether the server of that address lets its account in."""
    import pymysql

    try:
        connect(endpoint, connect_timeout_s=timeout_s, timeout_s=timeout_s).close()
    except (pymysql.err.Error, OSError):
        return False
    return True


def make_engine(endpoint: Endpoint) -> sa.Engine:
    """An engine of SQLAlchemy whose address holds no password.

    Within one transaction it sees one state of the database, whatever the workers write meanwhile.
    """
    import sqlalchemy as sa

    return sa.create_engine(
        "mysql+pymysql://",
        creator=lambda: connect(endpoint, timeout_s=600),
        isolation_level="REPEATABLE READ",
        pool_size=1,
        pool_pre_ping=True,
    )


def create_tables(endpoint: Endpoint) -> None:
    """Create Optuna's tables where they are missing.

    Optuna 5 lets workers that start together race for it, so it is done before anybody knows the address.
    """
    from optuna.storages import RDBStorage
    from sqlalchemy.exc import SQLAlchemyError

    try:
        storage = RDBStorage("mysql+pymysql://", engine_kwargs={"creator": lambda: connect(endpoint)})
    except (RuntimeError, SQLAlchemyError) as error:
        raise HpoptError(
            f"the tables cannot be made: {str(error).splitlines()[0]}",
            remedy="use the Optuna version that made the studies, or restore their dump into a new server",
        ) from error
    storage.remove_session()
    storage.engine.dispose()


def figures(endpoint: Endpoint) -> dict[str, Any]:
    """What a running server says about itself; empty when it does not answer."""
    import pymysql

    start = time.monotonic()
    try:
        connection = connect(endpoint, connect_timeout_s=3, timeout_s=10)
    except (pymysql.err.Error, OSError):
        return {}
    values: dict[str, Any] = {"answer_ms": round(1000 * (time.monotonic() - start), 1)}
    try:
        with connection.cursor() as cursor:
            for key, query in (
                ("uptime_s", "SHOW GLOBAL STATUS LIKE 'Uptime'"),
                ("connections", "SHOW GLOBAL STATUS LIKE 'Threads_connected'"),
                ("max_connections", "SHOW GLOBAL VARIABLES LIKE 'max_connections'"),
            ):
                cursor.execute(query)
                row = cursor.fetchone()
                values[key] = int(row[1]) if row else None
            # this question is a connection too
            values["connections"] = max((values["connections"] or 0) - 1, 0)
            for table in ("studies", "trials"):
                cursor.execute(f"SELECT COUNT(*) FROM {table}")
                values[table] = int(cursor.fetchone()[0])
    except pymysql.err.Error:
        pass  # a server that is just stopping: what is known so far is shown
    finally:
        connection.close()
    return values
