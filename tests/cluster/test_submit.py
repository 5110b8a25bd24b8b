"""`hpopt pace submit` and what follows it: dry runs that change nothing, and real runs on this computer."""

from __future__ import annotations

import json
import os
import re
import subprocess
import time
from pathlib import Path

import pytest
from click.testing import CliRunner

from hpopt_lib.cli import main
from hpopt_lib.cluster import records
from hpopt_lib.cluster.request import worker_request
from hpopt_lib.cluster.settings import load_profile
from hpopt_lib.cluster.submission import Submission
from hpopt_lib.cluster.submit import ensure_server
from hpopt_lib.errors import HpoptError

SPACE = '[lr]\ntype = "float"\nlow = 1e-3\nhigh = 1e-1\nlog = true\n'
SMALL = [
    "--set",
    "epochs=2",
    "--set",
    "num_layers=1",
    "--set",
    "num_nodes=4",
    "--sampler",
    "random",
    "--pruner",
    "none",
]


def hpopt(*arguments: object, code: int = 0) -> str:
    result = CliRunner().invoke(main, [str(a) for a in arguments], catch_exceptions=False)
    assert result.exit_code == code, result.output
    return result.output


def tree(folder: Path) -> set[str]:
    return {str(path) for path in folder.rglob("*")}


@pytest.fixture
def here(home, tmp_path, monkeypatch) -> Path:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("PATH", f"{Path(os.sys.executable).parent}:{os.environ['PATH']}")
    (tmp_path / "space.toml").write_text(SPACE)
    return tmp_path


@pytest.fixture
def nowhere(here, monkeypatch):
    """No scheduler may be called."""
    for name in ("sbatch", "qsub", "squeue", "qstat"):
        path = here / "bin" / name
        path.parent.mkdir(exist_ok=True)
        path.write_text(f"#!/bin/bash\ntouch {here}/CALLED\nexit 1\n")
        path.chmod(0o755)
    monkeypatch.setenv("PATH", f"{here}/bin:{os.environ['PATH']}")
    return here


@pytest.mark.parametrize(
    ("profile", "submits"), [("pace-ice", "sbatch --parsable"), ("pbs", "qsub"), ("local", "bash")]
)
def test_dry_run_shows_all_and_changes_nothing(nowhere, store_path, profile, submits):
    before = tree(nowhere)
    text = hpopt(
        "pace", "submit", "mystudy", "--store", store_path, "--trials", 40, "--space", "space.toml", "--workers", 6,
        "--workers-per-job", 2, "--server", "team", "--profile", profile, "--dry-run",
    )  # fmt: skip
    assert tree(nowhere) == before
    assert f"hpopt db init team --dir {nowhere}/hpopt-db-team" in text
    assert len(re.findall(f"^{submits} .*DATE-server-team/server", text, flags=re.M)) == 1
    assert len(re.findall(f"^{submits} .*DATE-workers-mystudy/workers", text, flags=re.M)) == 1
    assert "is made when it is new" in text and "STUDY=${STUDY:-mystudy}" in text
    assert ("--array=1-3" in text) == (profile != "pbs")
    staged = f"STORE=${{STORE:-{store_path}}}"
    assert (staged in text) == (profile != "local")


def test_dry_run_says_what_is_wrong(nowhere, store_path):
    common = ["pace", "submit", "s", "--profile", "pace-ice", "--dry-run"]
    assert "576 CPU-hours" in hpopt(
        *common, "--workers", 24, "--workers-per-job", 24, "--time", "24:00:00", code=1
    )
    assert "--sampler: belongs to a new study" in hpopt(*common, "--sampler", "gp", code=1)
    assert "file locks do not work between nodes" in hpopt(*common, "--storage", "sqlite:///a.db", code=1)
    said = hpopt(*common, "--storage", "mysql+pymysql://me:geheim@node/db", code=1)
    assert "a password would stand in the job script" in said and "geheim" not in said
    assert "--server and --storage: both" in hpopt(
        *common, "--server", "a", "--storage", "sqlite:///a.db", code=1
    )
    assert "no-such.lmdb" in hpopt(*common, "--store", "no-such.lmdb", code=1)


def test_scratch_is_preferred(nowhere):
    (nowhere / "scratch").mkdir()
    text = hpopt("pace", "submit", "s", "--profile", "pace-ice", "--dry-run")
    assert f"--dir {nowhere}/scratch/hpopt-db-hpopt" in text


def wait_for(study: str, storage: str, seconds: float = 120) -> str:
    limit = time.monotonic() + seconds
    while True:
        text = hpopt("pace", "status", study, "--storage", storage)
        if not re.search(": (running|pending)", text):
            return text
        assert time.monotonic() < limit, text
        time.sleep(0.5)


@pytest.mark.slow
def test_local_run_in_an_sqlite_file(here, store_path):
    storage = f"sqlite:///{here}/studies.db"
    command = [
        "pace", "submit", "my study", "--profile", "local", "--storage", "sqlite:///studies.db", "--workers", 2,
        "--store", store_path, "--trials", 4, "--space", "space.toml", *SMALL,
    ]  # fmt: skip
    text = hpopt(*command)
    assert "hpopt pace status 'my study'" in text
    text = wait_for("my study", storage)
    assert "4 of 4 trials finished" in text and "best: " in text and text.count("done (exit status 0)") == 2
    [record] = records.read_records("my study")
    folder = Path(record.folder)
    note = json.loads((folder / "record.json").read_text())
    assert note["job"] == record.job and note["workers"] == 2 and Path(note["script"]).exists()
    assert folder.stat().st_mode & 0o077 == 0
    assert "the study has its trials" in hpopt("pace", "logs", "my study")
    assert "nothing to do" in hpopt(*command)
    # more trials: the study goes on
    hpopt(
        "pace",
        "submit",
        "my study",
        "--profile",
        "local",
        "--storage",
        storage,
        "--workers",
        1,
        "--trials",
        5,
    )
    assert "5 of 5 trials finished" in wait_for("my study", storage)


@pytest.mark.slow
def test_cancelled_workers_put_their_trials_back(here, store_path):
    storage = f"sqlite:///{here}/studies.db"
    hpopt(
        "pace", "submit", "s", "--profile", "local", "--storage", storage, "--workers", 2, "--workers-per-job", 2,
        "--store", store_path, "--trials", 1000, "--space", "space.toml", *SMALL, "--set", "epochs=20",
    )  # fmt: skip
    limit = time.monotonic() + 60
    while " complete" not in hpopt("pace", "status", "s"):
        assert time.monotonic() < limit
        time.sleep(0.5)
    assert "cancelled: local-" in hpopt("pace", "cancel", "s")
    text = hpopt("pace", "status", "s")
    assert "stopped (exit status 75)" in text and "running" not in text
    assert "no job was running" in hpopt("pace", "cancel", "--yes")


def test_unknown_study(here):
    assert "nothing was submitted yet" in hpopt("pace", "status")
    assert "study 'x': no job was submitted for it" in hpopt("pace", "status", "x", code=1)
    said = hpopt("pace", "submit", "x", "--profile", "local", "--storage", "sqlite:///none.db", code=1)
    assert "none.db" in said and not list(here.rglob("none.db*"))


@pytest.fixture
def queue(here, monkeypatch, needs):
    """A Slurm whose jobs wait for ever, or say what the file `state` says."""
    needs("mariadbd")
    folder = here / "bin"
    folder.mkdir()
    bodies = {
        "sbatch": f"echo x >>{here}/submitted; echo 7",
        "squeue": f'echo "7|$(cat {here}/state)|0:00||Priority"',
    }
    for name, body in bodies.items():
        (folder / name).write_text(f"#!/bin/bash\n{body}\n")
        (folder / name).chmod(0o755)
    (here / "state").write_text("PENDING")
    monkeypatch.setenv("PATH", f"{folder}:{os.environ['PATH']}")
    return here


def submission(wait_s: float) -> Submission:
    profile = load_profile("generic-slurm")
    return Submission("s", profile, worker_request(profile, workers=1), "team", None, wait_s)


def test_a_server_that_waits_in_the_queue_is_found_again(queue):
    for _ in range(2):
        with pytest.raises(
            HpoptError, match="job 7 does not answer after .*Priority.*the same command goes on"
        ):
            ensure_server(submission(0.5))
    assert (queue / "submitted").read_text() == "x\n", (
        "the pending job must be found, not a second one submitted"
    )


def test_a_server_job_that_ends_is_said(queue):
    with pytest.raises(HpoptError, match="goes on"):
        ensure_server(submission(0.2))
    (queue / "state").write_text("FAILED")
    with pytest.raises(HpoptError, match=r"its job 7 has ended \(failed, Priority\)"):
        ensure_server(submission(5))
    assert (queue / "submitted").read_text() == "x\nx\n", "a new job is submitted when the last one has ended"


def test_the_scripts_of_the_server_and_workers_are_kept(queue):
    with pytest.raises(HpoptError):
        ensure_server(submission(0.2))
    [record] = records.read_records(storage="team", kind="server")
    text = Path(record.script).read_text()
    assert record.job == "7" and "SERVER=${SERVER:-team}" in text
    done = subprocess.run(
        ["grep", "-rl", "password", record.folder], capture_output=True, text=True, check=False
    )
    assert done.stdout.splitlines() in ([], [record.script])  # the word in its comment
