"""A server in the foreground of a job: watched, restarted, and stopped with a dump."""

from __future__ import annotations

import os
import signal
import subprocess
import time
from dataclasses import replace

import optuna
import pytest
from servers import Foreground, add_trial, started, values
from synthetic import environment, hpopt_command

from hpopt_lib.cluster.server_lock import read_state, write_state
from hpopt_lib.errors import HpoptError
from hpopt_lib.tuning.endpoint import read_endpoint
from hpopt_lib.tuning.storage import load_study, open_storage


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


def test_a_job_whose_processes_are_all_told_to_end_still_makes_its_dump(server):
    keeper = Foreground(server)
    add_trial(3.0)
    os.kill(read_state(server.folder).pid, signal.SIGTERM)
    returned, said = keeper.end(signal.SIGTERM)
    assert returned == 0 and "all studies are in" in said, said
    (dump,) = (server.folder / "dumps").iterdir()
    assert [t.value for t in load_study("s", f"sqlite:///{dump}").trials] == [3.0]
    assert not server.running and read_endpoint(server.folder) is None


def test_told_to_stop_while_it_starts(server):
    process = subprocess.Popen(
        hpopt_command("db", "start", "team", "--foreground",
                      code="from hpopt_lib.cluster import server_process\n"
                           "server_process.answers = lambda endpoint: False"),
        env=environment(), stderr=subprocess.PIPE, text=True,
    )  # fmt: skip
    end = time.monotonic() + 30
    while read_state(server.folder) is None:
        assert time.monotonic() < end and process.poll() is None
        time.sleep(0.02)
    process.send_signal(signal.SIGUSR1)
    said = process.communicate(timeout=60)[1]
    assert process.returncode == 75 and "Traceback" not in said, said
    assert not server.running and read_state(server.folder) is None


def test_it_is_stopped_from_another_node(server, monkeypatch):
    keeper = Foreground(server)
    state = read_state(server.folder)
    monkeypatch.setattr("hpopt_lib.cluster.server_lock.node_name", lambda: "login")
    write_state(server.folder, replace(state, socket_folder=""))
    assert server.stop() and not server.running
    assert "told to stop (hpopt db stop)" in keeper.process.communicate(timeout=30)[1]
    assert keeper.process.returncode == 0 and not (server.folder / "stop").exists()


@pytest.mark.filterwarnings("ignore:Heartbeat of storage:UserWarning")
def test_trials_of_dead_workers_go_back_into_the_queue(server, monkeypatch):
    monkeypatch.setenv("HPOPT_JANITOR_S", "0.5")
    monkeypatch.setenv("HPOPT_GRACE_S", "1")
    keeper = Foreground(server)
    storage = open_storage("team", max_outage=30)
    study = optuna.create_study(storage=storage, study_name="s")
    study.ask().suggest_float("x", 0, 1)  # and its worker is gone
    end = time.monotonic() + 30
    # the copy is made first, then the lost attempt is closed
    while (states := [t.state.name for t in study.get_trials(deepcopy=False)]) != ["FAIL", "WAITING"]:
        assert time.monotonic() < end, states
        time.sleep(0.1)
    storage.engine.dispose()
    returned, said = keeper.end(signal.SIGTERM)
    assert returned == 0 and "study s: the worker of trial 0 died; it is in the queue again" in said


def test_a_server_that_dies_again_and_again_is_given_up(server, monkeypatch):
    from hpopt_lib.cluster import server_keeper

    monkeypatch.setattr(server_keeper, "STARTS", 2)

    def dies(server, process, stop):
        process.kill()
        process.wait()

    monkeypatch.setattr(server_keeper, "_watch", dies)
    with pytest.raises(HpoptError, match=r"server 'team': died 2 times within 300 s; see .*server.log"):
        server_keeper.keep(server)
    assert not server.running and read_endpoint(server.folder) is None
    started(server)


def test_a_dump_that_fails_does_not_keep_it_from_stopping(server, monkeypatch, capfd):
    from hpopt_lib.cluster import server_keeper

    monkeypatch.setattr(server_keeper, "ENDING_S", 0.1)
    monkeypatch.setattr(server_keeper, "dump", lambda *_, **__: (_ for _ in ()).throw(OSError("disk full")))
    monkeypatch.setattr(server_keeper, "_watch", lambda *_: os.kill(os.getpid(), signal.SIGUSR1))
    assert server_keeper.keep(server) == 75
    said = capfd.readouterr().err
    assert "no dump was made: disk full" in said and "stopped (0)" in said
    assert not server.running
