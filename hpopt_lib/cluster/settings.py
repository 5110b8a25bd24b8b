"""What is particular to a cluster: limits, defaults and names, as a profile."""

from __future__ import annotations

import fnmatch
import os
import re
import shutil
import socket
import sys
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any

from hpopt_lib.errors import HpoptError
from hpopt_lib.tuning.endpoint import hpopt_home

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib

OWN_FILE = "cluster.toml"
LAUNCHERS = ("slurm", "pbs", "local")


@dataclass(frozen=True)
class ClusterProfile:
    """A cluster.

    Attributes
    ----------
    name, about : str
    launcher : {"slurm", "pbs", "local"}
        How jobs are submitted.
    hosts : tuple of str
        Patterns of host names by which the cluster is recognised.
    login_nodes : tuple of str
        Patterns of host names where nothing heavy may run.
    max_hours_cpu, max_hours_gpu : float
        Longest job without and with a GPU; 0 when no limit is known, as for the others.
    max_cpu_hours, max_gpu_hours : float
        Largest product of cores or GPUs and hours of one job.
    max_array : int
        Most jobs of one array.
    time, server_time : str
        Time limit of worker and database jobs, ``H:MM:SS``.
    memory_per_cpu_mb, server_memory_mb : int
        Memory of a worker, and of the database job.
    gpu_option : str
        How GPUs are asked for, with the places ``{type}`` and ``{count}``.
    gpu_types : tuple of str
        Kinds of GPU there are; any when empty.
    array_option : str
        How PBS is asked for an array.
    account, qos : str
        Asked for when not empty. A partition is not: the cluster's own choice is the right one.
    options : tuple of str
        More options of the scheduler, such as ``--constraint=amd``.
    modules : tuple of str
        Modules that every job loads.
    signal_s : int
        Seconds before its time limit at which a job is told.
    quota_command : str
        Command that shows the disk quota.
    scratch : str
        Folder where new servers keep their data, when it exists.
    """

    name: str
    about: str = ""
    launcher: str = "slurm"
    hosts: tuple[str, ...] = ()
    login_nodes: tuple[str, ...] = ()
    max_hours_cpu: float = 0
    max_hours_gpu: float = 0
    max_cpu_hours: float = 0
    max_gpu_hours: float = 0
    max_array: int = 0
    time: str = "04:00:00"
    server_time: str = "12:00:00"
    memory_per_cpu_mb: int = 2000
    server_memory_mb: int = 4000
    gpu_option: str = "--gres=gpu:{type}:{count}"
    gpu_types: tuple[str, ...] = ()
    array_option: str = "-t"
    account: str = ""
    qos: str = ""
    options: tuple[str, ...] = ()
    modules: tuple[str, ...] = ()
    signal_s: int = 120
    quota_command: str = ""
    scratch: str = ""

    def is_login_node(self, host: str | None = None) -> bool:
        """Whether a host (this one by default) is a login node of the cluster."""
        return matches(host or socket.gethostname(), self.login_nodes)


def matches(host: str, patterns: tuple[str, ...]) -> bool:
    """Whether a host's name, with or without its domain, fits one of some patterns."""
    return any(fnmatch.fnmatch(name, p) for p in patterns for name in (host, host.partition(".")[0]))


def profiles() -> dict[str, ClusterProfile]:
    """All profiles, the user's own included.

    Raises
    ------
    HpoptError
        For a field that no profile has, or a value that does not fit; the message names file and field.
    """
    packaged = Path(__file__).with_name("profiles.toml")
    found = {name: _profile(name, table, {}, packaged) for name, table in _tables(packaged).items()}
    own = own_file()
    for name, table in _tables(own).items():
        like = table.pop("like", name if name in found else "generic-slurm")
        if like not in found:
            raise HpoptError(f"{own}: [{name}] like: no profile {like!r}", remedy=f"use {', '.join(found)}")
        found[name] = _profile(name, table, vars(found[like]), own)
    return found


def load_profile(name: str | None = None) -> ClusterProfile:
    """A profile by its name.

    Parameters
    ----------
    name : str, optional
        By default what ``$HPOPT_PROFILE`` or the line ``profile = …`` of the user's file says, else
        the profile to whose host names this computer belongs, else the kind of its scheduler.
    """
    known = profiles()
    name = name or os.environ.get("HPOPT_PROFILE") or _read(own_file()).get("profile") or _guess(known)
    if name not in known:
        raise HpoptError(f"--profile: {name!r} is unknown", remedy=f"use {', '.join(known)}")
    return known[name]


def own_file() -> Path:
    """The user's own settings of clusters; it need not exist."""
    return hpopt_home() / OWN_FILE


def _guess(known: dict[str, ClusterProfile]) -> str:
    host = socket.getfqdn()
    for profile in known.values():
        if matches(host, profile.hosts) or matches(socket.gethostname(), profile.hosts):
            return profile.name
    if shutil.which("sbatch"):
        return "generic-slurm"
    return "pbs" if shutil.which("qsub") else "local"


def _read(path: Path) -> dict[str, Any]:
    try:
        return tomllib.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        return {}
    except (OSError, UnicodeDecodeError, tomllib.TOMLDecodeError) as error:
        raise HpoptError(f"{path}: cannot be read: {error}", remedy="correct the file") from error


def _tables(path: Path) -> dict[str, dict[str, Any]]:
    values = _read(path)
    for key, value in values.items():
        if not isinstance(value, dict) and not (key == "profile" and isinstance(value, str)):
            raise HpoptError(
                f"{path}: {key} = {value!r}: belongs to no profile",
                remedy="put it below a line like [pace-ice]",
            )
    return {key: dict(value) for key, value in values.items() if isinstance(value, dict)}


def _profile(name: str, table: dict[str, Any], base: dict[str, Any], path: Path) -> ClusterProfile:
    kinds = {f.name: str(f.type) for f in fields(ClusterProfile)}
    values = {**base, "name": name}
    for key, value in table.items():
        where = f"{path}: [{name}] {key} = {value!r}"
        if key == "name" or key not in kinds:
            raise HpoptError(f"{where}: no such field", remedy=f"use {', '.join(list(kinds)[1:])}")
        values[key] = _value(value, kinds[key], where)
    profile = ClusterProfile(**values)
    if profile.launcher not in LAUNCHERS:
        raise HpoptError(
            f"{path}: [{name}] launcher = {profile.launcher!r}: unknown", remedy=f"use {', '.join(LAUNCHERS)}"
        )
    for key in ("time", "server_time"):
        parse_time(getattr(profile, key), where=f"{path}: [{name}] {key}")
    try:
        profile.gpu_option.format(type="A100", count=1)
    except (KeyError, IndexError, ValueError):
        raise HpoptError(
            f"{path}: [{name}] gpu_option = {profile.gpu_option!r}: not a pattern",
            remedy="only {type} and {count} may stand in braces",
        ) from None
    return profile


def _value(value: Any, kind: str, where: str) -> Any:
    if kind.startswith("tuple"):
        if isinstance(value, list) and all(isinstance(entry, str) for entry in value):
            return tuple(value)
        raise HpoptError(f"{where}: not a list of texts", remedy='write it like ["a", "b"]')
    if kind == "str":
        if isinstance(value, str) and "\n" not in value:
            return value
        raise HpoptError(f"{where}: not a line of text", remedy="put it in quotes")
    whole = kind == "int"
    if isinstance(value, bool) or not isinstance(value, int if whole else (int, float)) or value < 0:
        raise HpoptError(f"{where}: not a number of at least 0", remedy="write a number without quotes")
    return value


def parse_time(text: str, *, where: str = "--time") -> int:
    """Seconds of a time limit.

    Examples
    --------
    >>> parse_time("1:30:00"), parse_time("2-00:00:00")
    (5400, 172800)
    """
    match = re.fullmatch(r"(?:(\d+)-)?(\d{1,3}):([0-5]\d):([0-5]\d)", text)
    if not match:
        raise HpoptError(f"{where} {text!r}: not a time", remedy="write hours:minutes:seconds, like 4:00:00")
    days, hours, minutes, seconds = (int(part or 0) for part in match.groups())
    total = ((24 * days + hours) * 60 + minutes) * 60 + seconds
    if total < 60:
        raise HpoptError(f"{where} {text!r}: less than a minute", remedy="ask for more time")
    return total


def format_time(seconds: int) -> str:
    """A time limit as schedulers read it: ``HH:MM:SS``."""
    return f"{seconds // 3600:02d}:{seconds // 60 % 60:02d}:{seconds % 60:02d}"
