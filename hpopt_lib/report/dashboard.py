"""optuna-dashboard on a study, for its owner only."""

from __future__ import annotations

import secrets
import signal
import threading
from contextlib import ExitStack, suppress
from typing import TYPE_CHECKING, Any
from wsgiref.simple_server import WSGIServer

from hpopt_lib.errors import HpoptError
from hpopt_lib.progress import say
from hpopt_lib.report.dashboard_guard import Guard
from hpopt_lib.report.dashboard_server import listen, open_page, say_errors_briefly, tunnel_command
from hpopt_lib.tuning.addresses import files_folder
from hpopt_lib.tuning.storage import load_study, open_storage

if TYPE_CHECKING:
    import optuna

#: Seconds that a page waits for a database that is away; a worker would wait much longer.
PATIENCE_S = 20.0


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
        When there is no such study, the port is taken, the database does not answer, or
        optuna-dashboard is not installed.
    """
    try:
        import optuna_dashboard
    except ImportError as error:
        raise HpoptError(
            "optuna-dashboard: not installed", remedy="run pip install 'hpopt-lib[dashboard]'"
        ) from error

    loaded = _load(study, storage)
    application = optuna_dashboard.wsgi(loaded._storage, artifact_store=_artifacts(storage))
    server = listen(Guard(application, token=token, read_only=read_only), port)
    query = f"?token={token}" if token else ""
    return server, f"http://127.0.0.1:{server.server_port}/dashboard/studies/{loaded._study_id}{query}"


def _load(name: str, storage: str | None) -> optuna.Study:
    import optuna

    backend: Any = open_storage(storage, create=False, max_outage=PATIENCE_S)
    backend.max_outage = PATIENCE_S
    try:
        return optuna.load_study(study_name=name, storage=backend)
    except KeyError:
        return load_study(name, storage)  # says which studies there are


def _artifacts(storage: str | None) -> Any:
    """The shared artifact store; None where it is not there and cannot be made."""
    from optuna.artifacts import FileSystemArtifactStore

    folder = files_folder(storage) / "artifacts"
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        say(f"{folder}: cannot be made ({error.strerror}), so there are no learning curves to show")
        return None
    return FileSystemArtifactStore(base_path=str(folder))


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
    say_errors_briefly()
    if threading.current_thread() is threading.main_thread():
        signal.signal(signal.SIGTERM, signal.default_int_handler)
    with server, ExitStack() as stack, suppress(KeyboardInterrupt):
        print(address, flush=True)
        say(f"from another computer, first: {tunnel_command(server.server_port)}")
        if token is None:
            say("everybody who can log in here can change and delete the studies (--no-token)")
        say("Ctrl-C ends")
        if open_browser:
            open_page(address, stack)
        server.serve_forever(poll_interval=0.2)
    say("dashboard ended")
