"""What a node tells about itself: file systems, addresses, locks, and a place for a socket."""

from __future__ import annotations

import errno
import os
import socket
import stat
import tempfile

import pytest

from hpopt_lib.cluster import server_lock, server_places, server_process
from hpopt_lib.cluster.server_data import init_sql, last_error
from hpopt_lib.cluster.server_places import (
    file_system,
    listening_address,
    on_network,
    own_address,
    socket_folder,
)
from hpopt_lib.errors import HpoptError

MOUNTS = """\
/dev/sda1 / ext4 rw 0 0
tmpfs {root}/shm tmpfs rw 0 0
10.0.0.1@o2ib:/fs {root}/scratch lustre rw,flock 0 0
server:/home {root}/my\\040home nfs4 rw 0 0
/dev/sdb1 {root}/scratch/local xfs rw 0 0
"""


def test_network_file_systems_are_known_by_the_mount(tmp_path):
    mounts = tmp_path / "mounts"
    mounts.write_text(MOUNTS.format(root=tmp_path))
    for place, kind, network in (
        ("scratch/me/db", "lustre", True),
        ("my home/db", "nfs4", True),
        ("scratch/local/db", "xfs", False),
        ("scratchy", "ext4", False),
        ("shm", "tmpfs", False),
    ):
        assert file_system(tmp_path / place, mounts) == kind
        assert on_network(tmp_path / place, mounts) == network
    assert file_system(tmp_path, tmp_path / "none") == ""


def test_commits_go_to_the_disk_at_once_but_on_network_file_systems(tmp_path, monkeypatch):
    assert server_process.flush_mode(tmp_path)[0] in (1, 2)
    monkeypatch.setattr(server_process, "on_network", lambda path: True)
    monkeypatch.setattr(server_process, "file_system", lambda path: "lustre")
    mode, why = server_process.flush_mode(tmp_path)
    assert mode == 2 and "lustre is a network file system" in why
    monkeypatch.setattr(server_process, "on_network", lambda path: False)
    assert server_process.flush_mode(tmp_path)[0] == 1


def test_it_listens_to_this_node_alone_outside_of_jobs(monkeypatch):
    for name in ("SLURM_JOB_ID", "PBS_JOBID"):
        monkeypatch.delenv(name, raising=False)
    assert listening_address(None) == ("127.0.0.1", "127.0.0.1")
    assert listening_address("localhost")[0] in ("127.0.0.1", "::1")
    monkeypatch.setattr(server_places, "own_address", lambda: "192.0.2.7")
    assert listening_address("0.0.0.0") == ("0.0.0.0", "192.0.2.7")
    for name in ("SLURM_JOB_ID", "PBS_JOBID"):
        monkeypatch.setenv(name, "1")
        assert listening_address(None) == ("192.0.2.7", "192.0.2.7")
        monkeypatch.delenv(name)
    for wrong in ("203.0.113.9", "no.such.host.invalid"):
        with pytest.raises(HpoptError, match=f"--bind {wrong}: not an address of node"):
            listening_address(wrong)


def test_the_own_address_is_none_of_the_loopback(monkeypatch):
    def hosts(*_args, **_kwargs):
        return [(0, 0, 0, "", ("127.0.1.1", 0)), (0, 0, 0, "", ("192.0.2.9", 0))]

    monkeypatch.setattr(socket, "getaddrinfo", hosts)
    assert own_address() == "192.0.2.9"
    monkeypatch.setattr(socket, "getaddrinfo", lambda *_a, **_k: [(0, 0, 0, "", ("127.0.1.1", 0))])

    class NoRoute:
        def __init__(self, *_): ...
        def __enter__(self):
            return self

        def __exit__(self, *_): ...
        def connect(self, _):
            raise OSError(errno.ENETUNREACH, "Network is unreachable")

    monkeypatch.setattr(socket, "socket", NoRoute)
    with pytest.raises(HpoptError, match="has no address that other nodes could reach; name one with --bind"):
        own_address()


def test_the_socket_has_a_short_private_folder_of_the_node(tmp_path, monkeypatch):
    long = tmp_path / ("x" * 90)
    long.mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(long))
    folder = socket_folder()
    try:
        assert not folder.is_relative_to(long) and len(os.fsencode(folder / "s")) < 104
        assert stat.S_IMODE(folder.stat().st_mode) == 0o700
    finally:
        folder.rmdir()
    monkeypatch.setattr(server_places, "on_network", lambda path: True)
    with pytest.raises(HpoptError, match="no folder of this node for a socket; set TMPDIR"):
        socket_folder()


def test_a_lock_is_for_one_and_free_with_its_last_holder(tmp_path):
    first = server_lock.take_lock(tmp_path)
    assert first is not None and server_lock.is_locked(tmp_path)
    assert server_lock.take_lock(tmp_path, patience_s=0) is None
    heir = os.dup(first)
    os.close(first)
    assert server_lock.is_locked(tmp_path)
    os.close(heir)
    assert not server_lock.is_locked(tmp_path)
    assert stat.S_IMODE((tmp_path / "lock").stat().st_mode) == 0o600


def test_a_file_system_without_locks_is_told(tmp_path, monkeypatch, capsys):
    def refuses(*_):
        raise OSError(errno.ENOSYS, "Function not implemented")

    monkeypatch.setattr(server_lock.fcntl, "flock", refuses)
    descriptor = server_lock.take_lock(tmp_path)
    assert descriptor is not None and "the file system has no locks" in capsys.readouterr().err
    os.close(descriptor)


def test_a_process_is_known_by_its_beginning():
    start = server_lock.process_start(os.getpid())
    assert server_lock.is_alive(os.getpid(), start)
    assert not server_lock.is_alive(os.getpid(), "1") and not server_lock.is_alive(0, "")


def test_a_damaged_note_counts_as_none(tmp_path):
    for text in ("", "[]", '{"job_id": "1"}', "{"):
        (tmp_path / "state.json").write_text(text)
        assert server_lock.read_state(tmp_path) is None


def test_the_account_is_made_for_one_database(tmp_path):
    account = {"user": "u", "password": "p", "database": "d"}
    lines = init_sql(account, "MySQL").splitlines()
    assert all(line.endswith(";") for line in lines), "the server reads a statement from each line"
    assert [line for line in lines if line.startswith("GRANT")] == [
        "GRANT SELECT, INSERT, UPDATE, DELETE, CREATE, ALTER, DROP, INDEX, REFERENCES ON `d`.* TO 'u'@'%';"
    ]
    assert "ALTER USER 'root'@'localhost' ACCOUNT LOCK;" in lines
    assert "root" not in init_sql(account, "MariaDB")


def test_the_first_error_of_a_log_says_why(tmp_path):
    log = tmp_path / "log"
    log.write_text(
        "2026-01-01 [Note] old\n2026-01-01 0 [ERROR] InnoDB: Unable to lock ./ibdata1\n"
        "2026-01-01 0 [ERROR] Plugin 'InnoDB' init function returned error.\n2026-01-01 [Note] end\n"
    )
    assert last_error(log) == "InnoDB: Unable to lock ./ibdata1"
    assert last_error(log, log.stat().st_size) == "it says nothing"
    assert last_error(tmp_path / "none") == "it says nothing"
