"""A private server: made once, one at a time, no secret in the open, and back after any end."""

from __future__ import annotations

import os
import signal
import stat
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path

import optuna
import pymysql
import pytest
from servers import add_trial, started, values
from synthetic import environment, hpopt_command, run_hpopt

from hpopt_lib.cluster import server_data
from hpopt_lib.cluster.server import Server
from hpopt_lib.cluster.server_lock import is_locked, read_state, write_state
from hpopt_lib.errors import HpoptError
from hpopt_lib.tuning.endpoint import read_endpoint, write_endpoint
from hpopt_lib.tuning.storage import open_storage


def test_it_starts_answers_and_stops(server):
    assert server.status()["state"] == "stopped" and not server.running
    started(server)
    status = server.status()
    assert (
        status["state"] == "running"
        and status["studies"] == 0
        and status["product"].startswith(("MariaDB", "MySQL"))
    )
    assert status["address"].startswith("mysql+pymysql://") and ":***@127.0.0.1:" in status["address"]
    add_trial(1.5)
    status = server.status()
    assert status["trials"] == 1 and status["uptime_s"] >= 0 and status["max_connections"] == 512
    assert status["writing"].startswith(("each commit: a local disk", "each second: "))
    assert server.stop() and not server.running and read_endpoint(server.folder) is None
    assert not server.stop()
    started(server)
    assert values() == [1.5]


def test_nothing_secret_is_in_the_open(server):
    running = started(server)
    password = read_endpoint(server.folder).password
    assert len(password) >= 24
    for process in Path("/proc").glob("[0-9]*"):
        for name in ("cmdline", "environ"):
            try:
                text = (process / name).read_bytes()
            except OSError:
                continue
            assert password.encode() not in text, f"{process}/{name}"
    holders = []
    for path in server.folder.rglob("*"):
        if path.is_file() and password.encode() in path.read_bytes():
            holders.append(path.name)
            assert stat.S_IMODE(path.stat().st_mode) == 0o600, path
    assert "endpoint.json" in holders and "server.log" not in holders
    # certificates are made to be seen by others; the folder is closed to them all the same
    assert {
        stat.S_IMODE(path.stat().st_mode)
        for path in server.folder.rglob("*")
        if path.is_file() and path.suffix != ".pem"
    } == {0o600}
    assert stat.S_IMODE(server.folder.stat().st_mode) == 0o700
    assert stat.S_IMODE(running.socket_folder.stat().st_mode) == 0o700
    assert password not in repr(running) and password not in str(server.status())


def test_the_account_sees_its_own_database_only(server):
    started(server)
    endpoint = read_endpoint(server.folder)

    def connect(**changes):
        options = {
            "user": endpoint.user,
            "password": endpoint.password,
            "database": endpoint.database,
            **changes,
        }
        return pymysql.connect(host=endpoint.host, port=endpoint.port, **options)

    with connect() as connection, connection.cursor() as cursor:
        cursor.execute("SHOW DATABASES")
        seen = {row[0] for row in cursor.fetchall()} - {"performance_schema"}  # which MySQL shows to all
        assert seen == {endpoint.database, "information_schema"}
        for query in ("SELECT * FROM mysql.user", "CREATE DATABASE other", "SELECT 1 INTO OUTFILE 'x'"):
            with pytest.raises(pymysql.err.Error):
                cursor.execute(query)
    for changes in ({"password": "wrong"}, {"user": "root", "password": ""}, {"user": "", "password": ""}):
        with pytest.raises(pymysql.err.OperationalError):
            connect(**{"database": None, **changes})


def test_after_a_kill_it_recovers_on_another_port(server):
    first = started(server).endpoint
    add_trial(1.0)
    os.kill(read_state(server.folder).pid, signal.SIGKILL)
    end = time.monotonic() + 10
    while server.running and time.monotonic() < end:
        time.sleep(0.05)
    assert server.status()["state"] == "stopped", "an address that was left behind is no sign of life"
    second = started(server).endpoint
    assert second.port != first.port
    add_trial(2.0)
    assert values() == [1.0, 2.0]


def test_a_storage_that_is_open_follows_the_server_to_its_new_port(server):
    started(server)
    storage = open_storage("team", max_outage=30)
    study = optuna.create_study(storage=storage, study_name="s")
    study.add_trial(optuna.create_trial(value=1.0))
    server.stop()
    again = subprocess.Popen(
        ["sh", "-c", 'sleep 3; exec "$@"', "sh", *hpopt_command("db", "start", "team")], env=environment()
    )
    study.add_trial(optuna.create_trial(value=2.0))  # waits until it answers again
    assert again.wait(timeout=30) == 0
    assert values() == [1.0, 2.0]
    storage.engine.dispose()


def test_a_second_start_is_refused_at_once(server):
    started(server)
    before = time.monotonic()
    with pytest.raises(HpoptError, match=r"server 'team': runs already on node .*; use it there, or stop it"):
        server.start()
    done = run_hpopt("db", "start", "team", cwd=server.folder.parent)
    assert done.returncode == 1 and done.stderr.count("\n") == 1, done.stderr
    assert time.monotonic() - before < 10
    assert server.status()["state"] == "running"


def test_init_never_overwrites(server, tmp_path, monkeypatch):
    with pytest.raises(
        HpoptError, match=r"server 'team': exists already in .*; start it with hpopt db start"
    ):
        Server("team").init(tmp_path / "elsewhere")
    with pytest.raises(HpoptError, match="server 'a b': not a name"):
        Server("a b")
    full = tmp_path / "full"
    full.mkdir()
    (full / "thesis.tex").write_text("mine")
    with pytest.raises(HpoptError, match="full: not empty; choose an empty or new folder"):
        Server("other").init(full)
    assert [p.name for p in full.iterdir()] == ["thesis.tex"]
    with pytest.raises(HpoptError, match="server 'nobody': not known; use one of team"):
        Server("nobody").start()


def test_an_interrupted_init_is_done_again(tmp_path, monkeypatch, needs):
    if not os.environ.get("HPOPT_MYSQLD"):
        needs("mariadbd")
    monkeypatch.setenv("HPOPT_HOME", str(tmp_path / "home"))

    def interrupted(*_args, **_kwargs):
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(server_data.subprocess, "run", interrupted)
        with pytest.raises(KeyboardInterrupt):
            Server("team").init()
    folder = tmp_path / "home" / "databases" / "team"
    assert not server_data.has_data(folder)
    server = Server("team")
    server.init()
    started(server)
    assert server.status()["state"] == "running"
    server.stop()


def test_damaged_data_give_one_line(server):
    (server.folder / "data" / "ibdata1").write_bytes(b"\0" * 4096)
    with pytest.raises(HpoptError, match=r"M\w+ [\d.]+ does not start: .*; see .*server.log") as raised:
        server.start()
    assert "\n" not in str(raised.value)
    assert not server.running and read_endpoint(server.folder) is None


def test_an_init_that_was_killed_is_done_again_and_not_while_its_program_goes_on(
    tmp_path, monkeypatch, server
):
    """The program that makes the data outlives a killed command; nobody may begin beside it."""
    slow = tmp_path / "slow"
    slow.write_text(
        f"#!{sys.executable}\nimport sys, time\n"
        "if '--version' in sys.argv: print('mysqld  Ver 8.0.36 for Linux'); sys.exit()\n"
        "time.sleep(4)\n"
    )
    slow.chmod(0o700)
    folder = tmp_path / "home" / "databases" / "new"
    first = subprocess.Popen(
        hpopt_command("db", "init", "new"), env={**environment(), "HPOPT_MYSQLD": str(slow)}
    )
    end = time.monotonic() + 30
    while not (folder / "lock").exists() or not is_locked(folder) or not (folder / "server.log").exists():
        assert time.monotonic() < end and first.poll() is None
        time.sleep(0.02)
    time.sleep(0.3)
    first.kill()
    first.wait()
    new = Server("new")
    with pytest.raises(HpoptError, match="server 'new': is just being made or started"):
        new.init()
    while is_locked(folder):
        assert time.monotonic() < end
        time.sleep(0.05)
    (folder / server_data.PART).mkdir(exist_ok=True)  # what a program that gets further leaves
    assert not server_data.has_data(folder)
    new.init()
    started(new)
    assert new.status()["state"] == "running" and not (folder / server_data.PART).exists()
    assert new.stop()


def test_of_two_starts_at_once_one_wins(server):
    both = [
        subprocess.Popen(
            hpopt_command("db", "start", "team"), env=environment(), stderr=subprocess.PIPE, text=True
        )
        for _ in range(2)
    ]
    said = [process.communicate(timeout=60)[1] for process in both]
    assert sorted(process.returncode for process in both) == [0, 1], said
    assert "runs already" in "".join(said) or "just being made or started" in "".join(said)
    assert server.status()["state"] == "running"


def test_in_a_batch_job_it_listens_where_other_nodes_reach_it(server, monkeypatch):
    monkeypatch.setattr("hpopt_lib.cluster.server_places.own_address", lambda: "127.0.0.2")
    monkeypatch.setenv("SLURM_JOB_ID", "4711")
    endpoint = started(server).endpoint
    assert endpoint.host == "127.0.0.2" and endpoint.job_id == "4711"
    add_trial(1.0)
    assert server.status()["job"] == "4711"
    with pytest.raises(HpoptError, match="runs already on node .* in job 4711; use it there"):
        server.start()
    pymysql.connect(
        host="127.0.0.2", port=endpoint.port, user=endpoint.user, password=endpoint.password
    ).close()
    with pytest.raises(pymysql.err.OperationalError):
        pymysql.connect(host="127.0.0.1", port=endpoint.port, user=endpoint.user, password=endpoint.password)


def test_a_server_on_another_node_is_left_alone(server, monkeypatch):
    """Also where locks do not reach other nodes: then its address tells that it lives."""
    started(server)
    state, endpoint = read_state(server.folder), read_endpoint(server.folder)
    write_state(server.folder, replace(state, node="n7", job_id="12"))
    write_endpoint(server.folder, replace(endpoint, node="n7", socket="none"))
    for locked in (True, False):
        if not locked:
            monkeypatch.setattr("hpopt_lib.cluster.server.is_locked", lambda folder: False)
            descriptor = os.open(server.folder / "endpoint.json", os.O_RDONLY)
            monkeypatch.setattr("hpopt_lib.cluster.server.take_lock", lambda folder, d=descriptor: d)
        with pytest.raises(
            HpoptError, match="server 'team': runs already on node n7 in job 12; use it there"
        ):
            server.start()
        with pytest.raises(HpoptError, match="runs on node n7 in job 12; run hpopt db stop team there"):
            server.stop()
        assert server.running and server.status()["state"] == "running"
    write_state(server.folder, state)


def test_what_another_node_has_left_does_not_keep_it_from_starting(server):
    started(server)
    add_trial(1.0)
    endpoint, state = read_endpoint(server.folder), read_state(server.folder)
    server.stop()
    write_endpoint(server.folder, replace(endpoint, node="n7", socket="none"))
    write_state(server.folder, replace(state, node="n7"))
    assert server.status()["state"] == "stopped"
    started(server)
    assert values() == [1.0]


@pytest.mark.filterwarnings("ignore:Heartbeat of storage:UserWarning")
def test_names_are_told_apart_by_capitals(server):
    started(server)
    storage = open_storage("team")
    for name in ("study", "Study"):
        study = optuna.create_study(storage=storage, study_name=name)
        study.enqueue_trial({"a": 0.25, "A": 0.75})
        trial = study.ask()
        assert (trial.suggest_float("a", 0, 1), trial.suggest_float("A", 0, 1)) == (0.25, 0.75)
    assert sorted(optuna.get_all_study_names(storage)) == ["Study", "study"]
    storage.engine.dispose()


def test_a_lost_password_is_drawn_anew_and_one_that_others_could_read_is_refused(server):
    first = started(server).endpoint.password
    server.stop()
    account = server.folder / "account.json"
    account.chmod(0o644)
    with pytest.raises(HpoptError, match="account.json: others can read the password in it; delete it"):
        server.start()
    account.unlink()
    second = started(server).endpoint.password
    assert first != second
    add_trial(1.0)
    assert values() == [1.0]


def test_the_commands(server):
    folder = server.folder.parent

    def run(*words: str) -> str:
        done = run_hpopt("db", *words, cwd=folder)
        assert done.returncode == 0, done.stderr
        return done.stdout

    assert "server team: M" in run("start", "team")
    password = read_endpoint(server.folder).password
    assert "running" in run("status") and "running" in run("status", "team")
    masked, whole = run("url", "team"), run("url", "team", "--show-password")
    assert password not in masked and ":***@" in masked and password in whole
    assert password not in run("status") + run("status", "team")
    assert run("stop", "team") == "server team: stopped\n"
    assert run("stop", "team") == "server team: was not running\n"
    down = run_hpopt("db", "url", "team", cwd=folder)
    assert (
        down.returncode == 1
        and "server 'team': not running; start it with hpopt db start team" in down.stderr
    )
