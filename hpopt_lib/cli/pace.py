"""`hpopt pace`: batch jobs that work on a study, on PACE and other clusters, or on this computer."""

from __future__ import annotations

import shlex
from pathlib import Path

import click

from hpopt_lib.cli.options import build_config, study_options
from hpopt_lib.errors import HpoptError

DEFAULT_SERVER = "hpopt"
PROFILE = click.option(
    "--profile",
    help="pace-ice, generic-slurm, pbs, local, or one of cluster.toml.  [default: what is found here]",
)
STUDY = click.argument("study", required=False)
SERVER = click.option("--server", help="Only what belongs to this server.")
ADDRESS = click.option("--storage", help="Only what belongs to this storage address.")


@click.group()
def pace() -> None:
    """Submit studies as batch jobs; watch and cancel them."""


@pace.command()
@click.argument("study")
@click.option("--workers", type=int, default=8, show_default=True, help="Workers in all.")
@click.option(
    "--workers-per-job",
    "per_job",
    type=int,
    default=1,
    show_default=True,
    help="Workers that share a job and its GPU.",
)
@click.option("--gpu", metavar="TYPE", help="Kind of GPU, or any; one for each job.  [default: none]")
@click.option(
    "--time", "limit", metavar="H:MM:SS", help="Time limit of the workers' jobs.  [default: the profile's]"
)
@click.option("--memory", type=int, metavar="MB", help="Memory of each worker.  [default: the profile's]")
@click.option(
    "--server", help=f"Name of the database server; made when it is new.  [default: {DEFAULT_SERVER}]"
)
@click.option(
    "--storage", help="A storage address instead of a server; sqlite and journal with --profile local only."
)
@click.option(
    "--server-time", metavar="H:MM:SS", help="Time limit of the server's job.  [default: the profile's]"
)
@click.option(
    "--wait",
    type=float,
    default=30,
    show_default=True,
    metavar="MINUTES",
    help="Wait so long for the server's job.",
)
@PROFILE
@click.option(
    "--store", type=click.Path(path_type=Path), help="Make the study, on this store, when it is new."
)
@click.option("--trials", type=int, help="Finished trials that the study shall have in total.")
@study_options
@click.option("--dry-run", is_flag=True, help="Print all scripts and commands; change nothing.")
@click.pass_context
def submit(
    ctx, study, workers, per_job, gpu, limit, memory, server, storage, server_time, wait, profile, store,
    trials, dry_run, **options,
) -> None:  # fmt: skip
    """Work on STUDY with batch jobs: a database job when none runs, and an array of workers.

    With --store and --trials the study is made when it is new. The same command goes on where it
    was stopped, and adds workers to a study that has some.
    """
    from hpopt_lib.cluster import submit as jobs
    from hpopt_lib.cluster.request import worker_request
    from hpopt_lib.cluster.settings import load_profile
    from hpopt_lib.cluster.submission import Submission

    if server and storage:
        raise HpoptError("--server and --storage: both are given", remedy="give one of them")
    _check_study_options(ctx, store, options)
    found = load_profile(profile)
    request = worker_request(found, workers=workers, per_job=per_job, gpu=gpu, time=limit, memory_mb=memory)
    submission = Submission(
        study, found, request, _absolute(storage) or server or DEFAULT_SERVER, server_time, 60 * wait
    )

    def make_study():
        from hpopt_lib.tuning.storage import load_study
        from hpopt_lib.tuning.study import create_study

        if store is not None:
            return create_study(
                study, build_config(store, **options), trials=trials, storage=submission.storage
            )
        made = load_study(study, submission.storage)
        if trials is not None:
            from hpopt_lib.tuning.config import study_config

            return create_study(study, study_config(made), trials=trials, storage=submission.storage)
        return made

    if dry_run:
        create = ""
        if store is not None:
            build_config(store, **options)  # what is wrong is said now
            create = f"the study {study} on {store} with {trials or '?'} trials is made when it is new"
        path = str(store.absolute()) if store else "THE-STORE-OF-THE-STUDY"
        click.echo(jobs.show(submission, store=path, create=create))
        return
    if submission.workers != workers:
        click.echo(f"{submission.workers} workers, so that all {request.tasks} jobs are full", err=True)
    record = jobs.submit(submission, make_study)
    if record is None:
        return
    each = f"{request.tasks} x {request.cpus} worker(s)"
    click.echo(f"job {record.job}: {each}, profile {found.name}, limit {record.time}")
    click.echo(f"script and logs: {record.folder}")
    name = shlex.quote(study)
    click.echo(f"next: hpopt pace status {name} | logs {name} | cancel {name}")
    click.echo(f"results: hpopt study show {name} --storage {submission.storage}")


def _check_study_options(ctx, store, options) -> None:
    from click.core import ParameterSource

    given = [name for name in options if ctx.get_parameter_source(name) is ParameterSource.COMMANDLINE]
    if given and store is None:
        flag = "--set" if given[0] == "assignments" else f"--{given[0].replace('_', '-')}"
        raise HpoptError(f"{flag}: belongs to a new study", remedy="name its store with --store")


def _absolute(storage: str | None) -> str | None:
    """Jobs run in other folders."""
    from hpopt_lib.tuning.addresses import is_file, storage_file

    if storage is None or not is_file(storage):
        return storage
    return f"{storage.partition('://')[0]}:///{storage_file(storage).absolute()}"


@pace.command()
@STUDY
@SERVER
@ADDRESS
def status(study, server, storage) -> None:
    """Show jobs, servers and trials."""
    from hpopt_lib.cluster.watch import status_lines

    for line in status_lines(study, storage=server or _absolute(storage)):
        click.echo(line)


@pace.command()
@STUDY
@SERVER
@ADDRESS
@click.option("--lines", type=int, default=20, show_default=True, help="Lines of each log.")
def logs(study, server, storage, lines) -> None:
    """Print the last lines of the newest jobs' logs."""
    from hpopt_lib.cluster.watch import log_tails

    for line in log_tails(study, storage=server or _absolute(storage), lines=lines):
        click.echo(line)


@pace.command()
@STUDY
@SERVER
@ADDRESS
@click.option("--all", "server_too", is_flag=True, help="The server's job too, after the workers.")
@click.option("--yes", is_flag=True, help="Do not ask before all studies' jobs are cancelled.")
def cancel(study, server, storage, server_too, yes) -> None:
    """Cancel the workers of STUDY; what is finished is kept, running trials go back into the queue."""
    from hpopt_lib.cluster.watch import cancel as run

    if study is None and not yes:
        click.confirm("Cancel the jobs of all studies?", abort=True)
    jobs = run(study, storage=server or _absolute(storage), server_too=server_too)
    click.echo(f"cancelled: {', '.join(jobs)}" if jobs else "no job was running or waiting")


@pace.command()
@PROFILE
@click.option("--server", help="Try this server only.")
@click.pass_context
def doctor(ctx, profile, server) -> None:
    """Check what a study on a cluster needs; ends with 1 when something is missing."""
    from hpopt_lib.cluster.doctor import FAIL, examine
    from hpopt_lib.cluster.settings import load_profile

    failed = False
    for finding in examine(load_profile(profile), server=server):
        failed |= finding.state == FAIL
        click.echo(finding)
    ctx.exit(1 if failed else 0)


@pace.command()
@click.option(
    "--out", type=click.Path(path_type=Path), default=Path("pace_jobs"), show_default=True, help="Folder."
)
@PROFILE
def render(out, profile) -> None:
    """Write the job scripts for submission by hand."""
    from hpopt_lib.cluster.render import write_scripts
    from hpopt_lib.cluster.settings import load_profile

    for path in write_scripts(out, load_profile(profile) if profile else None):
        click.echo(path)
