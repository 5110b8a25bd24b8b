"""Where a database server answers now: a file that its job writes and every worker reads."""

from __future__ import annotations

import json
import os
import re
import socket
import stat
from dataclasses import asdict, dataclass, field, fields
from pathlib import Path
from typing import Any

from hpopt_lib.errors import HpoptError
from hpopt_lib.files import atomic_path

ENDPOINT = "endpoint.json"
#: Names of servers: they stand in file names and on command lines.
NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.-]{0,63}")


@dataclass(frozen=True)
class Endpoint:
    """Address and account of a running server.

    Attributes
    ----------
    host : str
        Name or address of the node, as other nodes reach it.
    port : int
    user, password, database : str
        The account is limited to this one database.
    socket : str
        Path of the Unix socket, for clients on the server's own node; may be empty.
    node : str
        Host name of the server's node.
    product : str
        What the server calls itself, such as ``MariaDB 10.11.18``.
    job_id : str
        Batch job in which it runs; empty outside of one.
    started : str
        Time of the start, ISO 8601 in UTC.
    """

    host: str
    port: int
    user: str
    password: str = field(repr=False)
    database: str
    socket: str = ""
    node: str = ""
    product: str = ""
    job_id: str = ""
    started: str = ""


def hpopt_home() -> Path:
    """Folder of what belongs to the user, wherever the work is: ``$HPOPT_HOME``, else ``~/.hpopt``."""
    return Path(os.environ.get("HPOPT_HOME") or Path.home() / ".hpopt")


def check_server_name(name: str) -> str:
    """Return `name`, or raise when it cannot name a server."""
    if not NAME.fullmatch(name):
        raise HpoptError(
            f"server {name!r}: not a name", remedy="use letters, digits, dots, dashes and underscores"
        )
    return name


def register_server(name: str, folder: str | Path) -> None:
    """Remember in which folder the server of that name keeps its data.

    Raises
    ------
    HpoptError
        When the name belongs to another folder already.
    """
    path = hpopt_home() / "servers" / check_server_name(name)
    folder = Path(folder).resolve()
    if path.exists() and (other := Path(path.read_text(encoding="utf-8").strip())) != folder:
        if other.exists():
            raise HpoptError(f"server {name!r}: the name belongs to {other}", remedy="choose another name")
        path.unlink()
    if path.exists():
        return
    path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
    with atomic_path(path) as temporary:
        temporary.write_text(f"{folder}\n", encoding="utf-8")


def known_servers() -> list[str]:
    """Names of the servers that `hpopt db init` made for this user."""
    folder = hpopt_home() / "servers"
    return sorted(p.name for p in folder.iterdir() if NAME.fullmatch(p.name)) if folder.is_dir() else []


def server_folder(name: str) -> Path:
    """Folder of a server by its name.

    Raises
    ------
    HpoptError
        When no server has that name; the message lists those there are.
    """
    path = hpopt_home() / "servers" / check_server_name(name)
    if not path.is_file():
        known = ", ".join(known_servers())
        raise HpoptError(
            f"server {name!r}: not known",
            remedy=f"use one of {known}" if known else f"make it with hpopt db init {name}",
        )
    folder = Path(path.read_text(encoding="utf-8").strip())
    if not folder.is_dir():
        raise HpoptError(
            f"server {name!r}: its folder {folder} is gone",
            remedy=f"make a new one with hpopt db init {name}, and hpopt db restore if there is a dump",
        )
    return folder


def write_endpoint(folder: str | Path, endpoint: Endpoint) -> Path:
    """Publish where a server answers, readable for its owner only; replaced in one step."""
    path = Path(folder) / ENDPOINT
    with atomic_path(path, overwrite=True) as temporary:
        descriptor = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
        with os.fdopen(descriptor, "w", encoding="utf-8") as stream:
            os.fchmod(descriptor, 0o600)
            json.dump(asdict(endpoint), stream, indent=1)
    return path


def remove_endpoint(folder: str | Path) -> None:
    """Tell workers that the server is gone for now."""
    (Path(folder) / ENDPOINT).unlink(missing_ok=True)


def read_endpoint(folder: str | Path) -> Endpoint | None:
    """Where the server of a folder answers now; None while it is down.

    Raises
    ------
    HpoptError
        When others can read the file (it holds a password), or it is damaged.
    """
    path = Path(folder) / ENDPOINT
    try:
        with open(path, encoding="utf-8") as stream:
            mode = stat.S_IMODE(os.fstat(stream.fileno()).st_mode)
            values = json.load(stream)
    except FileNotFoundError:
        return None
    except (OSError, UnicodeDecodeError, json.JSONDecodeError) as error:
        raise HpoptError(f"{path}: cannot be read: {error}", remedy="start the server again") from error
    if mode & 0o077:
        raise HpoptError(
            f"{path}: mode {mode:04o}, others can read the password in it", remedy=f"run chmod 600 {path}"
        )
    names = {f.name for f in fields(Endpoint)}
    if not isinstance(values, dict) or not {"host", "port", "user", "password", "database"} <= values.keys():
        raise HpoptError(f"{path}: not the address of a server", remedy="start the server again")
    return Endpoint(**{key: value for key, value in values.items() if key in names})


def connect(endpoint: Endpoint, *, connect_timeout_s: float = 10, timeout_s: float = 120) -> Any:
    """Connect to a server: over its socket on its own node, else over the network.

    Parameters
    ----------
    endpoint : Endpoint
    connect_timeout_s, timeout_s : float
        Longest wait for the connection, and for an answer.

    Returns
    -------
    pymysql.connections.Connection

    Raises
    ------
    HpoptError
        When pymysql is not installed.
    pymysql.err.OperationalError
        When the server does not answer; with code 2003, so that workers wait for it.
    """
    try:
        import pymysql
    except ImportError as error:
        raise HpoptError(
            "the package pymysql is not installed", remedy="run pip install 'pymysql[rsa]'"
        ) from error
    connection = pymysql.connect(
        host=endpoint.host or "localhost",
        port=endpoint.port,
        user=endpoint.user,
        password=endpoint.password,
        database=endpoint.database,
        charset="utf8mb4",
        connect_timeout=max(int(connect_timeout_s), 1),
        read_timeout=timeout_s,
        write_timeout=timeout_s,
        defer_connect=True,
    )
    own_node = endpoint.socket and endpoint.node == socket.gethostname() and Path(endpoint.socket).exists()
    if not own_node:
        connection.connect()
        return connection
    # made here, because pymysql leaves a socket open that nobody answers
    sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    try:
        sock.settimeout(connect_timeout_s)
        sock.connect(endpoint.socket)
    except OSError as error:
        sock.close()
        raise pymysql.err.OperationalError(2003, f"cannot connect to {endpoint.socket} ({error})") from error
    connection.unix_socket, connection._secure = endpoint.socket, True  # no network to listen on
    connection.connect(sock)
    return connection
