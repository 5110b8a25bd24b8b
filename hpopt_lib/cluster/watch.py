"""Look at what was submitted: states of jobs, server and trials, logs; and end it."""

from __future__ import annotations

import time
from collections.abc import Iterator
from pathlib import Path

from hpopt_lib.cluster.launchers import RUNNING, JobState, make_launcher
from hpopt_lib.cluster.records import Record, read_records
from hpopt_lib.cluster.submit import server_is_up
from hpopt_lib.errors import HpoptError
from hpopt_lib.progress import say
from hpopt_lib.tuning.addresses import is_file, storage_file
from hpopt_lib.tuning.endpoint import known_servers, read_endpoint, server_folder

#: Jobs that ended are shown for the newest submissions only.
RECENT = 3


def job_states(record: Record) -> list[JobState]:
    """States of the jobs of a submission."""
    return make_launcher(record.launcher).status([record.job])


def status_lines(study: str | None = None, *, storage: str | None = None) -> Iterator[str]:
    """What is known of the submissions, as lines: servers, studies, jobs.

    Parameters
    ----------
    study : str, optional
        Only this one, and its server.
    storage : str, optional
        Only this server or address.
    """
    records = read_records(study, storage=storage)
    if not records:
        yield "nothing was submitted yet; see hpopt pace submit --help"
        return
    for place in dict.fromkeys(record.storage for record in records):
        here = [record for record in records if record.storage == place]
        up = True
        if "://" not in place:
            up = server_is_up(place)
            yield _server_line(place, up)
        elif is_file(place):
            up = storage_file(place).exists()
        for name in dict.fromkeys(record.study for record in here if record.study):
            yield from _study_lines(name, place) if up else [f"study {name}: cannot be read now"]
        yield from _job_lines(here)


def _server_line(name: str, up: bool) -> str:
    if name not in known_servers():
        return f"server {name}: gone"
    endpoint = read_endpoint(server_folder(name))
    if endpoint is None:
        return f"server {name}: down; workers wait for it"
    where = f"{endpoint.product} on {endpoint.node} port {endpoint.port}"
    where += f" in job {endpoint.job_id}" if endpoint.job_id else ""
    return f"server {name}: {'answers' if up else 'does NOT answer'} ({where}, since {endpoint.started})"


def _study_lines(name: str, storage: str) -> Iterator[str]:
    from hpopt_lib.tuning.config import TRIALS
    from hpopt_lib.tuning.manage import trial_states
    from hpopt_lib.tuning.storage import load_study

    try:
        study = load_study(name, storage)
    except HpoptError as error:
        yield f"study {name}: {error}"
        return
    states = trial_states(study)
    have = states.get("complete", 0) + states.get("pruned", 0)
    wanted = study.user_attrs.get(TRIALS, "?")
    counts = ", ".join(f"{count} {state}" for state, count in states.items() if count)
    yield f"study {name}: {have} of {wanted} trials finished ({counts or 'none yet'})"
    if states.get("complete") and len(study.directions) > 1:
        yield f"  {len(study.best_trials)} trials on the front of {len(study.directions)} objectives"
    elif states.get("complete"):
        yield f"  best: {study.best_value:.2f} meV/atom, trial {study.best_trial.number}"
    if states.get("running") and (age := last_beat_s(study)) is not None:
        yield f"  last sign of life of a worker: {age:.0f} s ago"


def last_beat_s(study) -> float | None:
    """Seconds since a worker of the study wrote its last heartbeat; None where there are none."""
    import sqlalchemy as sa

    backend = getattr(study._storage, "_backend", study._storage)
    engine = getattr(backend, "engine", None)
    if engine is None or engine.dialect.name not in ("mysql", "mariadb"):
        return None
    # the server's own clock on both sides: clocks of nodes differ
    query = sa.text(
        "SELECT TIMESTAMPDIFF(SECOND, MAX(h.heartbeat), CURRENT_TIMESTAMP) FROM trial_heartbeats h "
        "JOIN trials t ON t.trial_id = h.trial_id WHERE t.study_id = :study"
    )
    with engine.connect() as connection:
        age = connection.execute(query, {"study": study._study_id}).scalar()
    return None if age is None else float(age)


def _job_lines(records: list[Record]) -> Iterator[str]:
    for number, record in enumerate(reversed(records)):
        states = job_states(record)
        if number >= RECENT and not any(state.alive for state in states):
            continue
        title = "server" if record.kind == "server" else f"workers of {record.study}"
        count = f", {record.workers} workers" if record.workers else ""
        limits = f"{record.profile}, limit {record.time}, submitted {record.submitted}"
        yield f"job {record.job}: {title}{count}, {limits}"
        for state in states:
            place = f" on {state.node}" if state.node else ""
            elapsed = f" for {state.elapsed}" if state.elapsed and state.state == RUNNING else ""
            detail = "" if state.detail == state.state else f" ({state.detail})"
            yield f"  {state.job}: {state.state}{place}{elapsed}{detail}"
        yield f"  logs: {record.logs}"


def log_tails(study: str | None = None, *, storage: str | None = None, lines: int = 20) -> Iterator[str]:
    """The last lines of the newest logs of the workers, and of the server."""
    records = read_records(study, storage=storage)
    newest = {(record.kind, record.study, record.storage): record for record in records}
    for record in newest.values():
        paths = (
            sorted(path for path in record.logs.iterdir() if path.is_file()) if record.logs.is_dir() else []
        )
        if not paths:
            yield f"==> job {record.job}: no log yet in {record.logs}"
        for path in paths:
            yield f"==> {path}"
            yield from tail(path, lines)


def tail(path: Path, lines: int) -> list[str]:
    """The last lines of a file, without reading all of a long one."""
    with open(path, "rb") as stream:
        stream.seek(0, 2)
        size = stream.tell()
        stream.seek(max(0, size - 400 * lines))
        return stream.read().decode(errors="replace").splitlines()[-lines:]


def cancel(study: str | None = None, *, storage: str | None = None, server_too: bool = False) -> list[str]:
    """Cancel jobs: first workers, which put their trials back, then with `server_too` the server.

    Parameters
    ----------
    study : str, optional
    storage : str, optional
    server_too : bool
        Refused while other studies have workers on the server.

    Returns
    -------
    list of str
        Numbers of the cancelled jobs.
    """
    records = read_records(study, storage=storage)
    workers = _alive([record for record in records if record.kind == "workers"])
    servers = _alive([record for record in records if record.kind == "server"]) if server_too else []
    for server in servers:
        others = _alive(
            [
                record
                for record in read_records(storage=server.storage, kind="workers")
                if study is not None and record.study != study
            ]
        )
        if others:
            raise HpoptError(
                f"server {server.storage!r}: workers of {others[0].study!r} use it too",
                remedy="cancel them first, or leave --all out",
            )
    for group in (workers, servers):
        for record in group:
            say(f"cancelling job {record.job} ({record.kind})")
            make_launcher(record.launcher).cancel([record.job])
            record.cancelled = True
            record.write()
        if group is workers and servers:
            _wait_until_gone(workers)
    return [record.job for record in [*workers, *servers]]


def _alive(records: list[Record]) -> list[Record]:
    return [record for record in records if any(state.alive for state in job_states(record))]


def _wait_until_gone(records: list[Record], seconds: float = 90.0) -> None:
    """The workers need the server until they have put their trials back."""
    limit = time.monotonic() + seconds
    while time.monotonic() < limit and _alive(records):
        time.sleep(1)
