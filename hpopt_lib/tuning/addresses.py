"""Addresses of storages: which kind, which file, which folder beside it, and without their passwords."""

from __future__ import annotations

import os
import re
from pathlib import Path

from hpopt_lib.errors import HpoptError
from hpopt_lib.tuning.endpoint import NAME, server_folder

DEFAULT_STORAGE = "sqlite:///hpopt.db"
FORMS = "write sqlite:///FILE, journal:///FILE, mysql+pymysql://… or the name of a server of hpopt db"


def absolute(address: str) -> str:
    """The address, good in any folder."""
    if not is_file(address):
        return address
    return f"{address.partition('://')[0]}:///{storage_file(address).absolute()}"


def is_file(address: str) -> bool:
    """Whether an address names a storage in a file, for the processes of one machine."""
    return address.startswith(("sqlite://", "journal://"))


def server_name(address: str) -> str:
    """An address that is the name of a server; somebody who forgot ``sqlite:///`` is told so."""
    if not NAME.fullmatch(address) or Path(address).suffix in (".db", ".sqlite", ".journal", ".log"):
        raise HpoptError(f"--storage: {mask(address)!r} is no storage address", remedy=FORMS)
    return address


def storage_file(address: str) -> Path:
    """The file of an ``sqlite:///`` or ``journal:///`` address."""
    kind, _, rest = address.partition("://")
    if not rest.strip("/"):
        raise HpoptError(f"--storage: {address!r} names no file", remedy=f"write {kind}:///FILE")
    return Path(rest.removeprefix("/"))


def files_folder(address: str | None = None) -> Path:
    """Shared folder of what belongs to the studies of a storage beside the database.

    It holds ``checkpoints/STUDY/`` and ``artifacts/``: ``FILE-files`` beside the file of an SQLite
    or journal storage, ``files`` in the folder of a server of ``hpopt db``, and for other
    addresses the folder ``$HPOPT_FILES``, else ``hpopt-files`` here.
    """
    address = address or DEFAULT_STORAGE
    kind, separator, _ = address.partition("://")
    if not separator:
        return server_folder(server_name(address)) / "files"
    if kind in ("sqlite", "journal"):
        path = storage_file(address).absolute()
        return path.with_name(f"{path.name}-files")
    return Path(os.environ.get("HPOPT_FILES") or "hpopt-files").absolute()


def mask(address: str) -> str:
    """The address without its password.

    Examples
    --------
    >>> mask("mysql+pymysql://me:secret@node/db")
    'mysql+pymysql://me:***@node/db'
    """
    return re.sub(r"(://[^:/@]*):.*@", r"\1:***@", address)
