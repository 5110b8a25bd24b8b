"""A study on Slurm with a database job and an array of workers, and everything that can happen to them."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
import time
from pathlib import Path

import pytest
from optuna.trial import TrialState
from processes import find, kill
from proof import problems, summary

from hpopt_lib.cluster.server_lock import read_state
from hpopt_lib.tuning.config import TRIALS
from hpopt_lib.tuning.endpoint import read_endpoint
from hpopt_lib.tuning.storage import load_study

#: More trials than any machine finishes before the time limit, which the study shall meet; see `enough`.
EPOCHS, MANY = 120, 5000
#: Two minutes are the shortest limit that leaves a job time to work before Slurm's warning.
CLUSTER = """
profile = "test"
[test]
like = "generic-slurm"
login_nodes = []
time = "00:02:00"
server_time = "00:30:00"
memory_per_cpu_mb = 500
server_memory_mb = 1000
signal_s = 30
scratch = ""
"""
SPACE = '[lr]\ntype = "float"\nlow = 1e-3\nhigh = 1e-1\nlog = true\n'


class Run:
    """A user's folder on the cluster."""

    def __init__(self, folder: Path, store: Path, slurm) -> None:
        self.folder, self.slurm = folder, slurm
        home = folder / "home"
        home.mkdir()
        (home / "cluster.toml").write_text(CLUSTER)
        (folder / "space.toml").write_text(SPACE)
        shutil.copytree(store, folder / "store.lmdb") if store.is_dir() else shutil.copy(
            store, folder / "store.lmdb"
        )
        self.environment = {
            **os.environ,
            "HPOPT_HOME": str(home),
            "SLURM_CONF": str(slurm.conf),
            "PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}",
            "HPOPT_HEARTBEAT_S": "2",
            "HPOPT_GRACE_S": "15",
            "OMP_NUM_THREADS": "1",
        }

    def hpopt(self, *arguments: object, code: int = 0) -> str:
        done = subprocess.run(
            ["hpopt", *map(str, arguments)], env=self.environment, cwd=self.folder, capture_output=True, text=True,
            timeout=240, check=False,
        )  # fmt: skip
        assert done.returncode == code, done.stdout + done.stderr + self.logs()
        return done.stdout + done.stderr

    def submit(self, study: str, trials: int, *more: object) -> str:
        return self.hpopt(
            "pace", "submit", study, "--server", "team", "--workers", 4, "--store", "store.lmdb", "--trials", trials,
            "--space", "space.toml", "--sampler", "random", "--pruner", "none", "--set", f"epochs={EPOCHS}",
            "--set", "num_layers=2", "--set", "num_nodes=64", "--set", "batch_size=4", *more,
        )  # fmt: skip

    @property
    def server(self) -> Path:
        return self.folder / "hpopt-db-team"

    def logs(self, kind: str = "*") -> str:
        paths = sorted(self.server.glob(f"jobs/*-{kind}-*/logs/*"))
        return "".join(f"\n==> {path.name}\n{path.read_text(errors='replace')[-3000:]}" for path in paths)

    def queue(self) -> str:
        return self.slurm.call("squeue", "-h", "--array", "--format=%i|%j|%T|%r")

    def until(self, what: str, ready, seconds: float = 240) -> None:
        limit = time.monotonic() + seconds
        while not ready():
            if time.monotonic() > limit:
                pytest.fail(f"{what}: not within {seconds:.0f} s\n{self.queue()}\n{self.logs()}")
            time.sleep(0.3)

    def finished(self, study: str) -> int:
        match = re.search(r": (\d+) of \d+ trials finished", self.hpopt("pace", "status", study))
        return int(match[1]) if match else -1

    def enough(self, study: str, more: int) -> int:
        """Ask for so many trials beyond those that are known; the total of the study from then on."""
        loaded = load_study(study, "team")
        states = [trial.state for trial in loaded.get_trials(deepcopy=False)]
        total = sum(state != TrialState.FAIL for state in states) + more
        loaded.set_user_attr(TRIALS, total)
        return total

    def port(self) -> int | None:
        endpoint = read_endpoint(self.server)
        return endpoint.port if endpoint else None


@pytest.fixture(scope="module")
def run(slurm, needs, store_path, tmp_path_factory):
    needs("mariadbd")
    made = Run(tmp_path_factory.mktemp("slurm"), store_path, slurm)
    yield made
    subprocess.run(
        ["hpopt", "pace", "cancel", "--all", "--yes"], env=made.environment, check=False, capture_output=True
    )


@pytest.mark.slow
def test_a_study_survives_everything(run, monkeypatch):
    monkeypatch.setenv("HPOPT_HOME", run.environment["HPOPT_HOME"])
    said = run.submit("everything", MANY)
    assert re.search(r"server team: job \d+ submitted", said) and "hpopt pace status everything" in said
    first_port = run.port()
    assert first_port
    run.until("first trials", lambda: run.finished("everything") >= 2)

    # a worker is killed without a warning
    workers = find("worker", SLURM_CONF=str(run.slurm.conf))
    assert len(workers) == 4
    assert kill(workers[0])

    # the server is killed, and started again in its job
    assert kill(read_state(run.server).pid)
    run.until("the server's return", lambda: run.port() not in (None, first_port), 120)
    second_port = run.port()

    # Slurm's warning before the time limit of the server's job: a dump, and the job queues itself again
    [job] = re.findall(r"^(\d+)\|hpopt-server-team\|RUNNING", run.queue(), flags=re.M)
    run.slurm.call("scancel", "--signal=USR1", "--batch", job)
    run.until("the server's end", lambda: run.port() is None, 60)
    run.until("the server's return", lambda: run.port() not in (None, second_port), 120)
    third_port = run.port()
    assert "told to stop (USR1)" in (log := run.logs("server")) and "server team, start 1" in log
    assert list((run.server / "dumps").iterdir())

    # the jobs reach their time limit: USR1, then they queue themselves again
    run.until("the time limit", lambda: "told to stop (USR1)" in run.logs("workers"), 180)
    run.until("going back into the queue", lambda: "queueing the job again" in run.logs("workers"), 60)

    total = run.enough("everything", 12)
    run.until("the end of the study", lambda: run.finished("everything") >= total, 500)
    run.until("the end of the workers", lambda: "hpopt-work" not in run.queue(), 120)
    study = load_study("everything", "team")
    assert problems(study, total, epochs=EPOCHS) == [], run.logs()
    causes = {trial.user_attrs.get("cause") for trial in study.trials} - {None}
    assert {"lost", "stopped"} <= causes, "the faults have not reached a trial"
    assert any(trial.user_attrs.get("resumed_epoch", 0) > 0 for trial in study.trials)
    hosts = {trial.user_attrs["host"] for trial in study.trials if "host" in trial.user_attrs}
    assert len(hosts) >= 3, "an array spreads over the nodes"
    print(f"\n{summary(study)}; ports {first_port}, {second_port}, {third_port}; hosts {sorted(hosts)}")
    # a job must queue itself again, not its whole array
    for path in run.server.glob("jobs/*-workers-*/logs/*"):
        text = path.read_text()
        assert text.count("queueing the job again") == len(re.findall(r", start [1-9]", text)), text


@pytest.mark.slow
def test_the_server_moves_and_workers_are_cancelled(run, monkeypatch):
    """Continues on the server of the test before, which is in its job still."""
    monkeypatch.setenv("HPOPT_HOME", run.environment["HPOPT_HOME"])
    said = run.submit("moving", MANY, "--workers-per-job", 2)
    assert re.search("server team: (runs|its job .* was submitted before|job .* submitted)", said)
    run.until("first trials", lambda: run.finished("moving") >= 1)
    before = run.port()
    [job] = re.findall(r"^(\d+)\|hpopt-server-team\|RUNNING", run.queue(), flags=re.M)
    # what a drained node does to a job: stopped cleanly, then somewhere else
    run.slurm.call("scontrol", "requeue", job)
    run.until("the server's return", lambda: run.port() not in (None, before), 180)
    count = run.finished("moving")
    run.until("more trials", lambda: run.finished("moving") > count, 120)

    text = run.hpopt("pace", "status", "moving")
    assert "server team: answers" in text and "last sign of life" in text and "running on n" in text
    assert "study moving on team, 2 worker(s)" in run.hpopt("pace", "logs", "moving", "--lines", 200)
    assert "server team: answers" in run.hpopt("pace", "doctor", "--server", "team")
    run.hpopt("pace", "cancel", "moving")
    run.until("the end of the workers", lambda: "hpopt-work" not in run.queue(), 60)
    assert "told to stop (TERM)" in run.logs()
    study = load_study("moving", "team")
    states = [trial.state.name for trial in study.trials]
    assert "RUNNING" not in states and "WAITING" in states, "cancelled workers put their trials back"

    # and the same command goes on
    total = run.enough("moving", 6)
    run.submit("moving", total, "--workers-per-job", 2)
    run.until("the end of the study", lambda: run.finished("moving") >= total, 500)
    run.until("the end of the workers", lambda: "hpopt-work" not in run.queue(), 120)
    study = load_study("moving", "team")
    assert problems(study, total, epochs=EPOCHS) == [], run.logs()
    print(f"\n{summary(study)}")
    run.hpopt("pace", "cancel", "moving", "--all")
    run.until("the server's end", lambda: run.port() is None and not run.queue(), 60)
    assert list((run.server / "dumps").iterdir()), "a clean end leaves a dump"
