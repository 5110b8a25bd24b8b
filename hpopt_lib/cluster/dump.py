"""All studies of a server in one SQLite file, and back."""

from __future__ import annotations

import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

from hpopt_lib.cluster import server_client
from hpopt_lib.errors import HpoptError
from hpopt_lib.files import atomic_path
from hpopt_lib.tuning.endpoint import Endpoint, read_endpoint
from hpopt_lib.tuning.storage import open_storage

if TYPE_CHECKING:
    import sqlalchemy as sa

    from hpopt_lib.cluster.server import Server

DUMPS = "dumps"
#: Automatic dumps that are kept.
KEPT = 3
#: Rows that are read and written at once: bounds the memory.
ROWS = 2000
#: Tables that every database of Optuna has from the start.
OWN = ("version_info", "alembic_version")


def dump(server: Server, out: str | Path | None = None, *, overwrite: bool = False) -> Path:
    """Write all studies of a running server into a new SQLite file.

    The rows are copied table by table inside one transaction, so the file shows one moment, whatever
    workers write meanwhile; it opens with ``--storage sqlite:///FILE``. Checkpoints and learning curves
    stay in the server's folder.

    Parameters
    ----------
    server : Server
    out : str or Path, optional
        By default a file in the server's folder ``dumps``, where the last three are kept.
    overwrite : bool

    Returns
    -------
    Path

    Raises
    ------
    HpoptError
        When the server does not run, or the file exists.
    """
    endpoint = _running(server)
    automatic = out is None
    if out is None:
        now = datetime.datetime.now(datetime.timezone.utc)
        out = server.folder / DUMPS / f"{now:%Y%m%d-%H%M%S-%f}.db"
    out = Path(out)
    source = server_client.make_engine(endpoint)
    try:
        with atomic_path(out, overwrite=overwrite) as temporary:
            temporary.touch(mode=0o600)
            target = _engine_of_file(temporary)
            try:
                with source.connect() as reader, target.begin() as writer:
                    copy_rows(reader, writer)
            finally:
                target.dispose()
    finally:
        source.dispose()
    if automatic:
        for old in sorted(out.parent.glob("????????-??????-*.db"))[:-KEPT]:
            old.unlink()
    return out


def restore(server: Server, path: str | Path, *, skip_existing: bool = False) -> dict[str, int]:
    """Put the studies of an SQLite file into a running server.

    Parameters
    ----------
    server : Server
    path : str or Path
        A dump, or any study storage in SQLite.
    skip_existing : bool
        Leave out studies whose names the server has already.

    Returns
    -------
    dict of str to int
        Number of trials of each study that was put in.

    Raises
    ------
    HpoptError
        When the server does not run, the file holds no studies, or a name is taken.
    """
    import optuna

    path = Path(path)
    endpoint = _running(server)
    source = open_storage(f"sqlite:///{path}", create=False)
    target = open_storage(server.name, create=False)
    known = set(optuna.get_all_study_names(target))
    names = optuna.get_all_study_names(source)
    if not names:
        raise HpoptError(f"{path}: holds no studies", remedy="name a file that hpopt db dump made")
    taken = sorted(known & set(names))
    if taken and not skip_existing:
        raise HpoptError(
            f"server {server.name!r}: has studies of these names already: {', '.join(taken)}",
            remedy="pass --skip-existing to leave them out, or delete them first",
        )
    if not known:  # an empty database takes the rows as they are, which is much quicker
        engine = server_client.make_engine(endpoint)
        try:
            with _engine_of_file(path).connect() as reader, engine.begin() as writer:
                copy_rows(reader, writer)
        finally:
            engine.dispose()
    else:
        for name in names:
            if name not in known:
                _copy_one(name, source, target)
    done = [name for name in names if name not in known]
    return {
        name: len(optuna.load_study(study_name=name, storage=target).get_trials(deepcopy=False))
        for name in done
    }


def _copy_one(name: str, source: Any, target: Any) -> None:
    import optuna

    try:
        optuna.copy_study(from_study_name=name, from_storage=source, to_storage=target)
    except BaseException:
        if name in optuna.get_all_study_names(target):
            optuna.delete_study(study_name=name, storage=target)
        raise


def copy_rows(reader: sa.Connection, writer: sa.Connection) -> None:
    """Copy all rows of Optuna's tables into an empty database with the same tables.

    Tables come in the order of their references, and rows keep their numbers.
    """
    import sqlalchemy as sa
    from optuna.storages._rdb import models

    for table in models.BaseModel.metadata.sorted_tables:
        if table.name in OWN:
            continue
        key = next(iter(table.primary_key.columns))
        last: Any = None
        while True:
            query = sa.select(table).order_by(key).limit(ROWS)
            rows = reader.execute(query if last is None else query.where(key > last)).mappings().all()
            if not rows:
                break
            writer.execute(sa.insert(table), [dict(row) for row in rows])
            last = rows[-1][key.name]


def _running(server: Server) -> Endpoint:
    endpoint = read_endpoint(server.folder)
    if endpoint is None or not server_client.answers(endpoint):
        raise HpoptError(
            f"server {server.name!r}: not running", remedy=f"start it with hpopt db start {server.name}"
        )
    return endpoint


def _engine_of_file(path: Path) -> sa.Engine:
    """An engine of an SQLite file with Optuna's tables."""
    from optuna.storages import RDBStorage

    storage = RDBStorage(f"sqlite:///{path}")
    storage.remove_session()
    return storage.engine
