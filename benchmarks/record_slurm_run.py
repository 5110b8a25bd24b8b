"""Record a study on a one-machine Slurm with a private database server, for the chapter on PACE.

    python benchmarks/record_slurm_run.py [--trials 48] [--workers 6] [--out book/results/slurm_run.json]

Needs Slurm, munge and MariaDB or MySQL (Debian: slurm-wlm munge mariadb-server-core). While the study runs a
worker is killed without a warning, the job of the database is queued again, and the workers reach their time
limit. What is written comes from the database and from looks at the server twice a second; paths and the
name of the computer are left out.
"""

from __future__ import annotations

import argparse
import datetime
import getpass
import json
import os
import platform
import re
import shlex
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import time
from collections import Counter
from pathlib import Path
from typing import Any

from measure import commit, machine

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT / "tests" / "cluster"))

from processes import find, kill  # noqa: E402
from proof import problems, summary  # noqa: E402
from slurm import Slurm  # noqa: E402

from hpopt_lib.cluster.submit import server_is_up  # noqa: E402
from hpopt_lib.errors import HpoptError  # noqa: E402
from hpopt_lib.files import atomic_path  # noqa: E402
from hpopt_lib.report.recorded_study import first_start, record_trials  # noqa: E402
from hpopt_lib.tuning.config import finished  # noqa: E402
from hpopt_lib.tuning.storage import load_study  # noqa: E402
from hpopt_lib.workspace import embedded_store  # noqa: E402

#: The cluster's own short limits, so that workers reach theirs within minutes.
TIME_LIMIT = "00:04:00"
CLUSTER = f"""
profile = "one-machine"
[one-machine]
like = "generic-slurm"
login_nodes = []
time = "{TIME_LIMIT}"
server_time = "00:30:00"
memory_per_cpu_mb = 500
server_memory_mb = 1000
signal_s = 30
scratch = ""
"""
#: Signs of life are asked for more often than by default (15 and 120 s), so that the run is short.
HEARTBEAT = {"HPOPT_HEARTBEAT_S": "2", "HPOPT_GRACE_S": "15"}
STUDY, SERVER = "mystudy", "team"


class Recorder:
    """A user's folder on the cluster, and what happens there.

    Parameters
    ----------
    folder : Path
    slurm : Slurm
    """

    def __init__(self, folder: Path, slurm: Slurm) -> None:
        self.folder, self.slurm = folder, slurm
        (folder / "home").mkdir()
        (folder / "home" / "cluster.toml").write_text(CLUSTER)
        shutil.copy(embedded_store("oc20-like", stride=4).path, folder / "oc20-like.lmdb")
        path = f"{Path(sys.executable).parent}:{os.environ['PATH']}"
        home = {"HPOPT_HOME": str(folder / "home")}
        self.environment = {**slurm.environment, **home, **HEARTBEAT, "PATH": path, "OMP_NUM_THREADS": "1"}
        os.environ.update(home)
        self.events: list[tuple[datetime.datetime, str]] = []
        self.outages: list[list[datetime.datetime]] = []
        self.over = threading.Event()

    def hpopt(self, command: str) -> str:
        """What a command answers, without paths and the computer's name."""
        done = subprocess.run(
            ["hpopt", *shlex.split(command)], env=self.environment, cwd=self.folder, capture_output=True,
            text=True, check=False,
        )  # fmt: skip
        if done.returncode:
            raise SystemExit(f"hpopt {command}: {done.stdout}{done.stderr}")
        return self.clean(done.stdout + done.stderr)

    def clean(self, text: str) -> str:
        """Put stand-ins where paths, addresses and names of this computer are."""
        text = text.replace(str(self.folder), "~/scratch")
        text = re.sub(rf"\b{re.escape(socket.gethostname())}\b", "node", text)
        return re.sub(r"\b\d+\.\d+\.\d+\.\d+\b", "ADDRESS", text)

    def note(self, what: str) -> None:
        """Remember what was done, and when."""
        self.events.append((datetime.datetime.now(datetime.timezone.utc), what))
        print(f"{self.events[-1][0]:%H:%M:%S} {what}", flush=True)

    def watch(self) -> None:
        """Note when the server answers and when not, until `over` is set."""
        was_up = True
        while not self.over.wait(0.5):
            up = server_is_up(SERVER)
            now = datetime.datetime.now(datetime.timezone.utc)
            if was_up and not up:
                self.outages.append([now])
            elif up and not was_up:
                self.outages[-1].append(now)
                print(f"{now:%H:%M:%S} the database answers again", flush=True)
            was_up = up

    def finished(self) -> int:
        """Finished trials; -1 while the server is away."""
        try:
            return finished(load_study(STUDY, SERVER)) if server_is_up(SERVER) else -1
        except HpoptError:
            return -1

    def until(self, ready: Any, what: str, seconds: float = 600) -> None:
        """Wait."""
        limit = time.monotonic() + seconds
        while not ready():
            if time.monotonic() > limit:
                logs = "".join(
                    path.read_text()[-1500:] for path in self.folder.glob("hpopt-db-*/jobs/*/logs/*")
                )
                raise SystemExit(f"{what}: not within {seconds:.0f} s\n{self.queue()}\n{logs}")
            time.sleep(1)

    def queue(self) -> str:
        """The cluster's queue."""
        return self.slurm.call("squeue", "-h", "--array", "--format=%i|%j|%T|%r")

    def run(self, trials: int, workers: int, epochs: int) -> dict[str, Any]:
        """Run the study to its end, with three faults on the way."""
        command = (
            f"pace submit {STUDY} --store oc20-like.lmdb --trials {trials} --workers {workers} "
            f"--server {SERVER} --set epochs={epochs}"
        )
        said = self.hpopt(command)
        threading.Thread(target=self.watch, daemon=True).start()
        self.until(lambda: self.finished() >= trials // 6, "first trials")
        status = self.hpopt(f"pace status {STUDY}")
        running = find("worker", SLURM_CONF=str(self.slurm.conf))
        kill(running[len(running) // 2])
        self.note("kill -9 of a worker")
        self.until(lambda: self.finished() >= trials // 3, "a third of the trials")
        [job] = re.findall(r"^(\d+)\|hpopt-server-\S+\|RUNNING", self.queue(), flags=re.M)
        self.slurm.call("scontrol", "requeue", job)
        self.note("scontrol requeue of the database's job")
        self.until(lambda: self.finished() >= trials, "the end of the study", 900)
        self.note("the study has its trials")
        self.until(lambda: "hpopt-work" not in self.queue(), "the end of the workers")
        self.over.set()
        study = load_study(STUDY, SERVER)
        found = problems(study, trials)
        zero = first_start(study).replace(tzinfo=datetime.timezone.utc)
        logs = "".join(path.read_text() for path in sorted(self.folder.glob("hpopt-db-*/jobs/*/logs/*")))
        product = re.search(r"answers \((.+?) on ", status)

        def seconds(moment: datetime.datetime) -> float:
            return round((moment - zero).total_seconds(), 2)

        record = {
            "about": "a study on a one-machine Slurm; made by benchmarks/record_slurm_run.py",
            "date": f"{zero:%Y-%m-%d}",
            "commit": commit(),
            "hardware": machine(),
            "versions": {
                "python": platform.python_version(),
                "optuna": __import__("optuna").__version__,
                "database": product[1] if product else "",
                "slurm": self.slurm.call("sinfo", "--version"),
            },
            "nodes": self.slurm.nodes,
            "profile": CLUSTER.strip(),
            "environment": HEARTBEAT,
            "command": f"hpopt {command}",
            "answer": said.splitlines(),
            "status": status.splitlines(),
            "time_limit": TIME_LIMIT,
            "wanted": trials,
            "workers": workers,
            "epochs": epochs,
            "proof": {"problems": found, "summary": summary(study)},
            "told_before_the_time_limit": logs.count("told to stop (USR1)"),
            "events": [{"s": seconds(moment), "what": what} for moment, what in self.events],
            "outages_s": [[seconds(moment) for moment in outage] for outage in self.outages],
            "trials": record_trials(study),
        }
        print(f"{summary(study)}; {dict(Counter(r['attrs'].get('host') for r in record['trials']))}; {found}")
        return record


def as_text(record: dict[str, Any]) -> str:
    """JSON with one line for each field, and for each trial."""
    trials = [json.dumps(trial, ensure_ascii=False) for trial in record["trials"]]
    lines = [
        f" {json.dumps(key)}: {json.dumps(value, ensure_ascii=False)}"
        for key, value in record.items()
        if key != "trials"
    ]
    return "{\n" + ",\n".join([*lines, ' "trials": [\n  ' + ",\n  ".join(trials) + "\n ]"]) + "\n}\n"


def check_clean(text: str, folder: Path) -> None:
    """Refuse to write what belongs to this computer only."""
    secrets = [
        str(folder),
        str(ROOT),
        sys.prefix,
        str(Path.home()),
        socket.gethostname(),
        tempfile.gettempdir(),
    ]
    if getpass.getuser() != "root":
        secrets.append(getpass.getuser())
    for secret in secrets:
        if re.search(rf"(?<![\w-]){re.escape(secret)}(?![\w-])", text):
            raise SystemExit(f"the record holds {secret!r}: it was not written")


def main() -> int:
    """Run and write."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--trials", type=int, default=48)
    parser.add_argument("--workers", type=int, default=6)
    parser.add_argument("--epochs", type=int, default=60)
    parser.add_argument("--out", type=Path, default=ROOT / "book" / "results" / "slurm_run.json")
    options = parser.parse_args()
    # when this is ended, the cluster and its server end too
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    with tempfile.TemporaryDirectory(prefix="hpopt-run-") as temporary:
        folder, slurm = Path(temporary).resolve(), Slurm()
        try:
            slurm.start()
            recorder = Recorder(folder, slurm)
            record = recorder.run(options.trials, options.workers, options.epochs)
            recorder.hpopt(f"pace cancel {STUDY} --all")
        finally:
            slurm.stop()
        text = as_text(record)
        check_clean(text, folder)
    options.out.parent.mkdir(parents=True, exist_ok=True)
    with atomic_path(options.out, overwrite=True) as temporary_path:
        temporary_path.write_text(text, encoding="utf-8")
    return 1 if record["proof"]["problems"] else 0


if __name__ == "__main__":
    sys.exit(main())
