"""The data folder of a server and the account in it: made once, whole or not at all."""

from __future__ import annotations

import json
import os
import secrets
import shutil
import subprocess
from pathlib import Path

from hpopt_lib.cluster.server_commands import install_command
from hpopt_lib.cluster.server_places import socket_folder
from hpopt_lib.cluster.server_programs import Program, find_program
from hpopt_lib.errors import HpoptError
from hpopt_lib.files import atomic_path, remove

DATA, ACCOUNT, LOG, DUMPS, FILES = "data", "account.json", "server.log", "dumps", "files"
#: An initialisation that was interrupted leaves this; the next one begins anew.
PART = ".data.part"
USER, DATABASE = "hpopt", "hpopt"
#: Enough for Optuna, and nothing outside of the one database (REFERENCES is for its foreign keys).
RIGHTS = "SELECT, INSERT, UPDATE, DELETE, CREATE, ALTER, DROP, INDEX, REFERENCES"


def private_folder(path: Path) -> None:
    """Make a folder for its owner only, or make an own one so."""
    path.mkdir(parents=True, exist_ok=True, mode=0o700)
    path.chmod(0o700)


def write_private(path: Path, text: str) -> None:
    """Write a file that nobody else can read at any moment; replaced in one step."""
    with atomic_path(path, overwrite=True) as temporary:
        descriptor = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
        with os.fdopen(descriptor, "w", encoding="utf-8") as stream:
            stream.write(text)


def has_data(folder: Path) -> bool:
    """Whether a server was initialised in a folder; raise when something else is there."""
    data = folder / DATA
    if not data.exists():
        return False
    if not (data / "mysql").is_dir():
        raise HpoptError(
            f"{data}: not the data of a database server",
            remedy="make a new server with hpopt db init, and hpopt db restore there if there is a dump",
        )
    return True


def initialise(folder: Path, lock: int) -> Program:
    """Make the data folder; the caller holds the folder's lock.

    It grows under another name and gets its own in one step at the end. The program inherits the
    lock: when this process is killed, nobody else begins before the program has ended too.

    Raises
    ------
    HpoptError
        When there are data already, or the program cannot make them.
    """
    if has_data(folder):
        raise HpoptError(f"{folder}: holds a server already", remedy="start it with hpopt db start")
    program = find_program()
    for name in (DUMPS, FILES):
        private_folder(folder / name)
    part, temporary, log = folder / PART, socket_folder(), folder / LOG
    remove(part)
    try:
        part.mkdir(mode=0o700)
        if program.kind == "MySQL":
            part.rmdir()  # it insists on making the folder itself
        log.touch(mode=0o600)
        with open(log, "ab") as stream:
            try:
                done = subprocess.run(
                    install_command(program, part, temporary),
                    stdin=subprocess.DEVNULL,
                    stdout=stream,
                    stderr=stream,
                    env=program.environment(),
                    cwd=temporary,
                    pass_fds=(lock,),
                    umask=0o077,
                )
            except OSError as error:
                raise HpoptError(f"{program.path}: does not run: {error.strerror}") from error
        if done.returncode or not (part / "mysql").is_dir():
            raise HpoptError(
                f"{folder}: {program.product} cannot make its data: {last_error(log)}",
                remedy=f"see {log}; nothing else was changed",
            )
        write_account(folder, program)
        part.chmod(0o700)
        os.rename(part, folder / DATA)
    except BaseException:
        remove(part)
        raise
    finally:
        shutil.rmtree(temporary, ignore_errors=True)
    return program


def write_account(folder: Path, program: Program) -> None:
    """Draw a password and note it with the kind of the server, for the owner only."""
    values = {
        "user": USER,
        "password": secrets.token_urlsafe(24),
        "database": DATABASE,
        "kind": program.kind,
        "made_by": program.product,
    }
    write_private(folder / ACCOUNT, json.dumps(values, indent=1))


def read_account(folder: Path) -> dict[str, str]:
    """The account of a server's studies; empty when the file is lost (a new one is made at the start).

    Raises
    ------
    HpoptError
        When others can read the password.
    """
    path = folder / ACCOUNT
    try:
        if path.stat().st_mode & 0o077:
            raise HpoptError(
                f"{path}: others can read the password in it",
                remedy=f"delete it, and the next start draws a new one: rm {path}",
            )
        values = json.loads(path.read_text(encoding="utf-8"))
        return values if {"user", "password", "database", "kind"} <= values.keys() else {}
    except (FileNotFoundError, ValueError, AttributeError):
        return {}


def kind_of_data(folder: Path) -> str:
    """Kind of server that made the data, told by its files."""
    return "MySQL" if (folder / DATA / "mysql.ibd").exists() else "MariaDB"


def init_sql(account: dict[str, str], kind: str) -> str:
    """Statements that the server runs before it lets anybody in; they make the account whatever it was.

    Each statement is on one line, and equality is by bytes: Optuna's names distinguish capitals.
    """
    user, database, password = account["user"], account["database"], account["password"]
    lines = [
        f"CREATE DATABASE IF NOT EXISTS `{database}` CHARACTER SET utf8mb4 COLLATE utf8mb4_bin;",
        f"CREATE USER IF NOT EXISTS '{user}'@'%' IDENTIFIED BY '{password}';",
        f"ALTER USER '{user}'@'%' IDENTIFIED BY '{password}';",
        f"GRANT {RIGHTS} ON `{database}`.* TO '{user}'@'%';",
    ]
    if kind == "MySQL":
        lines.append("ALTER USER 'root'@'localhost' ACCOUNT LOCK;")
    return "\n".join(lines) + "\n"


def last_error(log: Path, offset: int = 0) -> str:
    """The most telling of the last lines of a server's log, without its time stamp."""
    try:
        with open(log, encoding="utf-8", errors="replace") as stream:
            stream.seek(offset)
            lines = [line.strip() for line in stream.read().splitlines() if line.strip()]
    except OSError:
        lines = []
    # the last errors say that it gives up, the first why
    errors = [line for line in lines if "[ERROR]" in line or "FATAL" in line.upper()]
    line = (errors or lines[-1:] or ["it says nothing"])[0]
    if "[ERROR]" in line:
        line = line.partition("[ERROR]")[2].strip()
    return line if len(line) <= 300 else line[:297] + "..."
