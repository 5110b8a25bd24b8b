"""Which database program there is, and how each of the two kinds is called."""

from __future__ import annotations

import os
import pwd
import re
import shutil
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

from hpopt_lib.errors import HpoptError

#: Environment variable with the path of the program.
VARIABLE = "HPOPT_MYSQLD"
NAMES = ("mariadbd", "mysqld")
#: Where systems put servers, outside of a user's PATH.
SYSTEM = ("/usr/sbin", "/usr/local/sbin", "/usr/libexec", "/usr/local/libexec")
OLDEST = {"MariaDB": (10, 5), "MySQL": (8, 0)}
WAYS = (
    "get one in one of three ways: load a module (module avail mysql mariadb); or conda install -c "
    "conda-forge mysql-server; or, without any rights, apt-get download mariadb-server-core and libraries "
    f"and unpack each with dpkg-deb -x FILE FOLDER; {VARIABLE} names the program when it is not in PATH"
)


@dataclass(frozen=True)
class Program:
    """A server program.

    Attributes
    ----------
    path : Path
    kind : str
        ``MariaDB`` or ``MySQL``.
    version : str
        Such as ``10.11.11``.
    """

    path: Path
    kind: str
    version: str

    @property
    def product(self) -> str:
        """Kind and version, for people."""
        return f"{self.kind} {self.version}"

    @property
    def prefix(self) -> Path:
        """Folder that holds the program's bin, share and lib."""
        return self.path.parent.parent

    def environment(self) -> dict[str, str]:
        """Environment of the program: no settings of other servers, and the libraries of an unpacked package.

        Files that it makes are for their owner only.
        """
        env = {k: v for k, v in os.environ.items() if not k.startswith(("MYSQL", "MARIADB"))}
        env.update(UMASK="0600", UMASK_DIR="0700")
        if str(self.prefix) not in ("/usr", "/usr/local"):
            found = [*self.prefix.glob("lib/*-linux-gnu"), *self.prefix.parent.glob("lib/*-linux-gnu")]
            # another C library than the system's would break every program that is started
            folders = [folder for folder in found if not (folder / "libc.so.6").exists()]
            if self.prefix.name == "usr" and folders:
                path = [str(folder) for folder in folders] + [env.get("LD_LIBRARY_PATH", "")]
                env["LD_LIBRARY_PATH"] = ":".join(filter(None, path))
        return env

    def _shared(self) -> list[str]:
        options = ["--no-defaults", f"--basedir={self.prefix}"]
        share = [self.prefix / "share" / name for name in ("mysql", "mariadb", "mysql-8.0", "mysql-8.4", "")]
        for folder in share:
            if (folder / "english" / "errmsg.sys").is_file():
                options.append(f"--lc-messages-dir={folder}")
                break
        return options

    def _as_root(self) -> list[str]:
        # both kinds refuse to run as root unless told so
        return ["--user=root"] if os.geteuid() == 0 else []

    def install_command(self, data: Path, temporary: Path) -> list[str]:
        """Command that makes a new data folder; the administrator logs in over the socket or not at all."""
        if self.kind == "MySQL":
            return [
                str(self.path),
                *self._shared(),
                *self._as_root(),
                "--initialize-insecure",  # its administrator is locked at the first start
                f"--datadir={data}",
                f"--tmpdir={temporary}",
                "--loose-innodb-redo-log-capacity=64M",
                "--secure-file-priv=NULL",
            ]
        # --user would make the script change owners and set bits on files of the installation: left out
        return [
            str(self._install_script()),
            "--no-defaults",
            f"--basedir={self.prefix}",
            f"--datadir={data}",
            f"--tmpdir={temporary}",
            "--skip-test-db",
            "--skip-name-resolve",
            "--auth-root-authentication-method=socket",
            f"--auth-root-socket-user={account_name()}",
            "--innodb-log-file-size=32M",
        ]

    def _install_script(self) -> Path:
        folders = [self.path.parent, self.prefix / "bin", self.prefix / "scripts", self.prefix / "sbin"]
        for name in ("mariadb-install-db", "mysql_install_db"):
            for folder in folders:
                if os.access(folder / name, os.X_OK):
                    return folder / name
        raise HpoptError(
            f"{self.path}: there is no mariadb-install-db beside it",
            remedy="install the whole package of the server, not the program alone",
        )

    def server_command(
        self,
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
            str(self.path),
            *self._shared(),
            *self._as_root(),
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
            "--secure-file-priv=NULL" if self.kind == "MySQL" else f"--secure-file-priv={socket.parent}",
        ]
        if self.kind == "MySQL":
            # the X protocol would open a second port
            command += ["--loose-mysqlx=OFF", "--loose-innodb-redo-log-capacity=64M"]
        else:
            command += ["--innodb-log-file-size=32M"]
        if network_files:
            command += ["--innodb-use-native-aio=OFF", "--loose-innodb-flush-method=fsync"]
        return command


def account_name() -> str:
    """Name of the user who runs this, also where the system does not know it."""
    try:
        return pwd.getpwuid(os.geteuid()).pw_name
    except KeyError:
        return str(os.geteuid())


def find_program(kind: str = "") -> Program:
    """Find a MariaDB or MySQL server program.

    Parameters
    ----------
    kind : str
        Take only one of this kind: a data folder belongs to the kind that made it.

    Raises
    ------
    HpoptError
        When there is none; the message says how to get one.
    """
    given = os.environ.get(VARIABLE)
    if given:
        path = Path(shutil.which(given) or given).absolute()
        if not os.access(path, os.X_OK) or path.is_dir():
            raise HpoptError(
                f"{VARIABLE}: {given} is not a program", remedy="name the file mariadbd or mysqld"
            )
        program = identify(path)
        if kind and program.kind != kind:
            raise HpoptError(
                f"{VARIABLE}: {given} is {program.product}, but the data belong to {kind}",
                remedy=f"name a program of {kind}, or make a new server",
            )
        return program
    seen = ""
    for path in candidates():
        try:
            program = identify(path)
        except HpoptError as error:
            seen = f" ({error.problem})"  # another one may do
            continue
        if not kind or program.kind == kind:
            return program
        seen = f" (there is {program.product}, which cannot read them)"
    what = (
        f"no {kind} server program here for data of {kind}"
        if kind
        else "no MySQL or MariaDB server program here"
    )
    raise HpoptError(what + seen, remedy=WAYS)


def candidates() -> list[Path]:
    """Server programs on this machine: those in PATH, beside a client program, and in system folders."""
    folders = [Path(p) for p in os.environ.get("PATH", "").split(os.pathsep) if p]
    prefixes = [Path(sys.prefix), *(Path(p) for p in [os.environ.get("CONDA_PREFIX")] if p)]
    prefixes += [Path(p).parent.parent for name in ("mariadb", "mysql") if (p := shutil.which(name))]
    for prefix in prefixes:
        folders += [prefix / name for name in ("bin", "sbin", "libexec")]
    folders += [Path(p) for p in SYSTEM]
    found: dict[Path, None] = {}
    for folder in folders:
        for name in NAMES:
            path = folder / name
            if path.is_file() and os.access(path, os.X_OK):
                found.setdefault(path.absolute())
    return list(found)


def identify(path: Path) -> Program:
    """Ask a program what it is.

    Raises
    ------
    HpoptError
        When it does not run, is something else, or is too old.
    """
    probe = Program(path, "", "")
    try:
        done = subprocess.run(
            [str(path), "--no-defaults", "--version"],
            capture_output=True,
            text=True,
            errors="replace",
            timeout=60,
            env=probe.environment(),
            stdin=subprocess.DEVNULL,
        )
    except (OSError, subprocess.TimeoutExpired) as error:
        raise HpoptError(f"{path}: does not run: {error}", remedy=WAYS) from error
    text = done.stdout + done.stderr
    match = re.search(r"Ver\s+(\d+)\.(\d+)\.(\d+)", done.stdout)
    if done.returncode or match is None:
        last = (text.strip().splitlines() or ["it says nothing"])[-1]
        raise HpoptError(f"{path}: not a working server program: {last}", remedy=WAYS)
    kind = "MariaDB" if "mariadb" in done.stdout.lower().replace(str(path).lower(), "") else "MySQL"
    version = tuple(int(n) for n in match.groups())
    if version < OLDEST[kind]:
        oldest = ".".join(map(str, OLDEST[kind]))
        raise HpoptError(
            f"{path}: {kind} {'.'.join(match.groups())} is too old", remedy=f"use {oldest} or newer"
        )
    return Program(path, kind, ".".join(match.groups()))
