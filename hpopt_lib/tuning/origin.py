"""Where and with what a trial was computed."""

from __future__ import annotations

import functools
import os
import socket
import subprocess
from pathlib import Path

import hpopt_lib
from hpopt_lib.errors import HpoptError


def resolve_device(name: str) -> str:
    """``cpu`` or ``cuda``; ``auto`` means ``cuda`` where there is one.

    Raises
    ------
    HpoptError
        For another name, or ``cuda`` where there is none.
    """
    import torch

    if name == "auto":
        return "cuda" if torch.cuda.is_available() else "cpu"
    if name not in ("cpu", "cuda"):
        raise HpoptError(f"--device: {name!r} is unknown", remedy="use auto, cpu or cuda")
    if name == "cuda" and not torch.cuda.is_available():
        raise HpoptError(
            "--device cuda: this node has no GPU that PyTorch can use",
            remedy="pass --device cpu, or ask for a GPU and a CUDA build of torch",
        )
    return name


@functools.cache
def origin() -> dict[str, str]:
    """Host, batch job and commit of this process, for the user attributes of trials."""
    array = os.environ.get("SLURM_ARRAY_JOB_ID")
    job = f"{array}_{os.environ.get('SLURM_ARRAY_TASK_ID')}" if array else os.environ.get("SLURM_JOB_ID")
    return {
        "host": os.environ.get("SLURMD_NODENAME") or socket.gethostname(),
        "job_id": job or os.environ.get("PBS_JOBID") or "",
        "commit": _commit(),
    }


def _commit() -> str:
    """Short commit of the package's checkout, with a plus when files differ; its version without git."""
    folder = Path(hpopt_lib.__file__).resolve().parent
    try:
        described = subprocess.run(
            ["git", "-C", str(folder), "describe", "--always", "--dirty=+", "--exclude", "*"],
            capture_output=True, text=True, timeout=10, check=True,
        )  # fmt: skip
    except (OSError, subprocess.SubprocessError):
        return f"hpopt {hpopt_lib.__version__}"
    return described.stdout.strip()
