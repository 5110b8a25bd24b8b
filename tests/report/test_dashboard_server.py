"""How a dashboard is reached, and what it says about errors."""

from __future__ import annotations

import logging
import queue
import re
import socket
from contextlib import ExitStack

from dashboard_client import TOKEN, led_to

from hpopt_lib.report.dashboard_server import open_page, say_errors_briefly, tunnel_command


def test_the_tunnel_goes_through_a_login_node(monkeypatch, tmp_path):
    for name in ("SLURM_SUBMIT_HOST", "PBS_O_HOST", "HPOPT_PROFILE"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("HPOPT_HOME", str(tmp_path))
    assert " -J " not in tunnel_command(8080)
    monkeypatch.setenv("SLURM_SUBMIT_HOST", "front.example")
    command = tunnel_command(8081)
    assert re.fullmatch(r"ssh -N -L 8081:127.0.0.1:8081 -J (\S+)@front.example \1@(\S+)", command), command
    assert command.endswith(f"@{socket.gethostname()}")
    monkeypatch.setenv("HPOPT_PROFILE", "pace-ice")
    assert "@login-ice.pace.gatech.edu " in tunnel_command(8081)


def test_a_browser_is_not_given_the_token_as_an_argument(monkeypatch, tmp_path):
    asked = queue.Queue()
    monkeypatch.setattr("webbrowser.open", lambda uri: asked.put(uri) or True)
    monkeypatch.setenv("HOME", str(tmp_path))
    with ExitStack() as stack:
        open_page(f"http://127.0.0.1:8080/?token={TOKEN}", stack)
        uri = asked.get(timeout=10)
        assert TOKEN not in uri
        (page,) = tmp_path.rglob("*.html")
        assert uri == page.as_uri() and page.stat().st_mode & 0o077 == 0
        assert led_to(page.read_bytes()) == f"http://127.0.0.1:8080/?token={TOKEN}"
    assert list(tmp_path.iterdir()) == []


def test_an_error_of_the_dashboard_is_one_line_once(capsys):
    logger = logging.getLogger("optuna_dashboard")
    before = logger.handlers[:], logger.propagate
    try:
        say_errors_briefly()
        for _ in range(2):
            logging.getLogger("optuna_dashboard._x").error(
                "Exception: mysql://u:secret@h is away\n  File ..."
            )
        assert capsys.readouterr().err == "dashboard: Exception: mysql://u:***@h is away\n"
    finally:
        logger.handlers[:], logger.propagate = before
