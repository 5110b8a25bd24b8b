"""optuna-dashboard on a study, for its owner only."""

from __future__ import annotations

import getpass
import os
import secrets
import signal
import socket
import threading
import webbrowser
from contextlib import suppress
from socketserver import ThreadingMixIn
from typing import Any
from wsgiref.simple_server import WSGIRequestHandler, WSGIServer, make_server

from hpopt_lib.errors import HpoptError
from hpopt_lib.progress import say
from hpopt_lib.report.dashboard_guard import Guard
from hpopt_lib.tuning.storage import files_folder, load_study

FIRST_PORT, PORTS = 8080, 100


class _Server(ThreadingMixIn, WSGIServer):
    daemon_threads = True

    # the name of 127.0.0.1 is of no use, and looking it up can take seconds
    def server_bind(self) -> None:
        import socketserver

        socketserver.TCPServer.server_bind(self)
        self.server_name, self.server_port = "127.0.0.1", self.server_address[1]
        self.setup_environ()


class _Quiet(WSGIRequestHandler):
    def log_message(self, *_: Any) -> None:
        """No line for each request: its address may hold the token."""


def make_dashboard(
    study: str,
    storage: str | None = None,
    *,
    port: int | None = None,
    token: str | None = None,
    read_only: bool = False,
) -> tuple[WSGIServer, str]:
    """Prepare a dashboard; the caller serves it.

    Parameters
    ----------
    study : str
    storage : str, optional
        Address, see `hpopt_lib.tuning.storage.open_storage`. Passwords stay in this process.
    port : int, optional
        On 127.0.0.1; by default the first free one from 8080 on.
    token : str, optional
        What a browser must know; everybody on this computer may look without one.
    read_only : bool
        Refuse everything that changes a study.

    Returns
    -------
    server : wsgiref.simple_server.WSGIServer
    address : str
        Of the study's page, with the token.

    Raises
    ------
    HpoptError
        When there is no such study, the port is taken, or optuna-dashboard is not installed.
    """
    try:
        import optuna_dashboard
    except ImportError as error:
        raise HpoptError(
            "optuna-dashboard: not installed", remedy="run pip install 'hpopt-lib[dashboard]'"
        ) from error
    from optuna.artifacts import FileSystemArtifactStore

    loaded = load_study(study, storage)
    artifacts = files_folder(storage) / "artifacts"
    artifacts.mkdir(parents=True, exist_ok=True)
    application = optuna_dashboard.wsgi(
        loaded._storage, artifact_store=FileSystemArtifactStore(base_path=str(artifacts))
    )
    server = _listen(Guard(application, token=token, read_only=read_only), port)
    query = f"?token={token}" if token else ""
    return server, f"http://127.0.0.1:{server.server_port}/dashboard/studies/{loaded._study_id}{query}"


def _listen(application: Any, port: int | None) -> WSGIServer:
    ports = range(FIRST_PORT, FIRST_PORT + PORTS) if port is None else [port]
    for number in ports:
        try:
            return make_server("127.0.0.1", number, application, server_class=_Server, handler_class=_Quiet)
        except (OSError, OverflowError) as error:
            if port is not None:
                raise HpoptError(
                    f"port {port}: {getattr(error, 'strerror', None) or error}",
                    remedy="choose another with --port",
                ) from error
    raise HpoptError(
        f"ports {FIRST_PORT} to {FIRST_PORT + PORTS - 1}: all are taken", remedy="choose one with --port"
    )


def tunnel_command(port: int, *, login_node: str = "login-ice.pace.gatech.edu") -> str:
    """What to type on the laptop so that its port leads to the dashboard on this node."""
    user, node = getpass.getuser(), socket.gethostname()
    if os.environ.get("SLURM_JOB_ID") or os.environ.get("PBS_JOBID"):
        return f"ssh -N -L {port}:127.0.0.1:{port} -J {user}@{login_node} {user}@{node}"
    return f"ssh -N -L {port}:127.0.0.1:{port} {user}@{node}"


def serve_dashboard(
    study: str,
    storage: str | None = None,
    *,
    port: int | None = None,
    read_only: bool = False,
    with_token: bool = True,
    open_browser: bool = False,
) -> None:
    """Show a study on this computer until Ctrl-C or SIGTERM; see `make_dashboard`."""
    token = secrets.token_urlsafe(24) if with_token else None
    server, address = make_dashboard(study, storage, port=port, token=token, read_only=read_only)
    print(address, flush=True)
    say(f"from another computer, first: {tunnel_command(server.server_port)}")
    if token is None:
        say("everybody who can log in here can change and delete the studies (--no-token)")
    say("Ctrl-C ends")
    if threading.current_thread() is threading.main_thread():
        signal.signal(signal.SIGTERM, signal.default_int_handler)
    if open_browser:
        webbrowser.open(address)
    with server, suppress(KeyboardInterrupt):
        server.serve_forever(poll_interval=0.2)
    say("dashboard ended")
