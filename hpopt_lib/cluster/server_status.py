"""What there is to know about a server, without its password."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from hpopt_lib.cluster import server_client
from hpopt_lib.cluster.server_data import DUMPS
from hpopt_lib.cluster.server_lock import read_state
from hpopt_lib.cluster.server_process import flush_mode
from hpopt_lib.tuning.endpoint import read_endpoint

if TYPE_CHECKING:
    from hpopt_lib.cluster.server import Server


def server_status(server: Server) -> dict[str, Any]:
    """State, place and size of a server.

    Parameters
    ----------
    server : Server

    Returns
    -------
    dict
        ``name``, ``state`` (``running``, ``starting or stopping``, ``does not answer`` or ``stopped``),
        ``folder``, ``size_mb``, ``last_dump``; while it runs also ``address``, ``node``, ``job``,
        ``product``, ``started``, ``writing`` (how commits reach the disk, and why) and
        `hpopt_lib.cluster.server_client.figures`.
    """
    folder = server.folder
    status: dict[str, Any] = {
        "name": server.name,
        "state": "stopped",
        "folder": str(folder),
        "size_mb": round(_size(folder) / 1e6, 1),
        "last_dump": max((path.name for path in (folder / DUMPS).glob("*.db")), default=""),
    }
    endpoint, state = read_endpoint(folder), read_state(folder)
    if endpoint is None:
        if server.running:
            status["state"] = "starting or stopping"
        return status
    figures = server_client.figures(endpoint)
    # an address that a killed server has left is no sign of life
    if not figures and not server.running:
        return status
    status["state"] = "running" if figures else "does not answer"
    status |= {
        "address": f"mysql+pymysql://{endpoint.user}:***@{endpoint.host}:{endpoint.port}/{endpoint.database}",
        "node": endpoint.node,
        "job": endpoint.job_id or (state.job_id if state else ""),
        "product": endpoint.product,
        "started": endpoint.started,
        "writing": flush_mode(folder)[1],
        **figures,
    }
    return status


def _size(folder: Path) -> int:
    total = 0
    for path in folder.rglob("*"):
        try:
            total += path.lstat().st_blocks * 512  # sparse files take less than they are long
        except OSError:
            continue  # removed meanwhile
    return total
