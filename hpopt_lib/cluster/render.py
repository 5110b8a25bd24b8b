"""Job scripts from their templates: plain text with the values of a profile and a request put in.

The scripts are what is submitted, word for word: a person can read them, change them and submit them by hand.
That is why no library submits here. submitit would pickle a function into a shared folder and build its own
script around it, needs sacct and srun where it runs, and knows no PBS; a study's workers are plain commands
that coordinate through the database, so there is nothing to pickle and nothing to wait for.
"""

from __future__ import annotations

import re
import shlex
from collections.abc import Mapping
from importlib import resources
from pathlib import Path

from hpopt_lib.cluster.request import Request
from hpopt_lib.cluster.settings import ClusterProfile, load_profile, parse_time
from hpopt_lib.errors import HpoptError
from hpopt_lib.files import atomic_path

MAX_REQUEUES = 20
#: Column of the comments of settings.
COLUMN = 53
_PLACE = re.compile(r"@([A-Z_]+)@")
_SETTING = re.compile(r"^((?:export )?([A-Z_]+)=\$\{\2:-(.*)\})  # (.*)$")
#: What stands on a line of directives of its own, and takes the line away when it is empty.
_WHOLE_LINES = ("OPTIONS", "LOG_FOLDER")


class Raw(str):
    """A value that goes into a setting as it is, with the shell's own variables in it."""


def template_names() -> list[str]:
    """Files of the templates."""
    folder = resources.files("hpopt_lib.cluster").joinpath("templates")
    return sorted(entry.name for entry in folder.iterdir() if entry.name.endswith((".sbatch", ".pbs", ".sh")))


def render(template: str, values: Mapping[str, object]) -> str:
    """A job script.

    Parameters
    ----------
    template : str
        One of `template_names`.
    values : mapping
        For the places ``@NAME@``. In settings they are quoted for the shell. ``OPTIONS`` is a list of
        the scheduler's options, one for each line.

    Raises
    ------
    HpoptError
        When a value has a line break in it, or a place has no value.
    """
    text = resources.files("hpopt_lib.cluster").joinpath("templates", template).read_text(encoding="utf-8")
    return "\n".join(line for source in text.splitlines() for line in _lines(source, values, template)) + "\n"


def setting_names() -> set[str]:
    """Variables by which the scripts can be set, and which a submission must keep out of their way."""
    folder = resources.files("hpopt_lib.cluster").joinpath("templates")
    text = "\n".join(folder.joinpath(name).read_text(encoding="utf-8") for name in template_names())
    return set(re.findall(r"^([A-Z_]+)=\$\{\1:-", text, flags=re.MULTILINE))


def _lines(source: str, values: Mapping[str, object], template: str) -> list[str]:
    if found := _SETTING.match(source):
        start, _, default, comment = found.groups()
        setting = (
            start.removesuffix(default + "}") + _PLACE.sub(lambda m: _quoted(values, m[1]), default) + "}"
        )
        return [f"{setting.ljust(COLUMN - 1)} # {comment}"]
    for name in _WHOLE_LINES:
        if source.endswith(f" @{name}@") and source.startswith("#"):
            entries = values[name]
            entries = [entries] if isinstance(entries, str) else entries
            return [source.replace(f"@{name}@", str(entry)) for entry in entries if entry]  # type: ignore[attr-defined]
    line = _PLACE.sub(lambda m: _plain(values, m[1]), source)
    return [line]


def _plain(values: Mapping[str, object], name: str) -> str:
    value = str(values[name])
    if "\n" in value or "\r" in value:
        raise HpoptError(f"{name.lower()}: has a line break in it", remedy="choose another name")
    return value


def _quoted(values: Mapping[str, object], name: str) -> str:
    value = values[name]
    text = _plain(values, name)
    return text if isinstance(value, Raw) or not text else shlex.quote(text)


def job_name(kind: str, name: str = "") -> str:
    """Name of a job that every scheduler takes; workers are known by how it begins."""
    safe = re.sub(r"[^A-Za-z0-9_.-]+", "-", name)[:40]
    return f"hpopt-{kind}-{safe}" if safe else f"hpopt-{kind}"


def values_for(profile: ClusterProfile, request: Request, **more: object) -> dict[str, object]:
    """Values that follow from a profile and a request, and those given by name.

    Parameters
    ----------
    profile : ClusterProfile
    request : Request
    **more
        Such as ``STUDY=…``; they win.
    """
    options = list(profile.options)
    gpus = ""
    if profile.launcher == "pbs":
        options += [f"-A {profile.account}"] * bool(profile.account) + [f"-q {profile.qos}"] * bool(
            profile.qos
        )
        if request.gpus:
            gpus = profile.gpu_option.format(type=request.gpu_type, count=request.gpus)
    else:
        options += [f"--account={profile.account}"] * bool(profile.account)
        options += [f"--qos={profile.qos}"] * bool(profile.qos)
        if request.gpus:
            asked = profile.gpu_option.format(type=request.gpu_type, count=request.gpus)
            # without a type there is a colon too many
            options.append(asked.replace("::", ":"))
    values: dict[str, object] = {
        "TASKS": request.tasks,
        "CPUS": request.cpus,
        "PER_JOB": request.cpus,
        "MEMORY_MB": request.memory_mb,
        "MEMORY_PER_CPU_MB": profile.memory_per_cpu_mb,
        "TIME": request.time,
        "SIGNAL_S": profile.signal_s,
        "STOP_AFTER": max(request.seconds - profile.signal_s, 30),
        "ARRAY_OPTION": profile.array_option,
        "OPTIONS": options,
        "OPTIONS_LINE": " ".join(options),
        "GPUS": gpus,
        "GPU_TYPE": request.gpu_type,
        "DEVICE": "cuda" if request.gpus else "cpu",
        "MAX_REQUEUES": MAX_REQUEUES,
        "MODULES": " ".join(profile.modules),
        "ENVIRONMENT": "",
        "HPOPT_HOME": Raw("$HOME/.hpopt"),
        "LOGS": "",
        "LOG_FOLDER": "",
        "STORE": "",
        "STUDY": "mystudy",
        "STORAGE": "team",
        "SERVER": "team",
        "JOB_NAME": "hpopt",
    }
    return {**values, **more}


def default_scripts(profile: ClusterProfile | None = None) -> dict[str, str]:
    """The scripts for submission by hand, by their path below ``pace_jobs``.

    Parameters
    ----------
    profile : ClusterProfile, optional
        For Slurm; by default that of PACE ICE as this package knows it.
    """
    slurm = profile or load_profile("pace-ice")
    scripts = {}
    for name in template_names():
        kind = name.partition(".")[0]
        chosen = load_profile("pbs") if name.endswith(".pbs") else slurm
        cpus, tasks = {"tune_one_node": (8, 1), "book": (2, 1), "workers": (1, 8)}.get(kind, (1, 1))
        request = Request(
            seconds=_default_seconds(kind, chosen),
            cpus=cpus,
            memory_mb=chosen.server_memory_mb
            if kind == "server"
            else chosen.memory_per_cpu_mb * max(cpus, 1),
            tasks=tasks,
        )
        if kind == "interactive_gpu":
            request = Request(seconds=3600, cpus=4, memory_mb=16000)
        title = {"tune_one_node": "tune", "workers": "workers"}.get(kind, kind)
        scripts[f"{'pbs' if name.endswith('.pbs') else 'slurm'}/{name}"] = render(
            name, values_for(chosen, request, JOB_NAME=job_name(title))
        )
    return scripts


def _default_seconds(kind: str, profile: ClusterProfile) -> int:
    return parse_time(profile.server_time if kind == "server" else profile.time)


def write_scripts(out: Path, profile: ClusterProfile | None = None) -> list[Path]:
    """Write the scripts for submission by hand into a folder; those there are replaced."""
    paths = []
    for name, text in default_scripts(profile).items():
        path = out / name
        with atomic_path(path, overwrite=True) as temporary:
            temporary.write_text(text, encoding="utf-8")
        paths.append(path)
    return paths
