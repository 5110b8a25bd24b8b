"""All studies of a server in one SQLite file, and back."""

from __future__ import annotations

import datetime
import os
import shutil
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Any

from hpopt_lib.cluster import dump_rows, server_client
from hpopt_lib.cluster.server_data import DUMPS
from hpopt_lib.errors import HpoptError
from hpopt_lib.files import atomic_path
from hpopt_lib.tuning.endpoint import Endpoint, read_endpoint
from hpopt_lib.tuning.storage import open_storage

if TYPE_CHECKING:
    import sqlalchemy as sa

    from hpopt_lib.cluster.server import Server

#: Automatic dumps that are kept.
KEPT = 3


def dump(
    server: Server,
    out: str | Path | None = None,
    *,
    overwrite: bool = False,
    endpoint: Endpoint | None = None,
) -> Path:
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
    endpoint : Endpoint, optional
        Where the server answers, when it is not published.

    Returns
    -------
    Path

    Raises
    ------
    HpoptError
        When the server does not run, or the file exists or cannot be written.
    """
    from sqlalchemy.exc import SQLAlchemyError

    endpoint = _running(server, endpoint)
    automatic = out is None
    if out is None:
        now = datetime.datetime.now(datetime.timezone.utc)
        out = server.folder / DUMPS / f"{now:%Y%m%d-%H%M%S-%f}.db"
    out = Path(out)
    with (
        atomic_path(out, overwrite=overwrite) as temporary,
        # SQLite needs locks, which network file systems may lack: the file is made on the node's own disk
        tempfile.TemporaryDirectory(prefix="hpopt-dump-") as folder,
    ):
        path = Path(folder) / "dump.db"
        try:
            _write(endpoint, path)
        except SQLAlchemyError as error:
            reason = str(getattr(error, "orig", None) or error).splitlines()[0]
            raise HpoptError(
                f"{out}: the dump failed: {reason}",
                remedy=f"see that {tempfile.gettempdir()} has space, and try again",
            ) from error
        descriptor = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
        with os.fdopen(descriptor, "wb") as target, open(path, "rb") as source:
            shutil.copyfileobj(source, target, 1 << 20)
    if automatic:
        for old in sorted(out.parent.glob("????????-??????-*.db"))[:-KEPT]:
            old.unlink()
    return out


def _write(endpoint: Endpoint, path: Path) -> None:
    source = server_client.make_engine(endpoint)
    target = _new_file(path)
    try:
        with source.connect() as reader, target.begin() as writer:
            dump_rows.copy_all(reader, writer)
    finally:
        target.dispose()
        source.dispose()


def restore(server: Server, path: str | Path, *, skip_existing: bool = False) -> dict[str, int]:
    """Put the studies of an SQLite file into a running server: all of them, or none after an error.

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
    from sqlalchemy.exc import SQLAlchemyError

    path = Path(path)
    endpoint = _running(server)
    source: Any = open_storage(f"sqlite:///{path}", create=False)
    target = server_client.make_engine(endpoint)
    try:
        names = optuna.get_all_study_names(source)
        if not names:
            raise HpoptError(f"{path}: holds no studies", remedy="name a file that hpopt db dump made")
        known = _names(target)
        taken = sorted(known & set(names))
        if taken and not skip_existing:
            raise HpoptError(
                f"server {server.name!r}: has studies of these names already: {', '.join(taken)}",
                remedy="pass --skip-existing to leave them out, or delete them first",
            )
        with source.engine.connect() as reader, target.begin() as writer:
            return {name: dump_rows.copy_study(reader, writer, name) for name in names if name not in known}
    except SQLAlchemyError as error:
        reason = str(getattr(error, "orig", None) or error).splitlines()[0]
        raise HpoptError(
            f"{path}: cannot be restored into server {server.name!r}: {reason}",
            remedy="nothing was changed; try again",
        ) from error
    finally:
        target.dispose()
        source.engine.dispose()


def _names(engine: sa.Engine) -> set[str]:
    import sqlalchemy as sa

    with engine.connect() as connection:
        return set(connection.execute(sa.text("SELECT study_name FROM studies")).scalars())


def _running(server: Server, endpoint: Endpoint | None = None) -> Endpoint:
    endpoint = endpoint or read_endpoint(server.folder)
    if endpoint is None or not server_client.answers(endpoint):
        raise HpoptError(
            f"server {server.name!r}: not running", remedy=f"start it with hpopt db start {server.name}"
        )
    return endpoint


def _new_file(path: Path) -> sa.Engine:
    """An engine of a new SQLite file with Optuna's tables."""
    from optuna.storages import RDBStorage

    storage = RDBStorage(f"sqlite:///{path}")
    storage.remove_session()
    return storage.engine
