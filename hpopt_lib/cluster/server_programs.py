"""Which MySQL or MariaDB server program there is on this machine."""

from __future__ import annotations

import os
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
            # unlike Path.is_file this does not fail for folders that may not be looked into
            if os.path.isfile(path) and os.access(path, os.X_OK):
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
