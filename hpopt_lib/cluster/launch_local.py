"""Jobs as processes of this computer: bash runs the scripts of the cluster, each in its own session."""

from __future__ import annotations

import os
import re
import secrets
import signal
import subprocess
import time
from pathlib import Path

from hpopt_lib.cluster.launchers import DONE, FAILED, GONE, RUNNING, STOPPED, JobState, clean_environment
from hpopt_lib.cluster.server_lock import is_alive, process_start
from hpopt_lib.errors import HpoptError
from hpopt_lib.tuning.endpoint import hpopt_home

#: Seconds that a job has to end after SIGTERM.
KILL_WAIT_S = 60.0
#: Runs a script, notes its process at once and its exit status at the end. The script is the one that gets
#: signals: it hands them on, as it does on a cluster.
_WRAPPER = """
{
    bash "$1" >>"$2" 2>&1 </dev/null &
    echo $! >"$3.part"; mv "$3.part" "$3.pid"
    wait $!
    echo $? >"$3.part"; mv "$3.part" "$3.rc"
} &
"""


class LocalLauncher:
    """This computer. Job numbers look like ``local-4f2a81``; notes about them are in the user's folder."""

    @property
    def folder(self) -> Path:
        """Where process numbers and exit statuses are noted."""
        return hpopt_home() / "local-jobs"

    def command(self, script: Path) -> list[str]:
        return ["bash", str(script)]

    def submit(self, script: Path) -> str:
        text = script.read_text(encoding="utf-8")
        array = re.search(r"^#SBATCH --array=1-(\d+)", text, flags=re.M)
        name = re.search(r"^#SBATCH --job-name=(\S+)", text, flags=re.M)
        output = re.search(r"^#SBATCH --output=(.+)$", text, flags=re.M)
        pattern = output[1] if output else "%x-%j.log"
        job = f"local-{secrets.token_hex(3)}"
        self.folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        for task in range(1, int(array[1]) + 1) if array else [0]:
            note = self.folder / (f"{job}_{task}" if task else job)
            log = (
                pattern.replace("%x", name[1] if name else script.stem)
                .replace("%j", job)
                .replace("%A", job)
                .replace("%a", str(task))
            )
            try:
                subprocess.run(
                    ["bash", "-c", _WRAPPER, "hpopt-job", str(script), str(script.parent / log), str(note)],
                    stdin=subprocess.DEVNULL,
                    stdout=subprocess.DEVNULL,
                    stderr=subprocess.DEVNULL,
                    env=_outside_of_jobs(),
                    cwd=script.parent,
                    start_new_session=True,
                    umask=0o077,
                    check=False,
                )
            except FileNotFoundError:
                raise HpoptError("bash: no such command here", remedy="install it") from None
            self._wait_for(note.with_name(f"{note.name}.pid"))
        return job

    def _wait_for(self, path: Path) -> None:
        limit = time.monotonic() + 30
        while not path.exists():
            if time.monotonic() > limit:
                raise HpoptError(
                    f"{path}: the job does not start", remedy="look for free memory and disk space"
                )
            time.sleep(0.01)
        # the number alone is not enough: it may be given to another process later
        pid = path.read_text().strip()
        path.write_text(f"{pid} {process_start(int(pid))}\n")

    def _notes(self, job: str) -> list[Path]:
        paths = [*self.folder.glob(f"{job}.pid"), *self.folder.glob(f"{job}_*.pid")]
        return sorted(paths, key=lambda path: int(path.stem.rpartition("_")[2]) if "_" in path.stem else 0)

    def status(self, jobs: list[str]) -> list[JobState]:
        found = []
        for job in jobs:
            notes = self._notes(job)
            found += [self._state(note) for note in notes] or [JobState(job, GONE, "no longer known")]
        return found

    def _state(self, note: Path) -> JobState:
        pid, start = _process(note)
        alive = is_alive(pid, start)
        if not alive and not note.with_suffix(".rc").exists():
            time.sleep(0.3)  # it may have ended in this very moment
        try:
            code = int(note.with_suffix(".rc").read_text())
        except (OSError, ValueError):
            if alive:
                seconds = int(time.time() - note.stat().st_mtime)
                elapsed = f"{seconds // 3600}:{seconds // 60 % 60:02d}:{seconds % 60:02d}"
                return JobState(note.stem, RUNNING, f"process {pid}", os.uname().nodename, elapsed)
            return JobState(note.stem, FAILED, "killed")
        state = DONE if code == 0 else STOPPED if code in (75, 143) else FAILED
        return JobState(note.stem, state, f"exit status {code}")

    def cancel(self, jobs: list[str]) -> None:
        notes = [note for job in jobs for note in self._notes(job)]
        for note in notes:
            _signal(note, signal.SIGTERM)
        limit = time.monotonic() + KILL_WAIT_S
        while (left := [note for note in notes if is_alive(*_process(note))]) and time.monotonic() < limit:
            time.sleep(0.1)
        for note in left:
            _signal(note, signal.SIGKILL)


def _process(note: Path) -> tuple[int, str]:
    pid, _, start = note.read_text().strip().partition(" ")
    return int(pid), start


def _signal(note: Path, number: signal.Signals) -> None:
    pid, start = _process(note)
    if not is_alive(pid, start):
        return
    try:
        if number == signal.SIGKILL:
            os.killpg(os.getpgid(pid), number)  # the script's children with it
        else:
            os.kill(pid, number)
    except ProcessLookupError:
        pass


def _outside_of_jobs() -> dict[str, str]:
    """The environment without what a surrounding batch job says about itself, but its time limit."""
    keep = {"SLURM_JOB_END_TIME", "SLURM_CONF"}
    return {
        key: value
        for key, value in clean_environment().items()
        if key in keep or not key.startswith(("SLURM_", "PBS_"))
    }
