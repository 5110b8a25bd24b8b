"""A private server: made once, one at a time, no secret in the open, and back after any end."""

from __future__ import annotations

import os
import shutil
import signal
import stat
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

import optuna
import pymysql
import pytest
from synthetic import environment, hpopt_command, run_hpopt

from hpopt_lib.cluster import server_data
from hpopt_lib.cluster.server import Server
from hpopt_lib.cluster.server_lock import read_state
from hpopt_lib.errors import HpoptError
from hpopt_lib.tuning.endpoint import read_endpoint, register_server
from hpopt_lib.tuning.storage import load_study, open_storage


@pytest.fixture(scope="module")
def template(tmp_path_factory, needs) -> Path:
    """Folder of a server that was made and never started; copied by the tests, which takes less time."""
    needs("mariadbd")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("HPOPT_HOME", str(tmp_path_factory.mktemp("template")))
        return Server("team").init()


@pytest.fixture
def server(template, tmp_path, monkeypatch) -> Iterator[Server]:
    monkeypatch.setenv("HPOPT_HOME", str(tmp_path / "home"))
    for name in ("SLURM_JOB_ID", "PBS_JOBID"):
        monkeypatch.delenv(name, raising=False)
    folder = Path(shutil.copytree(template, tmp_path / "team"))
    folder.chmod(0o700)
    register_server("team", folder)
    server = Server("team")
    yield server
    if server.running:
        server.stop()


def started(server: Server):
    """Start, and leave the process to the system, as the command does."""
    running = server.start()
    running.process.returncode = 0
    return running


def add_trial(value: float) -> None:
    storage = open_storage("team", max_outage=30)
    try:
        study = optuna.create_study(storage=storage, study_name="s", load_if_exists=True)
        study.add_trial(optuna.create_trial(value=value))
    finally:
        storage.engine.dispose()


def values() -> list[float]:
    study = load_study("s", "team")
    try:
        return [trial.value for trial in study.trials]
    finally:
        study._storage._backend.engine.dispose()


def test_it_starts_answers_and_stops(server):
    assert server.status()["state"] == "stopped" and not server.running
    started(server)
    status = server.status()
    assert status["state"] == "running" and status["studies"] == 0 and "MariaDB" in status["product"]
    assert status["address"].startswith("mysql+pymysql://") and ":***@127.0.0.1:" in status["address"]
    add_trial(1.5)
    assert server.status()["trials"] == 1
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
        assert {row[0] for row in cursor.fetchall()} == {endpoint.database, "information_schema"}
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
    with pytest.raises(HpoptError, match=r"MariaDB .* does not start: .*; see .*server.log") as raised:
        server.start()
    assert "\n" not in str(raised.value)
    assert not server.running and read_endpoint(server.folder) is None


def test_without_a_program_the_message_tells_how_to_get_one(server, monkeypatch, tmp_path):
    monkeypatch.setattr(
        "hpopt_lib.cluster.server.find_program", lambda *_: (_ for _ in ()).throw(AssertionError)
    )
    from hpopt_lib.cluster.server_programs import find_program

    empty = tmp_path / "none"
    monkeypatch.setenv("HPOPT_MYSQLD", str(empty))
    with pytest.raises(HpoptError, match="none"):
        find_program()


class Foreground:
    """`hpopt db start NAME --foreground` in a process of its own."""

    def __init__(self, server: Server) -> None:
        self.server = server
        self.process = subprocess.Popen(
            hpopt_command("db", "start", server.name, "--foreground"), env=environment(),
            stderr=subprocess.PIPE, text=True,
        )  # fmt: skip
        assert self.process.stderr is not None
        self.first = self.process.stderr.readline()
        assert "answers at" in self.first, self.first + self.process.stderr.read()

    def end(self, number: int) -> tuple[int, str]:
        self.process.send_signal(number)
        said = self.process.communicate(timeout=60)[1]
        return self.process.returncode, said


@pytest.mark.parametrize(("number", "code"), [(signal.SIGTERM, 0), (signal.SIGUSR1, 75)])
def test_in_the_foreground_it_dumps_and_stops_when_told(server, number, code):
    keeper = Foreground(server)
    add_trial(3.0)
    with pytest.raises(HpoptError, match="runs already"):
        server.start()
    returned, said = keeper.end(number)
    assert returned == code, said
    assert f"told to stop ({number.name})" in said and "all studies are in" in said
    assert not server.running and read_endpoint(server.folder) is None
    (dump,) = (server.folder / "dumps").iterdir()
    assert [t.value for t in load_study("s", f"sqlite:///{dump}").trials] == [3.0]
    started(server)
    assert values() == [3.0]


def test_a_keeper_starts_its_server_again_and_stops_for_hpopt_db_stop(server):
    keeper = Foreground(server)
    add_trial(1.0)
    port = read_endpoint(server.folder).port
    os.kill(read_state(server.folder).pid, signal.SIGKILL)
    end = time.monotonic() + 20
    while (e := read_endpoint(server.folder)) is None or e.port == port:
        assert time.monotonic() < end
        time.sleep(0.05)
    add_trial(2.0)
    assert values() == [1.0, 2.0]
    assert server.stop()
    assert "died (-9); starting it again" in keeper.process.communicate(timeout=30)[1]
    assert keeper.process.returncode == 0 and not server.running


def test_the_commands(server):
    folder = server.folder.parent

    def run(*words: str) -> str:
        done = run_hpopt("db", *words, cwd=folder)
        assert done.returncode == 0, done.stderr
        return done.stdout

    assert "server team: MariaDB" in run("start", "team")
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
