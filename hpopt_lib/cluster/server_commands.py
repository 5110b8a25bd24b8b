"""How each of the two kinds of server is called; nothing on a command line is secret."""

from __future__ import annotations

import os
import pwd
from pathlib import Path

from hpopt_lib.cluster.server_programs import Program
from hpopt_lib.errors import HpoptError


def account_name() -> str:
    """Name of the user who runs this, also where the system does not know it."""
    try:
        return pwd.getpwuid(os.geteuid()).pw_name
    except KeyError:
        return str(os.geteuid())


def _shared(program: Program) -> list[str]:
    options = ["--no-defaults", f"--basedir={program.prefix}"]
    share = [program.prefix / "share" / name for name in ("mysql", "mariadb", "mysql-8.0", "mysql-8.4", "")]
    for folder in share:
        if (folder / "english" / "errmsg.sys").is_file():
            options.append(f"--lc-messages-dir={folder}")
            break
    return options


def _as_root() -> list[str]:
    # both kinds refuse to run as root unless told so
    return ["--user=root"] if os.geteuid() == 0 else []


def install_command(program: Program, data: Path, temporary: Path) -> list[str]:
    """Command that makes a new data folder; the administrator logs in over the socket or not at all."""
    if program.kind == "MySQL":
        return [
            str(program.path),
            *_shared(program),
            *_as_root(),
            "--initialize-insecure",  # its administrator is locked at the first start
            f"--datadir={data}",
            f"--tmpdir={temporary}",
            "--loose-innodb-redo-log-capacity=64M",
            "--secure-file-priv=NULL",
        ]
    # --user would make the script change owners and set bits on files of the installation: left out
    return [
        str(_install_script(program)),
        "--no-defaults",
        f"--basedir={program.prefix}",
        f"--datadir={data}",
        f"--tmpdir={temporary}",
        "--skip-test-db",
        "--skip-name-resolve",
        "--auth-root-authentication-method=socket",
        f"--auth-root-socket-user={account_name()}",
        "--innodb-log-file-size=32M",
    ]


def _install_script(program: Program) -> Path:
    folders = [
        program.path.parent,
        program.prefix / "bin",
        program.prefix / "scripts",
        program.prefix / "sbin",
    ]
    for name in ("mariadb-install-db", "mysql_install_db"):
        for folder in folders:
            if os.access(folder / name, os.X_OK):
                return folder / name
    raise HpoptError(
        f"{program.path}: there is no mariadb-install-db beside it",
        remedy="install the whole package of the server, not the program alone",
    )


def server_command(
    program: Program,
    data: Path,
    *,
    socket: Path,
    address: str | None,
    port: int,
    log: Path,
    init_file: Path,
    flush: int,
    network_files: bool,
    max_connections: int,
) -> list[str]:
    """Command that runs the server; nothing in it is secret.

    Parameters
    ----------
    program : Program
    data, socket, log, init_file : Path
    address : str or None
        Where it listens; None for the socket alone.
    port : int
    flush : int
        ``innodb_flush_log_at_trx_commit``.
    network_files : bool
        Whether the data folder is on a network file system, where asynchronous and direct
        input and output are not to be relied on.
    max_connections : int
    """
    listen = ["--skip-networking"] if address is None else [f"--bind-address={address}", f"--port={port}"]
    command = [
        str(program.path),
        *_shared(program),
        *_as_root(),
        f"--datadir={data}",
        f"--socket={socket}",
        *listen,
        f"--pid-file={socket.parent / 'pid'}",
        f"--log-error={log}",
        f"--tmpdir={socket.parent}",
        f"--init-file={init_file}",
        "--skip-name-resolve",
        "--skip-log-bin",
        "--performance-schema=OFF",
        f"--max-connections={max_connections}",
        f"--innodb-flush-log-at-trx-commit={flush}",
        "--secure-file-priv=NULL" if program.kind == "MySQL" else f"--secure-file-priv={socket.parent}",
    ]
    if program.kind == "MySQL":
        # the X protocol would open a second port
        command += ["--loose-mysqlx=OFF", "--loose-innodb-redo-log-capacity=64M"]
    else:
        command += ["--innodb-log-file-size=32M"]
    if network_files:
        command += ["--innodb-use-native-aio=OFF", "--loose-innodb-flush-method=fsync"]
    return command
