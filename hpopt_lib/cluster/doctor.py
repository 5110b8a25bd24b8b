"""Is everything here that a study on a cluster needs? One line for each thing, with its remedy."""

from __future__ import annotations

import importlib.metadata
import os
import platform
import shlex
import shutil
import socket
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from hpopt_lib.cluster.server_client import answers
from hpopt_lib.cluster.server_places import file_system, on_network
from hpopt_lib.cluster.settings import ClusterProfile, load_profile
from hpopt_lib.errors import HpoptError
from hpopt_lib.tuning.endpoint import hpopt_home, known_servers, read_endpoint, server_folder

#: Set to 1 by somebody who may compute on the login node.
ALLOW = "HPOPT_ALLOW_LOGIN_NODE"
OK, WARN, FAIL = "ok", "warn", "fail"
COMMANDS = {
    "slurm": ("sbatch", "squeue", "scancel", "scontrol"),
    "pbs": ("qsub", "qstat", "qdel"),
    "local": ("bash",),
}


@dataclass(frozen=True)
class Finding:
    """What a check found.

    Attributes
    ----------
    state : {"ok", "warn", "fail"}
    what, text, remedy : str
    """

    state: str
    what: str
    text: str
    remedy: str = ""

    def __str__(self) -> str:
        return f"{self.state:<4}  {self.what}: {self.text}" + (f"; {self.remedy}" if self.remedy else "")


def refuse_login_node(profile: ClusterProfile | None = None, *, what: str = "this command") -> None:
    """Raise on a login node of the cluster, where nothing heavy may run.

    Parameters
    ----------
    profile : ClusterProfile, optional
        By default the one that `hpopt_lib.cluster.settings.load_profile` chooses.
    what : str
        The command, for the message.
    """
    if os.environ.get(ALLOW) == "1":
        return
    profile = profile or load_profile()
    host = socket.gethostname()
    if profile.is_login_node(host):
        raise HpoptError(
            f"{host}: a login node ({profile.name}), where {what} would disturb everybody",
            remedy=f"submit a job with hpopt pace submit, or set {ALLOW}=1 if this node is yours to use",
        )


def examine(profile: ClusterProfile, *, server: str | None = None) -> Iterator[Finding]:
    """Check this node, one finding after the other.

    Parameters
    ----------
    profile : ClusterProfile
    server : str, optional
        Only this one is tried; all known ones by default.
    """
    yield Finding(OK, "profile", f"{profile.name} ({profile.launcher}): {profile.about}")
    yield _login(profile)
    yield from _versions()
    yield from _commands(profile)
    yield _modules(profile)
    yield _quota(profile)
    yield from _folders()
    yield _server_program()
    for name in [server] if server else known_servers():
        yield _endpoint(name)


def _login(profile: ClusterProfile) -> Finding:
    host = socket.gethostname()
    if profile.is_login_node(host):
        return Finding(WARN, "node", f"{host} is a login node", "submit from here, but compute in jobs")
    job = os.environ.get("SLURM_JOB_ID") or os.environ.get("PBS_JOBID")
    return Finding(OK, "node", f"{host}, " + (f"in job {job}" if job else "not a login node by its name"))


def _versions() -> Iterator[Finding]:
    yield Finding(OK, "python", f"{platform.python_version()} in {sys.prefix}")
    for name in ("torch", "optuna", "sqlalchemy", "pymysql"):
        try:
            yield Finding(OK, name, importlib.metadata.version(name))
        except importlib.metadata.PackageNotFoundError:
            remedy = "pip install 'hpopt-lib[mysql]'" if name == "pymysql" else f"pip install {name}"
            yield Finding(FAIL, name, "not installed", f"run {remedy}")
    if hpopt := shutil.which("hpopt"):
        yield Finding(OK, "hpopt", hpopt)
    else:
        yield Finding(WARN, "hpopt", "not on the PATH", "activate the environment; jobs do it by themselves")


def _commands(profile: ClusterProfile) -> Iterator[Finding]:
    for name in COMMANDS[profile.launcher]:
        if path := shutil.which(name):
            yield Finding(OK, name, path)
        else:
            yield Finding(
                FAIL, name, "no such command here", "log in to the cluster, or pass --profile local"
            )
    if profile.launcher == "slurm" and shutil.which("sinfo"):
        code, text = _run(["sinfo", "--noheader", "--format=%D nodes %T"])
        state = OK if code == 0 else FAIL
        yield Finding(
            state,
            "slurm",
            "; ".join(text.splitlines()[:4]),
            "" if code == 0 else "ask the cluster's help desk",
        )


def _modules(profile: ClusterProfile) -> Finding:
    if not profile.modules:
        return Finding(OK, "modules", "the profile loads none")
    # `module` is a function of login shells
    code, text = _run(["bash", "-lc", "module load " + " ".join(map(shlex.quote, profile.modules))])
    if code == 0 and "rror" not in text:
        return Finding(OK, "modules", " ".join(profile.modules))
    first = (text.splitlines() or ["cannot be loaded"])[0]
    return Finding(
        FAIL,
        "modules",
        f"{' '.join(profile.modules)}: {first}",
        "correct modules in cluster.toml, see module avail",
    )


def _quota(profile: ClusterProfile) -> Finding:
    command = shlex.split(profile.quota_command)
    if not command:
        return Finding(OK, "quota", "the profile has no command for it")
    if not shutil.which(command[0]):
        return Finding(WARN, "quota", f"no command {command[0]}", "correct quota_command in cluster.toml")
    code, text = _run(command)
    lines = [line.strip() for line in text.splitlines() if line.strip()]
    return Finding(OK if code == 0 else WARN, "quota", " | ".join(lines[:6]) or "nothing is said")


def _folders() -> Iterator[Finding]:
    for what, path in (("home", hpopt_home()), ("here", Path.cwd())):
        real = next(p for p in (path, *path.parents) if p.exists())
        kind = file_system(real) or "unknown"
        free = shutil.disk_usage(real).free / 1e9
        text = f"{path} on {kind}, {free:.0f} GB free"
        if free < 2:
            yield Finding(FAIL, what, text, "free some space: a server and its dumps need a gigabyte or more")
        elif on_network(real):
            yield Finding(OK, what, text + " (network: servers are fine here, SQLite is not)")
        else:
            yield Finding(OK, what, text)
    local = Path(tempfile.gettempdir())
    kind = file_system(local) or "unknown"
    if on_network(local):
        yield Finding(WARN, "TMPDIR", f"{local} is on {kind}", "set TMPDIR to a disk of the node")
    else:
        yield Finding(OK, "TMPDIR", f"{local} on {kind}, {shutil.disk_usage(local).free / 1e9:.0f} GB free")


def _server_program() -> Finding:
    from hpopt_lib.cluster.server_programs import find_program

    try:
        program = find_program()
    except HpoptError as error:
        return Finding(FAIL, "database", error.problem, error.remedy)
    return Finding(OK, "database", f"{program.product} ({program.path})")


def _endpoint(name: str) -> Finding:
    try:
        endpoint = read_endpoint(server_folder(name))
    except HpoptError as error:
        return Finding(FAIL, f"server {name}", error.problem, error.remedy)
    if endpoint is None:
        return Finding(OK, f"server {name}", "down; hpopt pace submit starts it")
    where = f"{endpoint.product} on {endpoint.node}, {endpoint.host} port {endpoint.port}"
    if answers(endpoint):
        return Finding(OK, f"server {name}", f"answers ({where})")
    return Finding(
        FAIL, f"server {name}", f"does not answer ({where})", "see hpopt db status, or wait for its job"
    )


def _run(command: list[str]) -> tuple[int, str]:
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=30, check=False)
    except (OSError, subprocess.TimeoutExpired) as error:
        return 1, str(error)
    return done.returncode, (done.stdout + done.stderr).strip()
