"""The dashboard lets its owner in, and nobody else, for every kind of storage."""

from __future__ import annotations

import functools
import json
import signal
import socket
import subprocess
import threading
from http.client import HTTPConnection
from pathlib import Path
from urllib.parse import urlsplit

import pytest
from synthetic import environment, hpopt_command

from hpopt_lib.errors import HpoptError
from hpopt_lib.report.dashboard import make_dashboard, tunnel_command
from hpopt_lib.report.trial_artifact import attach_learning_curve
from hpopt_lib.tuning.config import StudyConfig, store_path
from hpopt_lib.tuning.storage import files_folder, load_study
from hpopt_lib.tuning.study import tune
from hpopt_lib.tuning.workers import WorkerOptions

pytest.importorskip("optuna_dashboard")
TOKEN = "right-token"


@pytest.fixture(scope="module", params=["sqlite", "journal"])
def address(request, tmp_path_factory, store_path) -> str:
    """Storage with a study s of two trials and their learning curves."""
    return make_small_study(store_path, f"{request.param}:///{tmp_path_factory.mktemp('dash')}/s.db")


def make_small_study(store: Path, storage: str) -> str:
    config = StudyConfig(
        store=store_path_of(store),
        space="[lr]\ntype='float'\nlow=1e-3\nhigh=1e-1\nlog=true\n",
        validation="val",
        fixed={"epochs": 3, "num_layers": 1, "batch_size": 32},
        pruner="none",
    )
    hook = functools.partial(attach_learning_curve, folder=files_folder(storage))
    tune("s", config, trials=2, storage=storage, options=WorkerOptions(on_result=hook))
    return storage


store_path_of = store_path


class Client:
    """Asks as a browser would; `ask` gives status, headers and body."""

    def __init__(self, port: int) -> None:
        self.port, self.cookie = port, ""

    def ask(self, path: str, method: str = "GET", body: str | None = None, **headers: str):
        connection = HTTPConnection("127.0.0.1", self.port, timeout=30)
        try:
            names = {name.replace("_", "-"): value for name, value in headers.items()}
            if self.cookie:
                names["Cookie"] = self.cookie
            connection.request(method, path, body, names)
            answer = connection.getresponse()
            return answer.status, dict(answer.getheaders()), answer.read()
        finally:
            connection.close()


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


def come_in(client: Client, address: str) -> str:
    """Follow the printed address; returns the page's path."""
    parts = urlsplit(address)
    status, headers, _ = client.ask(f"{parts.path}?{parts.query}")
    assert status == 303 and TOKEN not in headers["Location"]
    cookie, *flags = headers["Set-Cookie"].split("; ")
    assert {"HttpOnly", "SameSite=Strict"} <= set(flags)
    client.cookie = cookie
    return headers["Location"]


def test_only_who_has_the_token_gets_in(serve, address):
    client, printed = serve(address, token=TOKEN)
    for path in (
        "/",
        "/dashboard",
        "/api/studies",
        "/static/bundle.js",
        "/api/studies?token=wrong",
        "/?token=",
    ):
        assert client.ask(path)[0] == 401, path
    client.cookie = "hpopt_dashboard=wrong"
    assert client.ask("/api/studies")[0] == 401
    page = come_in(client, printed)
    assert client.ask(page)[0] == 200
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


def test_other_sites_and_names_are_refused(serve, address):
    client, printed = serve(address, token=TOKEN)
    come_in(client, printed)
    assert client.ask("/api/studies", Host="evil.example")[0] == 403
    assert client.ask("/api/studies", Host=f"localhost:{client.port}")[0] == 200
    body = json.dumps({"study_name": "new", "directions": ["minimize"]})
    assert client.ask("/api/studies", "POST", body, Origin="https://evil.example")[0] == 403
    status, headers, _ = client.ask("//evil.example/?token=" + TOKEN)
    assert status == 303 and not headers["Location"].startswith("//")
    assert [s.study_name for s in _studies(address)] == ["s"]


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
    status, _, text = client.ask(
        "/api/studies",
        "POST",
        body,
        Content_Type="application/json",
        Origin=f"http://127.0.0.1:{client.port}",
    )
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

    monkeypatch.setenv("HPOPT_HOME", str(tmp_path / "home"))
    server = Server("team")
    server.init()
    with pytest.raises(HpoptError, match="server 'team': not running; start it with hpopt db start team"):
        make_dashboard("s", "team")
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


def test_the_tunnel_goes_through_the_login_node_from_a_job(monkeypatch):
    monkeypatch.delenv("SLURM_JOB_ID", raising=False)
    monkeypatch.delenv("PBS_JOBID", raising=False)
    assert " -J " not in tunnel_command(8080)
    monkeypatch.setenv("SLURM_JOB_ID", "7")
    command = tunnel_command(8081)
    assert command.startswith("ssh -N -L 8081:127.0.0.1:8081 -J ") and socket.gethostname() in command


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
