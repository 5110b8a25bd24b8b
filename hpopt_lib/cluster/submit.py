"""Submit a study: the database job when none runs, then the study, then its workers."""

from __future__ import annotations

import shlex
import time
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

from hpopt_lib.cluster import records
from hpopt_lib.cluster.launchers import JobState, make_launcher
from hpopt_lib.cluster.request import server_request
from hpopt_lib.cluster.submission import Submission, new_server_folder
from hpopt_lib.errors import HpoptError
from hpopt_lib.files import atomic_path
from hpopt_lib.progress import say
from hpopt_lib.tuning.endpoint import known_servers, read_endpoint, server_folder

if TYPE_CHECKING:
    import optuna

#: Seconds between two looks at a job that is waited for, and between two lines about it.
LOOK_S, LINE_S = 1.0, 15.0


def show(submission: Submission, *, store: str = "", create: str = "") -> str:
    """All scripts and commands of a submission; nothing is changed.

    Parameters
    ----------
    submission : Submission
    store : str
        Path of the study's store, when it is known.
    create : str
        What would be made of the study, in words.
    """
    launcher, lines = make_launcher(submission.profile.launcher), []
    if submission.uses_server:
        if submission.storage in known_servers():
            server = server_folder(submission.storage)
            jobs = records.jobs_folder(submission.storage)
        else:
            server = new_server_folder(submission.profile, submission.storage)
            jobs = server / "jobs"
            lines.append(
                f"# the server is new\nhpopt db init {submission.storage} --dir {shlex.quote(str(server))}\n"
            )
        running = server_is_up(submission.storage)
        pending = None if running else pending_server(submission)
        if running or pending:
            state = "runs" if running else f"is in the queue: job {pending}"
            lines.append(f"# server {submission.storage} {state}\n")
        else:
            folder = jobs / records.folder_name("DATE", "server", submission.storage)
            script = folder / f"server.{submission.ending}"
            lines += [f"# ---- {script}", submission.server_script(folder / records.LOGS)]
            lines.append(f"{shlex.join(launcher.command(script))}\n# wait until the server answers\n")
    else:
        jobs = records.jobs_folder(submission.storage)
    if create:
        lines.append(f"# {create}\n")
    folder = jobs / records.folder_name("DATE", "workers", submission.study)
    script = folder / f"workers.{submission.ending}"
    lines += [f"# ---- {script}", submission.worker_script(folder / records.LOGS, store)]
    lines.append(shlex.join(launcher.command(script)))
    return "\n".join(lines)


def server_is_up(name: str) -> bool:
    """Whether the server has published its address, and answers there."""
    from hpopt_lib.cluster.server_client import answers

    if name not in known_servers():
        return False
    endpoint = read_endpoint(server_folder(name))
    return endpoint is not None and answers(endpoint)


def pending_server(submission: Submission) -> str | None:
    """Number of the last database job, when it runs or will run."""
    if submission.storage not in known_servers():
        return None
    states = _server_states(submission.storage)
    return states[-1].job if states and states[-1].alive else None


def _server_states(name: str) -> list[JobState]:
    found = [r for r in records.read_records(storage=name, kind="server") if not r.cancelled]
    return make_launcher(found[-1].launcher).status([found[-1].job]) if found else []


def ensure_server(submission: Submission) -> None:
    """Make the server when it is new, submit its job when none runs, and wait until it answers.

    Raises
    ------
    HpoptError
        When its job ends, or does not start in time. The job stays in the queue then, and the next call
        finds it.
    """
    from hpopt_lib.cluster.server import Server

    name = submission.storage
    if name not in known_servers():
        folder = Server(name).init(new_server_folder(submission.profile, name))
        say(f"server {name}: made in {folder}")
    if server_is_up(name):
        say(f"server {name}: runs")
        return
    job = pending_server(submission)
    if job:
        say(f"server {name}: its job {job} was submitted before")
    else:
        job = submit_script(
            submission, "server", lambda folder: submission.server_script(folder / records.LOGS)
        ).job
        say(f"server {name}: job {job} submitted")
    start, told = time.monotonic(), 0.0
    while not server_is_up(name):
        states = _server_states(name)
        state = states[-1] if states else None
        waited = time.monotonic() - start
        if state is not None and not state.alive and not server_is_up(name):
            raise HpoptError(
                f"server {name!r}: its job {job} has ended ({state.detail})",
                remedy=f"see hpopt pace logs --server {name}, then run the same command again",
            )
        if waited > submission.wait_s:
            what = f"{state.state}: {state.detail}" if state else "in the queue"
            raise HpoptError(
                f"server {name!r}: job {job} does not answer after {waited:.0f} s ({what})",
                remedy="it stays in the queue; the same command goes on, now or later",
            )
        if waited - told >= LINE_S:
            told = waited
            detail = state.detail if state else "in the queue"
            say(f"server {name}: waiting for job {job}, {waited:.0f} s ({detail})")
        time.sleep(LOOK_S)
    say(f"server {name}: answers after {time.monotonic() - start:.0f} s")


def submit_script(submission: Submission, kind: str, script: Callable[[Path], str]) -> records.Record:
    """Write a script into a folder of its own, submit it, and keep a record of it."""
    name = submission.storage if kind == "server" else submission.study
    folder = records.new_folder(submission.storage, kind, name)
    path = folder / f"{kind}.{submission.ending}"
    try:
        with atomic_path(path) as temporary:
            temporary.write_text(script(folder), encoding="utf-8")
        job = make_launcher(submission.profile.launcher).submit(path)
    except BaseException:
        records.discard(folder)
        raise
    server = kind == "server"
    request = (
        server_request(submission.profile, time=submission.server_time) if server else submission.request
    )
    record = records.Record(
        folder=str(folder),
        kind=kind,
        study="" if server else submission.study,
        storage=submission.storage,
        profile=submission.profile.name,
        launcher=submission.profile.launcher,
        job=job,
        script=str(path),
        workers=0 if server else submission.workers,
        time=request.time,
    )
    record.write()
    return record


def submit(submission: Submission, make_study: Callable[[], optuna.Study]) -> records.Record | None:
    """Submit a study; None when it has its trials already.

    Parameters
    ----------
    submission : Submission
    make_study : callable
        Called when the storage answers; returns the study, new or not.

    Returns
    -------
    hpopt_lib.cluster.records.Record or None
        Of the workers' jobs.
    """
    from hpopt_lib.tuning.config import TRIALS, study_config
    from hpopt_lib.tuning.joining import finished

    if submission.uses_server:
        ensure_server(submission)
    study = make_study()
    wanted, have = study.user_attrs.get(TRIALS), finished(study)
    if not wanted:
        raise HpoptError(
            f"study {submission.study!r}: it is not known how many trials it shall have",
            remedy="pass --trials",
        )
    if have >= int(wanted):
        say(f"study {submission.study}: has {have} finished trials, {wanted} asked for: nothing to do")
        return None
    store = study_config(study).store
    return submit_script(
        submission, "workers", lambda folder: submission.worker_script(folder / records.LOGS, store)
    )
