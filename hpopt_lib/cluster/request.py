"""What a batch job asks for, held against the limits of the cluster before the scheduler does it."""

from __future__ import annotations

from dataclasses import dataclass

from hpopt_lib.cluster.settings import ClusterProfile, format_time, parse_time
from hpopt_lib.errors import HpoptError


@dataclass(frozen=True)
class Request:
    """Resources of a job, or of each job of an array.

    Attributes
    ----------
    seconds : int
        Time limit.
    cpus : int
    memory_mb : int
        In all.
    gpus : int
    gpu_type : str
        Empty when any will do.
    tasks : int
        Jobs of the array.
    """

    seconds: int
    cpus: int = 1
    memory_mb: int = 2000
    gpus: int = 0
    gpu_type: str = ""
    tasks: int = 1

    @property
    def hours(self) -> float:
        """Time limit in hours."""
        return self.seconds / 3600

    @property
    def time(self) -> str:
        """Time limit as ``HH:MM:SS``."""
        return format_time(self.seconds)


def worker_request(
    profile: ClusterProfile,
    *,
    workers: int,
    per_job: int = 1,
    gpu: str | None = None,
    time: str | None = None,
    memory_mb: int | None = None,
) -> Request:
    """Resources of an array of jobs with some workers each.

    Parameters
    ----------
    profile : ClusterProfile
    workers : int
        In all; rounded up to full jobs.
    per_job : int
        Workers that share a job, and its GPU.
    gpu : str, optional
        Kind of GPU, or ``any``.
    time : str, optional
        ``H:MM:SS``; by default the profile's.
    memory_mb : int, optional
        For each worker.
    """
    if workers < 1 or per_job < 1:
        raise HpoptError(
            f"--workers {workers} --workers-per-job {per_job}: too few", remedy="give at least 1 of each"
        )
    per_job = min(per_job, workers)
    types = {name.lower(): name for name in profile.gpu_types}
    gpu_type = "" if gpu in (None, "any") else types.get(str(gpu).lower(), str(gpu))
    if gpu_type and types and gpu_type not in types.values():
        raise HpoptError(
            f"--gpu {gpu}: profile {profile.name} has no such GPU",
            remedy=f"use any, {', '.join(types.values())}",
        )
    request = Request(
        seconds=parse_time(time or profile.time),
        cpus=per_job,
        memory_mb=per_job * (memory_mb or profile.memory_per_cpu_mb),
        gpus=1 if gpu else 0,
        gpu_type=gpu_type,
        tasks=-(-workers // per_job),
    )
    check(request, profile)
    return request


def server_request(profile: ClusterProfile, *, time: str | None = None) -> Request:
    """Resources of the job with the database server."""
    request = Request(parse_time(time or profile.server_time), 1, profile.server_memory_mb)
    check(request, profile, what="--server-time")
    return request


def check(request: Request, profile: ClusterProfile, *, what: str = "--time") -> None:
    """Raise when a request is above a limit of the cluster; the message has the numbers.

    Examples
    --------
    >>> check(Request(24 * 3600, cpus=24), ClusterProfile("ours", max_cpu_hours=512))
    Traceback (most recent call last):
    hpopt_lib.errors.HpoptError: --time 24:00:00: 24 cores x 24 h = 576 CPU-hours, profile ours allows 512...
    """
    hours, problems = request.hours, []
    kind = "with" if request.gpus else "without"
    longest = profile.max_hours_gpu if request.gpus else profile.max_hours_cpu
    most = longest or hours
    if longest and hours > longest:
        problems.append(f"profile {profile.name} allows {longest:g} h for a job {kind} a GPU")
    for unit, count, limit, noun in (
        ("CPU", request.cpus, profile.max_cpu_hours, "cores"),
        ("GPU", request.gpus, profile.max_gpu_hours, "GPUs"),
    ):
        if limit and count * hours > limit:
            most = min(most, limit / count)
            asked = f"{count} {noun} x {hours:g} h = {count * hours:g} {unit}-hours"
            problems.append(f"{asked}, profile {profile.name} allows {limit:g}")
    if problems:
        raise HpoptError(
            f"{what} {request.time}: {'; '.join(problems)}",
            remedy=f"ask for at most {format_time(int(3600 * most))}; the rest goes on in a next job",
        )
    if profile.max_array and request.tasks > profile.max_array:
        raise HpoptError(
            f"{request.tasks} jobs in one array: profile {profile.name} allows {profile.max_array}",
            remedy="put more workers in each job with --workers-per-job",
        )
