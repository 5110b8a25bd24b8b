"""The dashboard lets its owner in, and nobody else, for every kind of storage."""

from __future__ import annotations

import functools
import json
import re
import signal
import socket
import subprocess
import sys
import threading
from pathlib import Path
from urllib.parse import urlsplit

import pytest
from dashboard_client import TOKEN, Client, come_in, led_to
from synthetic import environment, hpopt_command

from hpopt_lib.errors import HpoptError
from hpopt_lib.report.dashboard import make_dashboard
from hpopt_lib.report.trial_artifact import attach_learning_curve
from hpopt_lib.tuning.addresses import files_folder
from hpopt_lib.tuning.config import StudyConfig, store_path
from hpopt_lib.tuning.selection import METRICS
from hpopt_lib.tuning.storage import load_study
from hpopt_lib.tuning.study import tune
from hpopt_lib.tuning.workers import WorkerOptions

pytest.importorskip("optuna_dashboard")


@pytest.fixture(scope="module", params=["sqlite", "journal"])
def address(request, tmp_path_factory, store_path) -> str:
    """Storage with a study s of two trials and their learning curves."""
    return make_small_study(store_path, f"{request.param}:///{tmp_path_factory.mktemp('dash')}/s.db")


def make_small_study(store: Path, storage: str, **changes) -> str:
    config = StudyConfig(
        store=store_path_of(store),
        space="[lr]\ntype='float'\nlow=1e-3\nhigh=1e-1\nlog=true\n",
        validation="val",
        fixed={"epochs": 3, "num_layers": 1, "batch_size": 32},
        pruner="none",
        **changes,
    )
    hook = functools.partial(attach_learning_curve, folder=files_folder(storage))
    tune("s", config, trials=2, storage=storage, options=WorkerOptions(on_result=hook))
    return storage


store_path_of = store_path


@pytest.fixture
def serve():
    """Start dashboards; give a client and the printed address."""
    servers = []

    def start(storage: str, **options) -> tuple[Client, str]:
        server, address = make_dashboard("s", storage, **options)
        servers.append(server)
        threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True).start()
        return Client(server.server_port), address

    yield start
    for server in servers:
        server.shutdown()
        server.server_close()


def test_only_who_has_the_token_gets_in(serve, address):
    client, printed = serve(address, token=TOKEN)
    for path in ("/", "/dashboard", "/api/studies", "/static/bundle.js", "/api/studies?token=no", "/?token="):
        assert client.ask(path)[0] == 401, path
    page = come_in(client, printed)
    assert client.ask(page)[0] == 200
    right = client.cookie
    client.cookie = f"{right.partition('=')[0]}=wrong"
    assert client.ask("/api/studies")[0] == 401
    client.cookie = f'username-127-0-0-1-8888="2|1:0|a"; odd={{"a": 1}}; {right}'
    assert client.ask("/static/bundle.js")[0] == 200, "without Accept-Encoding too"
    (study,) = json.loads(client.ask("/api/studies")[2])["study_summaries"]
    assert study["study_name"] == "s"


def test_trials_are_shown_with_attributes_and_curves(serve, address):
    client, printed = serve(address, token=TOKEN)
    page = come_in(client, printed)
    number = page.rpartition("/")[2]
    detail = json.loads(client.ask(f"/api/studies/{number}?after=0")[2])
    assert len(detail["trials"]) == 2
    for trial in detail["trials"]:
        attributes = {entry["key"] for entry in trial["user_attrs"]}
        assert {
            "energy_mae_mev_per_atom", "energy_mae_ev", "skill_over_linear", "skill_over_median", "epochs",
            "best_epoch", "seconds", "host", "job_id", "device", "commit", "worker",
        } <= attributes  # fmt: skip
        (artifact,) = trial["artifacts"]
        status, headers, body = client.ask(
            f"/artifacts/{number}/{trial['trial_id']}/{artifact['artifact_id']}"
        )
        assert (status, headers["Content-Type"]) == (200, "image/svg+xml") and b"<svg" in body


def test_a_study_of_three_objectives_is_shown(serve, tmp_path, store_path):
    changes = {"select": "pareto", "domains": ["val", "ood"], "metric": METRICS["pareto"]}
    client, printed = serve(
        make_small_study(store_path, f"sqlite:///{tmp_path}/p.db", **changes), token=TOKEN
    )
    number = come_in(client, printed).rpartition("/")[2]
    (summary,) = json.loads(client.ask("/api/studies")[2])["study_summaries"]
    assert summary["directions"] == ["minimize"] * 3
    detail = json.loads(client.ask(f"/api/studies/{number}?after=0")[2])
    assert [len(trial["values"]) for trial in detail["trials"]] == [3, 3] and detail["best_trials"]
    assert [len(trial["artifacts"]) for trial in detail["trials"]] == [1, 1]


def test_other_sites_and_names_are_refused(serve, address):
    client, printed = serve(address, token=TOKEN)
    come_in(client, printed)
    assert client.ask("/api/studies", Host="evil.example")[0] == 403
    assert client.ask("/api/studies", Host=f"localhost:{client.port}")[0] == 200
    body = json.dumps({"study_name": "new", "directions": ["minimize"]})
    assert client.ask("/api/studies", "POST", body, Origin="https://evil.example")[0] == 403
    assert client.ask("/api/studies", "POST", body, Sec_Fetch_Site="same-site")[0] == 403
    assert [s.study_name for s in _studies(address)] == ["s"]


@pytest.mark.parametrize(
    "path",
    ["//evil.example/", "/%5Cevil.example/", "/%0D%0ASet-Cookie:%20a=b", "/%22%3E%3Cscript%3E", "/?a=%22%3E"],
)
def test_the_token_leads_nowhere_else(serve, address, path):
    client, _ = serve(address, token=TOKEN)
    _, headers, body = client.ask(f"{path}{'&' if '?' in path else '?'}token={TOKEN}")
    target = led_to(body)
    assert re.match(r"/(?![/\\])", target) and urlsplit(target).netloc == ""
    assert b"<script>" not in body and headers["Set-Cookie"].startswith("hpopt_")


def test_two_dashboards_in_one_browser(serve, address):
    one, two = serve(address, token=TOKEN), serve(address, token="other")
    come_in(*one)
    name = two[0].ask("/?token=other")[1]["Set-Cookie"].partition("=")[0]
    assert name != one[0].cookie.partition("=")[0]  # cookies do not know ports


def test_an_artifact_cannot_act_in_the_readers_name(serve, address):
    client, _ = serve(address)
    assert client.ask("/artifacts/1/1/0a")[1]["Content-Security-Policy"] == "sandbox"
    headers = client.ask("/dashboard")[1]
    assert headers["X-Frame-Options"] == "SAMEORIGIN" and "script-src" in headers["Content-Security-Policy"]


def test_a_read_only_dashboard_changes_nothing(serve, address):
    client, printed = serve(address, token=TOKEN, read_only=True)
    number = come_in(client, printed).rpartition("/")[2]
    status, _, text = client.ask(f"/api/studies/{number}", "DELETE")
    assert status == 403 and b"--read-only" in text
    assert [s.study_name for s in _studies(address)] == ["s"]
    assert client.ask(f"/api/studies/{number}?after=0")[0] == 200


def test_a_dashboard_that_may_write_does(serve, address):
    client, _ = serve(address)  # without a token: everybody on this computer
    body = json.dumps({"study_name": "new", "directions": ["minimize"]})
    headers = {"Content_Type": "application/json", "Origin": f"http://127.0.0.1:{client.port}"}
    status, _, text = client.ask("/api/studies", "POST", body, **headers)
    assert status == 201, text
    new = next(s for s in _studies(address) if s.study_name == "new")
    assert (
        client.ask(f"/api/studies/{new._study_id}", "DELETE", "{}", Content_Type="application/json")[0] == 204
    )
    assert [s.study_name for s in _studies(address)] == ["s"]


def _studies(address: str):
    import optuna

    return optuna.get_all_study_summaries(load_study("s", address)._storage)


def test_a_dashboard_on_a_private_server(serve, store_path, tmp_path, monkeypatch, needs):
    needs("mariadbd")
    from hpopt_lib.cluster.server import Server
    from hpopt_lib.tuning.endpoint import Endpoint, server_folder, write_endpoint

    monkeypatch.setenv("HPOPT_HOME", str(tmp_path / "home"))
    server = Server("team")
    server.init()
    with pytest.raises(HpoptError, match="server 'team': not running; start it with hpopt db start team"):
        make_dashboard("s", "team")
    # the file of a server that died without a word
    write_endpoint(server_folder("team"), Endpoint("127.0.0.1", 1, "u", "secret", "d"))
    monkeypatch.setattr("hpopt_lib.report.dashboard.PATIENCE_S", 1.0)
    with pytest.raises(
        HpoptError, match="team cannot be opened: .*; start it with hpopt db start team"
    ) as told:
        make_dashboard("s", "team")
    assert "secret" not in str(told.value)
    running = server.start()
    try:
        client, printed = serve(make_small_study(store_path, "team"), token=TOKEN)
        come_in(client, printed)
        assert b'"study_name": "s"' in client.ask("/api/studies")[2]
    finally:
        server.stop()
        running.process.wait(timeout=30)


def test_ports(serve, address):
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        with pytest.raises(HpoptError, match=f"port {port}: .*; choose another with --port"):
            make_dashboard("s", address, port=port)
    with pytest.raises(HpoptError, match="port 99999: "):
        make_dashboard("s", address, port=99999)
    first, second = serve(address)[0].port, serve(address)[0].port
    assert 8080 <= first < second < 8180


def test_what_is_missing_is_told(address, monkeypatch):
    with pytest.raises(HpoptError, match="study 'other': not in .*; it has s"):
        make_dashboard("other", address)
    with pytest.raises(HpoptError, match="no such study storage"):
        make_dashboard("s", "sqlite:///nowhere.db")
    monkeypatch.setitem(sys.modules, "optuna_dashboard", None)
    with pytest.raises(
        HpoptError, match=r"optuna-dashboard: not installed; run pip install 'hpopt-lib\[dashboard\]'"
    ):
        make_dashboard("s", address)


def test_a_study_without_a_place_for_artifacts_is_shown(serve, address, monkeypatch, tmp_path, capsys):
    (tmp_path / "file").write_text("")
    monkeypatch.setattr("hpopt_lib.report.dashboard.files_folder", lambda _: tmp_path / "file" / "x")
    client, _ = serve(address)
    assert json.loads(client.ask("/api/meta")[2])["artifact_is_available"] is False
    assert "no learning curves to show" in capsys.readouterr().err


def test_the_command_prints_the_address_and_ends_cleanly(address, tmp_path):
    process = subprocess.Popen(
        hpopt_command("dashboard", "s", "--storage", address), cwd=tmp_path, env=environment(),
        stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
    )  # fmt: skip
    with process:
        assert process.stdout is not None
        printed = urlsplit(process.stdout.readline().strip())
        assert printed.hostname == "127.0.0.1" and printed.query.startswith("token=")
        assert Client(printed.port or 0).ask("/api/studies")[0] == 401
        token = printed.query.partition("=")[2]
        words = Path(f"/proc/{process.pid}/cmdline")
        assert not words.exists() or token not in words.read_text()
        process.send_signal(signal.SIGTERM)
        _, said = process.communicate(timeout=30)
    assert process.returncode == 0, said
    assert said.splitlines()[-1] == "dashboard ended" and "ssh -N -L" in said and token not in said
