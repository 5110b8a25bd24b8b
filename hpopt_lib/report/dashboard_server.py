"""How a dashboard is served and reached: port, tunnel, browser, and what it says about errors."""

from __future__ import annotations

import getpass
import logging
import os
import socket
import socketserver
import sys
import tempfile
import threading
import webbrowser
from contextlib import ExitStack, suppress
from html import escape
from pathlib import Path
from typing import Any
from wsgiref.simple_server import WSGIRequestHandler, WSGIServer, make_server

from hpopt_lib.errors import HpoptError
from hpopt_lib.progress import say
from hpopt_lib.tuning.addresses import mask

FIRST_PORT, PORTS = 8080, 100
#: The name by which computers outside reach some login node of PACE ICE.
PACE_LOGIN = "login-ice.pace.gatech.edu"

_LEAD_ON = """<!doctype html><html lang="en"><meta charset="utf-8"><title>hpopt dashboard</title>
<meta http-equiv="refresh" content="0;url={0}"></html>
"""


class _Server(socketserver.ThreadingMixIn, WSGIServer):
    daemon_threads = True

    def server_bind(self) -> None:
        # the name of 127.0.0.1 is of no use, and looking it up, as http.server does, can take seconds
        socketserver.TCPServer.server_bind(self)
        self.server_name, self.server_port = "127.0.0.1", self.server_address[1]
        self.setup_environ()

    def handle_error(self, request: Any, client_address: Any) -> None:
        """No traceback for a browser that closed its connection."""
        if not isinstance(sys.exc_info()[1], ConnectionError | TimeoutError):
            super().handle_error(request, client_address)


class _Quiet(WSGIRequestHandler):
    def log_message(self, *_: Any) -> None:
        """No line for each request: its address may hold the token."""


def listen(application: Any, port: int | None) -> WSGIServer:
    """A server of a WSGI application on 127.0.0.1, each request in a thread of its own.

    Parameters
    ----------
    application : callable
    port : int or None
        None takes the first free one from 8080 on.

    Raises
    ------
    HpoptError
        When the port is taken, or no port.
    """
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


def tunnel_command(port: int) -> str:
    """What to type on the laptop so that its port leads to the dashboard on this node.

    Nodes of a cluster are reached through a login node: that of PACE ICE on its nodes, elsewhere
    the one from which this batch job was submitted.
    """
    user, node = getpass.getuser(), socket.gethostname()
    gate = _login_node(node)
    jump = f"-J {user}@{gate} " if gate and gate != node else ""
    return f"ssh -N -L {port}:127.0.0.1:{port} {jump}{user}@{node}"


def _login_node(node: str) -> str:
    from hpopt_lib.cluster.settings import load_profile

    # a mistake in the user's settings is told by the commands that need them
    with suppress(HpoptError):
        if load_profile().name == "pace-ice":
            return PACE_LOGIN
    return os.environ.get("SLURM_SUBMIT_HOST") or os.environ.get("PBS_O_HOST") or ""


def open_page(address: str, stack: ExitStack) -> None:
    """Open an address with a token in a browser on this computer.

    A browser gets its page as an argument, which everybody on the node can read in the list of
    processes; so it gets the path of a private file that leads on to the address.

    Parameters
    ----------
    address : str
    stack : contextlib.ExitStack
        Removes the file at its end.
    """
    try:
        # packaged browsers (snap, flatpak) see the home folder, but not /tmp
        folder = stack.enter_context(tempfile.TemporaryDirectory(prefix="hpopt-dashboard-", dir=Path.home()))
        page = Path(folder) / "open.html"
        with open(page, "x", encoding="utf-8", opener=_private) as stream:
            stream.write(_LEAD_ON.format(escape(address)))
    except OSError as error:
        say(f"--open: {error.strerror}; open the address above yourself")
        return

    def show() -> None:
        if not webbrowser.open(page.as_uri()):
            say("--open: no browser on this computer; open the address above in yours")

    # a browser in a terminal does not return before it is closed, and it needs the server
    threading.Thread(target=show, daemon=True).start()


def _private(path: str, flags: int) -> int:
    return os.open(path, flags, 0o600)


def say_errors_briefly() -> None:
    """Print what optuna-dashboard logs as one line each, not as tracebacks, and not over and over."""

    class OneLine(logging.Handler):
        last = ""

        def emit(self, record: logging.LogRecord) -> None:
            line = mask(" ".join(record.getMessage().splitlines()[:1]))
            if line != self.last:
                self.last = line
                say(f"dashboard: {line}")

    logger = logging.getLogger("optuna_dashboard")
    logger.propagate = False
    logger.handlers[:] = [OneLine(logging.WARNING)]
