"""Where a server listens and keeps its socket: properties of the node and of the file system."""

from __future__ import annotations

import os
import socket
import tempfile
from pathlib import Path

from hpopt_lib.errors import HpoptError

#: File systems that other nodes see too, by their name in /proc/mounts.
NETWORK = {
    "nfs", "nfs4", "lustre", "gpfs", "beegfs", "beegfs_nodev", "ceph", "glusterfs", "panfs", "pvfs2",
    "orangefs", "cifs", "smb3", "smbfs", "afs", "9p", "wekafs", "vastnfs",
    "fuse.glusterfs", "fuse.sshfs", "fuse.ceph", "fuse.beegfs", "fuse.juicefs",
}  # fmt: skip
#: Longest name of a Unix socket, in bytes, on Linux and macOS.
SOCKET_LIMIT = 103


def node_name() -> str:
    """Name of this node."""
    return socket.gethostname()


def job_id() -> str:
    """Batch job in which this process runs; empty outside of one."""
    return os.environ.get("SLURM_JOB_ID") or os.environ.get("PBS_JOBID") or ""


def file_system(path: Path, mounts: Path = Path("/proc/mounts")) -> str:
    """Kind of the file system that holds a path, such as ``ext4``; empty where the system does not tell."""
    try:
        lines = mounts.read_text(encoding="utf-8", errors="replace").splitlines()
    except OSError:
        return ""
    path = path.resolve()
    best, kind = -1, ""
    for line in lines:
        fields = line.split(" ")
        point = Path(fields[1].replace("\\040", " "))
        # of mounts at the same place the last one counts
        if len(point.parts) >= best and path.is_relative_to(point):
            best, kind = len(point.parts), fields[2]
    return kind


def on_network(path: Path, mounts: Path = Path("/proc/mounts")) -> bool:
    """Whether a path is on a network file system."""
    return file_system(path, mounts) in NETWORK


def own_address() -> str:
    """Address at which other nodes reach this one.

    Raises
    ------
    HpoptError
        When the node has none but the loopback.
    """
    addresses: list[str] = []
    for name in (socket.gethostname(), socket.getfqdn()):
        try:
            found = socket.getaddrinfo(name, None, socket.AF_INET, socket.SOCK_STREAM)
        except OSError:
            continue
        addresses += [str(entry[4][0]) for entry in found]
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
        try:
            # no packet is sent: the system only says which of its addresses it would use
            probe.connect(("192.0.2.1", 9))
            addresses.append(probe.getsockname()[0])
        except OSError:
            pass
    for address in addresses:
        if not address.startswith("127.") and address != "0.0.0.0":
            return address
    raise HpoptError(
        f"node {node_name()}: has no address that other nodes could reach",
        remedy="name one with --bind, or --bind 127.0.0.1 for workers on this node only",
    )


def listening_address(bind: str | None) -> tuple[str, str]:
    """Address on which the server listens, and the one that workers use.

    Parameters
    ----------
    bind : str or None
        What the user asked for; by default the node's own address in a batch job, where workers are
        on other nodes, and the loopback elsewhere.
    """
    if bind is None:
        address = own_address() if job_id() else "127.0.0.1"
        return address, address
    try:
        address = str(socket.getaddrinfo(bind, None, 0, socket.SOCK_STREAM)[0][4][0])
        family = socket.AF_INET6 if ":" in address else socket.AF_INET
        with socket.socket(family, socket.SOCK_STREAM) as probe:
            probe.bind((address, 0))
    except OSError as error:
        raise HpoptError(
            f"--bind {bind}: not an address of node {node_name()}", remedy="name one of its addresses"
        ) from error
    return address, own_address() if address in ("0.0.0.0", "::") else address


def free_port(address: str) -> int:
    """A port of that address that nobody uses now."""
    family = socket.AF_INET6 if ":" in address else socket.AF_INET
    with socket.socket(family, socket.SOCK_STREAM) as probe:
        probe.bind((address, 0))
        return int(probe.getsockname()[1])


def socket_folder() -> Path:
    """Make a folder for the server's Unix socket: on this node, short, and for its owner only.

    The socket itself is open to everybody; the folder protects it.
    """
    candidates = [Path(tempfile.gettempdir()), Path("/dev/shm"), Path("/var/tmp")]
    for parent in candidates:
        short = len(os.fsencode(parent / "hpopt-12345678" / "s")) <= SOCKET_LIMIT
        if short and os.access(parent, os.W_OK) and not on_network(parent):
            return Path(tempfile.mkdtemp(prefix="hpopt-", dir=parent))
    raise HpoptError(
        "no folder of this node for a socket", remedy="set TMPDIR to a short path on a disk of the node"
    )
