"""Launchers: processes of this computer for real, PBS and Slurm with stand-ins for their commands."""

from __future__ import annotations

import os
import time
from pathlib import Path

import pytest

from hpopt_lib.cluster.launchers import PbsLauncher, SlurmLauncher, make_launcher
from hpopt_lib.errors import HpoptError


def until(condition, seconds: float = 20.0):
    limit = time.monotonic() + seconds
    while not (value := condition()):
        assert time.monotonic() < limit, "it does not happen"
        time.sleep(0.05)
    return value


def script(folder: Path, body: str, *, array: int = 0) -> Path:
    path = folder / "job.sbatch"
    lines = ["#!/bin/bash", "#SBATCH --job-name=try", *([f"#SBATCH --array=1-{array}"] if array else [])]
    path.write_text(
        "\n".join([*lines, f"#SBATCH --output={folder}/%x-{'%A_%a' if array else '%j'}.log", body, ""])
    )
    return path


def command(folder: Path, name: str, body: str) -> None:
    """A stand-in for a scheduler's command; it notes how it was called."""
    folder.mkdir(exist_ok=True)
    path = folder / name
    path.write_text(f'#!/bin/bash\necho "{name} $*" >>"{folder}/calls"\n{body}\n')
    path.chmod(0o755)


@pytest.fixture
def fake(tmp_path, monkeypatch):
    folder = tmp_path / "bin"
    folder.mkdir()
    monkeypatch.setenv("PATH", f"{folder}:{os.environ['PATH']}")
    return folder


def test_local_array_runs_and_ends(home, tmp_path):
    local = make_launcher("local")
    job = local.submit(script(tmp_path, 'echo "here $STUDY"; exit 0', array=3))
    states = until(lambda: (s := local.status([job])) and all(not x.alive for x in s) and s)
    assert [(s.job, s.state) for s in states] == [(f"{job}_{k}", "done") for k in (1, 2, 3)]
    assert (tmp_path / f"try-{job}_2.log").read_text() == "here \n"


def test_local_keeps_settings_of_the_environment_out(home, tmp_path, monkeypatch):
    monkeypatch.setenv("STUDY", "of somebody else")
    monkeypatch.setenv("SLURM_JOB_ID", "77")
    local = make_launcher("local")
    job = local.submit(script(tmp_path, 'echo "${STUDY:-mine} ${SLURM_JOB_ID:-none}"'))
    until(lambda: not local.status([job])[0].alive)
    assert (tmp_path / f"try-{job}.log").read_text() == "mine none\n"


@pytest.mark.parametrize(("code", "state"), [(75, "stopped"), (1, "failed")])
def test_local_exit_status(home, tmp_path, code, state):
    local = make_launcher("local")
    job = local.submit(script(tmp_path, f"exit {code}"))
    found = until(lambda: (s := local.status([job])[0]) and not s.alive and s)
    assert (found.state, found.detail) == (state, f"exit status {code}")


def test_local_cancel_signals_the_script_alone(home, tmp_path):
    body = "trap 'echo told; kill $child' TERM\nsleep 60 & child=$!\necho up\nwait $child; exit 75"
    local = make_launcher("local")
    job = local.submit(script(tmp_path, body))
    log = tmp_path / f"try-{job}.log"
    until(lambda: "up" in log.read_text())
    assert local.status([job])[0].state == "running"
    local.cancel([job])
    assert until(lambda: (s := local.status([job])[0]) and not s.alive and s).state == "stopped"
    assert log.read_text() == "up\ntold\n"
    local.cancel([job])  # has ended: nothing happens
    assert local.status(["local-none"])[0].state == "gone"


def test_local_killed_job_is_seen(home, tmp_path):
    local = make_launcher("local")
    job = local.submit(script(tmp_path, "kill -9 $$"))
    found = until(lambda: (s := local.status([job])[0]) and not s.alive and s)
    assert found.state == "failed"


def test_pbs_commands(fake, tmp_path):
    command(fake, "qsub", "echo 41.pbs-server")
    command(fake, "qdel", "exit 0")
    command(
        fake, "qstat",
        'case $2 in 41*) printf "Job Id: 41\\n    job_state = R\\n    exec_host = n3/0\\n";;\n'
        '42*) printf "    job_state = F\\n    exit_status = 1\\n";;\n43*) printf "    job_state = C\\n    exit_status = 0\\n";;\n'
        '44*) printf "    job_state = Q\\n    comment = Not enough nodes\\n";;\n*) echo "Unknown Job Id" >&2; exit 153;; esac',
    )  # fmt: skip
    pbs, path = PbsLauncher(), tmp_path / "workers.pbs"
    path.write_text("#!/bin/bash\n")
    assert pbs.submit(path) == "41.pbs-server"
    found = pbs.status(["41", "42", "43", "44", "45"])
    assert [s.state for s in found] == ["running", "failed", "done", "pending", "gone"]
    assert found[0].node == "n3" and found[3].detail == "Not enough nodes"
    pbs.cancel(["41"])
    calls = (fake / "calls").read_text().splitlines()
    assert calls[0] == f"qsub {path}" and calls[-1] == "qdel 41"


def test_slurm_states_from_queue_accounts_and_memory(fake, tmp_path):
    command(
        fake, "squeue",
        "printf '12_1|RUNNING|1:02|n1|None\\n12_2|PENDING|0:00||Resources\\n13|TIMEOUT|2:00|n2|None\\n99|RUNNING|0:01|n9|None\\n'",
    )  # fmt: skip
    command(fake, "sacct", '[[ $* == *--jobs=20* ]] && echo "20|CANCELLED by 0|n1|0:30" || exit 1')
    command(
        fake, "scontrol",
        '[[ $4 == 21 ]] && echo "JobId=21 JobState=COMPLETED RunTime=00:01:00 NodeList=n2" || { echo "Invalid job id specified" >&2; exit 1; }',
    )  # fmt: skip
    states = SlurmLauncher().status(["12", "13", "20", "21", "22"])
    assert [(s.job, s.state) for s in states] == [
        ("12_1", "running"), ("12_2", "pending"), ("13", "stopped"), ("20", "stopped"), ("21", "done"), ("22", "gone"),
    ]  # fmt: skip
    assert states[1].detail == "pending, Resources"


def test_slurm_submit(fake, tmp_path, monkeypatch):
    command(fake, "sbatch", 'echo "study=${STUDY:-}" >>"$(dirname "$0")/calls"; echo "123;cluster"')
    monkeypatch.setenv("STUDY", "of somebody else")
    path = tmp_path / "x.sbatch"
    path.write_text("#!/bin/bash\n")
    assert SlurmLauncher().submit(path) == "123"
    assert (fake / "calls").read_text() == f"sbatch --parsable {path}\nstudy=\n"


def test_a_refused_job_is_one_line(fake, tmp_path):
    command(fake, "sbatch", 'echo "sbatch: error: QOSMaxGRESMinutesPerJob" >&2; exit 1')
    with pytest.raises(HpoptError, match="sbatch: sbatch: error: QOSMaxGRESMinutesPerJob; the command was"):
        SlurmLauncher().submit(tmp_path / "x.sbatch")


def test_no_scheduler_here(monkeypatch, tmp_path):
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(HpoptError, match="qsub: no such command here"):
        PbsLauncher().submit(tmp_path / "x.pbs")
