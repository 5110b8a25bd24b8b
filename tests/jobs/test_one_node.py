"""The job scripts for one node, run in a plain shell with Slurm's variables set by hand."""

from __future__ import annotations

import os
import signal
import sqlite3
import subprocess
import sys
import time
from pathlib import Path

import pytest

from hpopt_lib.data.embedded import load_embedded
from hpopt_lib.gmp.settings import GMPSettings
from hpopt_lib.inputs import Input
from hpopt_lib.preprocess import preprocess
from hpopt_lib.tuning.manage import trial_states
from hpopt_lib.tuning.storage import load_study

JOBS = Path(__file__).resolve().parents[2] / "pace_jobs"
SBATCH = JOBS / "slurm" / "tune_one_node.sbatch"
PBS = JOBS / "pbs" / "tune_one_node.pbs"


@pytest.fixture(scope="module")
def store(tmp_path_factory) -> Path:
    import ase.io

    folder = tmp_path_factory.mktemp("store")
    inputs = []
    for split in ("train", "val"):
        path = folder / f"{split}.traj"
        ase.io.write(path, load_embedded("ethanol-like", split, limit=60))
        inputs.append(Input(split, path))
    out = folder / "ethanol.lmdb"
    preprocess(inputs, out, settings=GMPSettings())
    return out


def environment(store: Path, folder: Path, **settings: str) -> dict[str, str]:
    """What Slurm would set, and the job's settings; `folder` is both submit folder and node-local disk's parent."""
    local = folder / "node-disk"
    local.mkdir(exist_ok=True)
    return {
        **os.environ,
        "SLURM_JOB_ID": "1",
        "SLURM_JOB_NAME": "teststudy",
        "SLURM_SUBMIT_DIR": str(folder),
        "SLURM_CPUS_PER_TASK": "2",
        "TMPDIR": str(local),
        "ENVIRONMENT": sys.prefix,
        "STORE": str(store),
        "SAVE_EVERY": "5",
        **settings,
    }


def run(store: Path, folder: Path, **settings: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        ["bash", str(SBATCH)], env=environment(store, folder, **settings), cwd="/", capture_output=True, text=True,
        timeout=240, check=False,
    )  # fmt: skip


def states(folder: Path) -> dict[str, int]:
    return trial_states(load_study("teststudy", f"sqlite:///{folder / 'teststudy.db'}"))


@pytest.mark.parametrize("script", [SBATCH, PBS], ids=lambda path: path.name)
def test_shell_syntax(script):
    done = subprocess.run(["bash", "-n", str(script)], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


@pytest.mark.parametrize("script", [SBATCH, PBS], ids=lambda path: path.name)
def test_asks_for_no_partition_and_holds_no_secret(script):
    directives = [line for line in script.read_text().splitlines() if line.startswith(("#SBATCH", "#PBS"))]
    assert directives
    assert not any(word in line for line in directives for word in ("partition", " -p ", " -q ", "account"))
    assert "set -euo pipefail" in script.read_text()
    assert "assword" not in script.read_text()


@pytest.mark.slow
def test_finishes_and_goes_on(store, tmp_path):
    first = run(store, tmp_path, TRIALS="2", OPTIONS="--set epochs=2 --sampler random")
    assert first.returncode == 0, first.stderr + first.stdout
    found = states(tmp_path)
    assert found["complete"] + found["pruned"] == 2
    assert not list((tmp_path / "node-disk").glob("hpopt-*")), "the node's disk was not tidied up"
    again = run(store, tmp_path, TRIALS="3", OPTIONS="--set epochs=2 --sampler random", FINAL_SEEDS="1")
    assert again.returncode == 0, again.stderr + again.stdout
    found = states(tmp_path)
    assert found["complete"] + found["pruned"] == 3
    assert (tmp_path / "teststudy-final" / "results.json").exists()


@pytest.mark.slow
def test_warning_before_the_time_limit_saves_the_finished_trials(store, tmp_path):
    log = tmp_path / "log"
    settings = {"TRIALS": "100000", "OPTIONS": "--set epochs=3 --sampler random", "SAVE_EVERY": "100000"}
    with open(log, "w") as stream:
        job = subprocess.Popen(
            ["bash", str(SBATCH)], env=environment(store, tmp_path, **settings), stdout=stream, stderr=stream
        )
        try:
            deadline = time.monotonic() + 180
            while log.read_text().count("complete") < 3:
                assert job.poll() is None and time.monotonic() < deadline, log.read_text()
                time.sleep(0.2)
            assert not (tmp_path / "teststudy.db").exists()
            # like --signal=B:TERM@120: to the batch shell only
            job.send_signal(signal.SIGTERM)
            status = job.wait(timeout=60)
        finally:
            if job.poll() is None:
                job.kill()
    text = log.read_text()
    assert status == 130, text
    assert "told to stop" in text and "the tuner ended with 130" in text
    found = states(tmp_path)
    assert found["complete"] >= 3
    assert found["running"] == 0, "a running trial must be marked as failed"
    connection = sqlite3.connect(tmp_path / "teststudy.db")
    assert connection.execute("PRAGMA integrity_check").fetchone() == ("ok",)
    connection.close()
    more = found["complete"] + found["pruned"] + 1
    again = run(store, tmp_path, TRIALS=str(more), OPTIONS=settings["OPTIONS"])
    assert again.returncode == 0, again.stderr
    found = states(tmp_path)
    assert found["complete"] + found["pruned"] == more


@pytest.mark.slow
def test_a_wrong_setting_fails_with_the_tuners_line(store, tmp_path):
    done = run(store, tmp_path, TRIALS="1", OPTIONS="--sampler guess")
    assert done.returncode == 1
    assert "--sampler: 'guess' is unknown" in done.stderr
