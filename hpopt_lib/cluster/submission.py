"""What shall be submitted, and its job scripts."""

from __future__ import annotations

import sys
from dataclasses import dataclass
from pathlib import Path

from hpopt_lib.cluster.render import job_name, render, values_for
from hpopt_lib.cluster.request import Request, server_request
from hpopt_lib.cluster.settings import ClusterProfile
from hpopt_lib.errors import HpoptError
from hpopt_lib.tuning.addresses import is_file, mask
from hpopt_lib.tuning.endpoint import hpopt_home


@dataclass(frozen=True)
class Submission:
    """What shall be submitted.

    Attributes
    ----------
    study : str
    profile : ClusterProfile
    request : Request
        Of a job with workers, see `hpopt_lib.cluster.request.worker_request`.
    storage : str
        Name of a server, or with the profile ``local`` any address.
    server_time : str or None
        Time limit of the database job; the profile's by default.
    wait_s : float
        How long to wait for the database job to start.
    """

    study: str
    profile: ClusterProfile
    request: Request
    storage: str
    server_time: str | None = None
    wait_s: float = 1800.0

    def __post_init__(self) -> None:
        if not self.uses_server and mask(self.storage) != self.storage:
            raise HpoptError(
                "--storage: an address with a password would stand in the job script",
                remedy="make a server with hpopt pace submit --server NAME, which keeps it in a private file",
            )
        if self.profile.launcher != "local" and is_file(self.storage):
            raise HpoptError(
                f"--storage {self.storage}: file locks do not work between nodes",
                remedy="use --server NAME, or pace_jobs/slurm/tune_one_node.sbatch for one node",
            )

    @property
    def uses_server(self) -> bool:
        """Whether the storage is a server of `hpopt db`."""
        return "://" not in self.storage

    @property
    def workers(self) -> int:
        """Workers in all."""
        return self.request.tasks * self.request.cpus

    def server_script(self, logs: Path) -> str:
        """Script of the database job."""
        values = {
            **self._common(logs, "server", self.storage),
            "SERVER": self.storage,
        }
        request = server_request(self.profile, time=self.server_time)
        return render(f"server.{self.ending}", values_for(self.profile, request, **values))

    def worker_script(self, logs: Path, store: str) -> str:
        """Script of the workers."""
        values = {
            **self._common(logs, "work", self.study),
            "STORAGE": self.storage,
            "STUDY": self.study,
            # on one computer there is no slower disk to copy from
            "STORE": "" if self.profile.launcher == "local" else store,
        }
        return render(f"workers.{self.ending}", values_for(self.profile, self.request, **values))

    @property
    def ending(self) -> str:
        """How the names of the scripts end."""
        return "pbs" if self.profile.launcher == "pbs" else "sbatch"

    def _common(self, logs: Path, kind: str, name: str) -> dict[str, object]:
        return {
            "JOB_NAME": job_name(kind, name),
            "LOGS": f"{_directive(logs)}/",
            "LOG_FOLDER": f"{_directive(logs)}/",
            "ENVIRONMENT": sys.prefix,
            "HPOPT_HOME": str(hpopt_home().absolute()),
        }


def _directive(path: Path) -> str:
    """A path for a line of directives, where neither blanks nor Slurm's own places may stand."""
    text = str(path)
    if any(character.isspace() or character in "%\\\"'" for character in text):
        raise HpoptError(
            f"{text}: a scheduler cannot write its logs there", remedy="use a folder without blanks and %"
        )
    return text


def new_server_folder(profile: ClusterProfile, name: str) -> Path:
    """Where a new server keeps its data: in the scratch folder when there is one, else here."""
    scratch = Path(profile.scratch).expanduser() if profile.scratch else Path()
    return (scratch if scratch.is_dir() else Path.cwd()).absolute() / f"hpopt-db-{name}"
