"""One server for a folder: a lock that lives as long as the server, and a note of who holds it."""

from __future__ import annotations

import errno
import fcntl
import json
import os
import time
from dataclasses import asdict, dataclass, fields
from pathlib import Path

from hpopt_lib.cluster.server_places import node_name
from hpopt_lib.errors import HpoptError
from hpopt_lib.files import atomic_path
from hpopt_lib.progress import say

LOCK, STATE = "lock", "state.json"


@dataclass(frozen=True)
class State:
    """Who runs the server of a folder.

    Attributes
    ----------
    node, job_id : str
    pid : int
        Of the server program; 0 while it is not started yet.
    pid_start : str
        When that process began, as the system counts: numbers of processes are used again.
    keeper, keeper_start
        The same of the process that looks after the server in the foreground; 0 without one.
    socket_folder : str
    started : str
        ISO 8601 in UTC.
    """

    node: str
    job_id: str = ""
    pid: int = 0
    pid_start: str = ""
    keeper: int = 0
    keeper_start: str = ""
    socket_folder: str = ""
    started: str = ""

    def where(self) -> str:
        """Node and job, for people."""
        return f"on node {self.node}" + (f" in job {self.job_id}" if self.job_id else "")


def write_state(folder: Path, state: State) -> None:
    """Note who runs the server."""
    with atomic_path(folder / STATE, overwrite=True) as temporary:
        temporary.touch(mode=0o600)
        temporary.write_text(json.dumps(asdict(state), indent=1), encoding="utf-8")


def read_state(folder: Path) -> State | None:
    """Who runs the server, or ran it last; None when nobody noted it."""
    try:
        values = json.loads((folder / STATE).read_text(encoding="utf-8"))
        names = {f.name for f in fields(State)}
        return State(**{k: v for k, v in values.items() if k in names})
    except (OSError, ValueError, TypeError, AttributeError):
        return None


def remove_state(folder: Path) -> None:
    """Nobody runs it any more."""
    (folder / STATE).unlink(missing_ok=True)


def take_lock(folder: Path, *, patience_s: float = 0.5) -> int | None:
    """Take the folder's lock; returns the descriptor to hold, or None when somebody else has it.

    Whoever inherits the descriptor keeps the lock: the server does, so it is free only when the
    server has ended, whatever became of the process that started it.

    Parameters
    ----------
    folder : Path
    patience_s : float
        `is_locked` holds the lock for a moment; that is waited for.
    """
    descriptor = os.open(folder / LOCK, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    end = time.monotonic() + patience_s
    while True:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            return descriptor
        except OSError as error:
            if error.errno in (errno.ENOSYS, errno.EOPNOTSUPP, errno.ENOLCK, errno.EINVAL):
                say(
                    f"{folder}: the file system has no locks, so only the published address keeps a second "
                    "server away"
                )
                return descriptor
            if time.monotonic() > end:
                os.close(descriptor)
                if error.errno in (errno.EWOULDBLOCK, errno.EACCES):
                    return None
                raise HpoptError(f"{folder / LOCK}: cannot be locked: {error.strerror}") from error
            time.sleep(0.05)


def is_locked(folder: Path) -> bool:
    """Whether a server (or its start or stop) holds the folder."""
    try:
        descriptor = os.open(folder / LOCK, os.O_RDWR | os.O_CLOEXEC)
    except OSError:
        return False
    try:
        fcntl.flock(descriptor, fcntl.LOCK_SH | fcntl.LOCK_NB)
        return False
    except OSError as error:
        return error.errno in (errno.EWOULDBLOCK, errno.EACCES)
    finally:
        os.close(descriptor)


def process_start(pid: int) -> str:
    """When a process began, in the system's own count; empty when there is none, or it is a zombie."""
    try:
        # the name of the program, in parentheses, may hold anything
        fields_ = Path(f"/proc/{pid}/stat").read_text(errors="replace").rpartition(")")[2].split()
    except OSError:
        return ""
    return "" if fields_[0] in "ZX" else fields_[19]


def is_alive(pid: int, start: str) -> bool:
    """Whether the process of that number is still the one that began then."""
    return pid > 0 and start != "" and process_start(pid) == start


def here(state: State) -> bool:
    """Whether a server runs on this node."""
    return state.node == node_name()
