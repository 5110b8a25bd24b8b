"""Submit, watch and cancel jobs: three verbs, the same for every scheduler."""

from __future__ import annotations

import getpass
import os
import re
import subprocess
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from hpopt_lib.cluster.render import setting_names
from hpopt_lib.errors import HpoptError

#: States of a job as this package names them, whatever the scheduler says.
PENDING, RUNNING, DONE, STOPPED, FAILED, GONE = "pending", "running", "done", "stopped", "failed", "gone"


@dataclass(frozen=True)
class JobState:
    """State of a job, or of one job of an array.

    Attributes
    ----------
    job : str
        Number, with the place in the array: ``12_3``.
    state : str
        ``pending``, ``running``, ``done``, ``stopped``, ``failed``, or ``gone`` when the scheduler has
        forgotten it.
    detail : str
        What the scheduler says: its own state, the reason of waiting.
    node : str
    elapsed : str
    """

    job: str
    state: str
    detail: str = ""
    node: str = ""
    elapsed: str = ""

    @property
    def alive(self) -> bool:
        """Whether it runs or will run."""
        return self.state in (PENDING, RUNNING)


class Launcher(Protocol):
    """A scheduler. All that a job asks for stands in its script."""

    def command(self, script: Path) -> list[str]:
        """The command that submits a script, for people and for `submit`."""

    def submit(self, script: Path) -> str:
        """Submit a script; returns the number of the job."""

    def status(self, jobs: list[str]) -> list[JobState]:
        """States of jobs, each place of an array for itself."""

    def cancel(self, jobs: list[str]) -> None:
        """End jobs: they get SIGTERM and some seconds; no error for those that have ended."""


def make_launcher(kind: str) -> Launcher:
    """The launcher of a profile."""
    from hpopt_lib.cluster.launch_local import LocalLauncher

    if kind == "local":
        return LocalLauncher()
    return SlurmLauncher() if kind == "slurm" else PbsLauncher()


def clean_environment() -> dict[str, str]:
    """This environment without the variables that would change the settings of a script."""
    names = setting_names()
    return {key: value for key, value in os.environ.items() if key not in names}


def call(command: list[str], *, cwd: Path | None = None) -> str:
    """Output of a scheduler's command.

    Raises
    ------
    HpoptError
        When it is not there, or fails.
    """
    try:
        done = subprocess.run(
            command,
            capture_output=True,
            text=True,
            env=clean_environment(),
            cwd=cwd,
            timeout=120,
            check=False,
        )
    except FileNotFoundError:
        raise HpoptError(
            f"{command[0]}: no such command here", remedy="run it on a login node, or pass --profile local"
        ) from None
    except subprocess.TimeoutExpired:
        raise HpoptError(f"{command[0]}: no answer for two minutes", remedy="try again later") from None
    if done.returncode:
        lines = (done.stderr or done.stdout).strip().splitlines() or [f"ended with {done.returncode}"]
        raise HpoptError(
            f"{' '.join(command[:1])}: {lines[-1]}", remedy=f"the command was: {' '.join(command)}"
        )
    return done.stdout


class SlurmLauncher:
    """Slurm, through sbatch, squeue and scancel; sacct or scontrol for jobs that have left the queue."""

    STATES = {
        "COMPLETED": DONE, "CANCELLED": STOPPED, "TIMEOUT": STOPPED, "PREEMPTED": STOPPED, "RUNNING": RUNNING,
        "COMPLETING": RUNNING, "STOPPED": RUNNING, "SUSPENDED": PENDING, "PENDING": PENDING,
        "CONFIGURING": PENDING, "REQUEUED": PENDING, "REQUEUE_HOLD": PENDING, "REQUEUE_FED": PENDING,
    }  # fmt: skip

    def command(self, script: Path) -> list[str]:
        return ["sbatch", "--parsable", str(script)]

    def submit(self, script: Path) -> str:
        # the cluster's name follows after a semicolon where there are several
        return call(self.command(script), cwd=script.parent).strip().splitlines()[-1].partition(";")[0]

    def status(self, jobs: list[str]) -> list[JobState]:
        if not jobs:
            return []
        fields = "%i|%T|%M|%N|%r"
        asked = ["--noheader", "--array", "--states=all", f"--user={getpass.getuser()}", f"--format={fields}"]
        found: list[JobState] = []
        for line in call(["squeue", *asked]).splitlines():
            job, state, elapsed, node, reason = line.strip().split("|", 4)
            if job.partition("_")[0] in jobs:
                reason = "" if reason in ("None", "NonZeroExitCode") else reason
                found.append(self._state(job, state, node, elapsed, reason))
        seen = {state.job.partition("_")[0] for state in found}
        for job in jobs:
            if job not in seen:
                found += self._ended(job)
        return found

    def _state(self, job: str, state: str, node: str, elapsed: str, reason: str = "") -> JobState:
        word = state.split()[0].rstrip("+")
        detail = ", ".join(part for part in (word.lower().replace("_", " "), reason) if part)
        return JobState(job, self.STATES.get(word, FAILED), detail, node, elapsed)

    def _ended(self, job: str) -> list[JobState]:
        columns = "--format=JobID,State,NodeList,Elapsed"
        try:
            text = call(["sacct", "--noheader", "--parsable2", "--allocations", f"--jobs={job}", columns])
            rows = [line.split("|") for line in text.splitlines() if line.count("|") == 3]
        except HpoptError:
            rows = []  # a cluster without accounting
        if rows:
            return [self._state(*row) for row in rows]
        try:
            text = call(["scontrol", "--oneliner", "show", "job", job])
        except HpoptError:
            return [JobState(job, GONE, "no longer known to Slurm")]
        states = []
        for line in text.splitlines():
            values = dict(pair.split("=", 1) for pair in line.split() if "=" in pair)
            if "JobState" in values:
                place = values.get("ArrayTaskId")
                name = f"{job}_{place}" if place else job
                states.append(
                    self._state(
                        name, values["JobState"], values.get("NodeList", ""), values.get("RunTime", "")
                    )
                )
        return states or [JobState(job, GONE, "no longer known to Slurm")]

    def cancel(self, jobs: list[str]) -> None:
        if jobs:
            call(["scancel", "--quiet", *jobs])


class PbsLauncher:
    """PBS or Torque, through qsub, qstat and qdel; tried with stand-ins for these commands only."""

    STATES = {
        **dict.fromkeys("QHWTS", PENDING),
        **dict.fromkeys("RBE", RUNNING),
        **dict.fromkeys("CFX", DONE),
    }

    def command(self, script: Path) -> list[str]:
        return ["qsub", str(script)]

    def submit(self, script: Path) -> str:
        return call(self.command(script), cwd=script.parent).strip().splitlines()[-1]

    def status(self, jobs: list[str]) -> list[JobState]:
        found = []
        for job in jobs:
            try:
                text = call(["qstat", "-f", job])
            except HpoptError as error:
                if "no such command" in error.problem:
                    raise
                found.append(JobState(job, GONE, "no longer known to PBS"))
                continue
            values = dict(
                re.findall(r"^\s*(job_state|exec_host|comment|exit_status)\s*=\s*(.*)$", text, re.M)
            )
            letter = values.get("job_state", "?")
            state = self.STATES.get(letter, GONE)
            if state == DONE and values.get("exit_status", "0").strip() not in ("", "0"):
                state = FAILED
            node = values.get("exec_host", "").partition("/")[0]
            found.append(JobState(job, state, values.get("comment", f"state {letter}"), node))
        return found

    def cancel(self, jobs: list[str]) -> None:
        for job in jobs:
            try:
                call(["qdel", job])
            except HpoptError as error:
                if "no such command" in error.problem:
                    raise
