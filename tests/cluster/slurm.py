"""Slurm with four nodes on one machine, for the tests: its own folder, free ports, nothing left behind."""

from __future__ import annotations

import getpass
import os
import secrets
import shutil
import signal
import socket
import subprocess
import tempfile
import time
from pathlib import Path

CONF = """\
ClusterName=test
SlurmctldHost={host}(127.0.0.1)
SlurmctldPort={port}
AuthType=auth/munge
CryptoType=crypto/munge
# a job that queues itself again waits for its credential to expire: two minutes by default
AuthInfo=socket={folder}/run/munge.sock,cred_expire={expire}
SlurmUser={user}
SlurmdUser={user}
StateSaveLocation={folder}/state
SlurmdSpoolDir={folder}/spool/%n
SlurmctldPidFile={folder}/run/slurmctld.pid
SlurmdPidFile={folder}/run/slurmd.%n.pid
SlurmctldLogFile={folder}/log/slurmctld.log
SlurmdLogFile={folder}/log/slurmd.%n.log
ProctrackType=proctrack/linuxproc
TaskPlugin=task/none
JobAcctGatherType=jobacct_gather/none
AccountingStorageType=accounting_storage/none
JobCompType=jobcomp/none
SelectType=select/cons_tres
SelectTypeParameters=CR_Core
SchedulerType=sched/backfill
SchedulerParameters=sched_min_interval=100000,bf_interval=1
MpiDefault=none
ReturnToService=2
SlurmdParameters=config_overrides
KillWait=10
MinJobAge=600
SlurmctldTimeout=30
SlurmdTimeout=60
MailProg=/bin/true
NodeName=n[1-{nodes}] NodeHostname={host} NodeAddr=127.0.0.1 Port=[{first}-{last}] CPUs={cpus} RealMemory=8000 State=UNKNOWN
PartitionName=all Nodes=ALL Default=YES MaxTime=01:00:00 DefaultTime=00:10:00 State=UP
"""


def free_ports(count: int) -> int:
    """The first of some ports in a row that nobody uses."""
    for first in range(20000 + secrets.randbelow(20000), 60000, count):
        sockets = []
        try:
            for port in range(first, first + count):
                sockets.append(socket.socket())
                sockets[-1].bind(("", port))
            return first
        except OSError:
            continue
        finally:
            for opened in sockets:
                opened.close()
    raise AssertionError("no free ports")


class Slurm:
    """A cluster that lives as long as the test.

    Parameters
    ----------
    nodes, cpus : int
        Of the cluster, and of each node.
    expire : int
        Seconds before a job that was queued again may start.
    """

    def __init__(self, *, nodes: int = 4, cpus: int = 2, expire: int = 10) -> None:
        # the name of a Unix socket must be short, so not in pytest's folder
        self.folder = Path(tempfile.mkdtemp(prefix="hps-"))
        for name in ("etc", "run", "log", "state", "spool"):
            (self.folder / name).mkdir(mode=0o755)
        self.conf = self.folder / "etc" / "slurm.conf"
        self.nodes = nodes
        first = free_ports(nodes + 1)
        self.conf.write_text(
            CONF.format(
                host=socket.gethostname().partition(".")[0],
                folder=self.folder,
                user=getpass.getuser(),
                port=first,
                first=first + 1,
                last=first + nodes,
                nodes=nodes,
                cpus=cpus,
                expire=expire,
            )
        )
        self.processes: list[subprocess.Popen[bytes]] = []

    @property
    def environment(self) -> dict[str, str]:
        """What the commands of Slurm need."""
        return {**os.environ, "SLURM_CONF": str(self.conf)}

    def start(self) -> None:
        """Start the daemons and wait until all nodes are idle."""
        run, log = self.folder / "run", self.folder / "log"
        key = self.folder / "etc" / "munge.key"
        key.write_bytes(secrets.token_bytes(128))
        key.chmod(0o400)
        self.folder.chmod(0o755)
        self._daemon(
            "munged", "--foreground", "--force", f"--key-file={key}", f"--socket={run}/munge.sock",
            f"--pid-file={run}/munged.pid", f"--log-file={log}/munged.log", f"--seed-file={run}/munged.seed",
            "--num-threads=2",
        )  # fmt: skip
        self._wait(lambda: (run / "munge.sock").exists(), "munged")
        self._daemon("slurmctld", "-D", "-c", "-f", str(self.conf))
        for number in range(1, self.nodes + 1):
            (self.folder / "spool" / f"n{number}").mkdir()
            self._daemon("slurmd", "-D", "-N", f"n{number}", "-f", str(self.conf))
        self._wait(
            lambda: self.call("sinfo", "-h", "-N", "-t", "idle", "-o", "%N").count("n") == self.nodes, "nodes"
        )

    def stop(self) -> None:
        """Cancel all jobs, end the daemons, and remove the folder."""
        try:
            self.call("scancel", "--user", getpass.getuser())
            limit = time.monotonic() + 60
            while time.monotonic() < limit and self.call("squeue", "-h"):
                time.sleep(0.3)
        finally:
            for process in reversed(self.processes):
                process.send_signal(signal.SIGTERM)
            for process in reversed(self.processes):
                try:
                    process.wait(20)
                except subprocess.TimeoutExpired:
                    process.kill()
                    process.wait()
            shutil.rmtree(self.folder, ignore_errors=True)

    def call(self, *command: str) -> str:
        """Output of a command; empty when it fails."""
        done = subprocess.run(
            command, env=self.environment, capture_output=True, text=True, timeout=60, check=False
        )
        return done.stdout.strip() if done.returncode == 0 else ""

    def logs(self) -> str:
        """What the daemons say, for messages."""
        return "\n".join(
            f"==> {path.name}\n" + path.read_text(errors="replace")[-2000:]
            for path in sorted((self.folder / "log").iterdir())
        )

    def _daemon(self, program: str, *options: str) -> None:
        path = shutil.which(program) or f"/usr/sbin/{program}"
        with open(self.folder / "log" / f"{program}.out", "ab") as stream:
            self.processes.append(
                subprocess.Popen([path, *options], env=self.environment, stdout=stream, stderr=stream)
            )

    def _wait(self, ready, what: str, seconds: float = 60) -> None:
        limit = time.monotonic() + seconds
        while not ready():
            dead = [process.args for process in self.processes if process.poll() is not None]
            assert not dead, f"{dead} ended\n{self.logs()}"
            assert time.monotonic() < limit, f"{what}: not ready\n{self.logs()}"
            time.sleep(0.1)
