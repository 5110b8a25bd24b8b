"""The command `hpopt` inside a chapter, shown as a person would type it."""

from __future__ import annotations

import os
import shlex
import subprocess
import sys
from pathlib import Path

from hpopt_lib.errors import HpoptError


def terminal(command: str, *, cwd: str | Path = ".", log: bool = False) -> str:
    """Run an `hpopt` command with this very Python and print it with what it answers.

    The shell is not involved, so it works whether or not ``hpopt`` is on the path.

    Parameters
    ----------
    command : str
        Beginning with ``hpopt``.
    cwd : str or Path
        Folder in which the command runs.
    log : bool
        Show also the lines about progress, which go to standard error.

    Returns
    -------
    str
        Standard output.

    Raises
    ------
    HpoptError
        When the command fails, with its own message.
    """
    words = shlex.split(command)
    if words[:1] != ["hpopt"]:
        raise HpoptError(f"terminal: {command!r}: not an hpopt command", remedy="begin with hpopt")
    program = [sys.executable, "-c", "from hpopt_lib.cli import main; main(prog_name='hpopt')", *words[1:]]
    # several threads in each of several processes only get in each other's way
    environment = {"OMP_NUM_THREADS": "1", **os.environ, "PYTHONUNBUFFERED": "1"}
    done = subprocess.run(program, cwd=cwd, capture_output=True, text=True, check=False, env=environment)
    if done.returncode:
        raise HpoptError(f"{command}: {done.stderr.strip().splitlines()[-1:] or done.returncode}")
    answer = (done.stdout + (done.stderr if log else "")).rstrip()
    print(f"$ {command}\n{answer}".rstrip())
    return done.stdout
