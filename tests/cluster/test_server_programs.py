"""Programs of both kinds, told apart by what they say, and called as each wants it."""

from __future__ import annotations

import os
import sys
from pathlib import Path

import pytest

from hpopt_lib.cluster import server_commands, server_programs
from hpopt_lib.cluster.server_commands import install_command, server_command
from hpopt_lib.cluster.server_programs import Program, find_program, identify
from hpopt_lib.errors import HpoptError

#: What programs say to --version.
SAY = {
    "mariadb": "mariadbd  Ver 10.11.14-MariaDB-0+deb12u2 for debian-linux-gnu on x86_64 (Debian 12)",
    "mariadb 11": "mariadbd from 11.8.3-MariaDB, client 15.2 for debian-linux-gnu\nmariadbd  Ver 11.8.3-MariaDB",
    "mysql": "/usr/local/bin/mysqld  Ver 8.0.36 for Linux on x86_64 (MySQL Community Server - GPL)",
    "percona": "/usr/sbin/mysqld  Ver 8.4.3-3 for Linux on x86_64 (Percona Server (GPL), Release 3)",
    "mysql 5.7": "mysqld  Ver 5.7.44 for Linux on x86_64 (MySQL Community Server (GPL))",
}


def program(folder: Path, says: str, name: str = "mysqld", code: int = 0) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / name
    path.write_text(f"#!{sys.executable}\nimport sys\nprint({says!r})\nsys.exit({code})\n")
    path.chmod(0o700)
    return path


@pytest.fixture(autouse=True)
def alone(tmp_path, monkeypatch):
    """No programs but the test's own."""
    for name in ("HPOPT_MYSQLD", "CONDA_PREFIX"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("PATH", str(tmp_path / "path"))
    monkeypatch.setattr(server_programs, "SYSTEM", ())
    monkeypatch.setattr(server_programs.sys, "prefix", str(tmp_path / "python"))


@pytest.mark.parametrize(
    ("says", "product"),
    [
        ("mariadb", "MariaDB 10.11.14"),
        ("mariadb 11", "MariaDB 11.8.3"),
        ("mysql", "MySQL 8.0.36"),
        ("percona", "MySQL 8.4.3"),
    ],
)
def test_programs_are_told_apart(tmp_path, says, product):
    # a folder's name says nothing
    assert identify(program(tmp_path / "mariadb-like", SAY[says])).product == product


@pytest.mark.parametrize(
    ("says", "code", "message"),
    [
        (SAY["mysql 5.7"], 0, "mysqld: MySQL 5.7.44 is too old; use 8.0 or newer"),
        ("I sort music", 0, "not a working server program: I sort music; get one in one of three ways"),
        ("libaio.so.1: cannot open shared object file", 127, "libaio.so.1: cannot open shared object file; get one"),
    ],
)  # fmt: skip
def test_what_does_not_do_is_refused(tmp_path, monkeypatch, says, code, message):
    monkeypatch.setenv("HPOPT_MYSQLD", str(program(tmp_path / "bin", says, code=code)))
    with pytest.raises(HpoptError, match=message):
        find_program()


def test_without_any_the_message_tells_how_to_get_one(tmp_path, monkeypatch):
    with pytest.raises(HpoptError) as raised:
        find_program()
    for word in ("no MySQL or MariaDB server", "module avail", "conda-forge", "dpkg-deb -x", "HPOPT_MYSQLD"):
        assert word in str(raised.value)
    monkeypatch.setenv("HPOPT_MYSQLD", str(tmp_path))
    with pytest.raises(HpoptError, match="HPOPT_MYSQLD: .* is not a program; name the file"):
        find_program()


def test_they_are_found_in_path_beside_a_client_and_in_an_environment(tmp_path, monkeypatch):
    in_conda = program(tmp_path / "conda" / "bin", SAY["mysql"])
    monkeypatch.setenv("CONDA_PREFIX", str(tmp_path / "conda"))
    assert find_program().path == in_conda
    program(tmp_path / "module" / "bin", "a client", name="mysql")
    beside = program(tmp_path / "module" / "libexec", SAY["mysql"])
    monkeypatch.setenv("PATH", f"{tmp_path}/path:{tmp_path}/module/bin")
    monkeypatch.delenv("CONDA_PREFIX")
    assert find_program().path == beside
    in_path = program(tmp_path / "path", SAY["mariadb"], name="mariadbd")
    assert find_program().path == in_path
    named = program(tmp_path / "own", SAY["percona"])
    monkeypatch.setenv("HPOPT_MYSQLD", str(named))
    assert find_program().path == named


def test_a_folder_of_somebody_else_in_path_is_passed_over(tmp_path, monkeypatch):
    works = program(tmp_path / "other", SAY["mysql"])
    monkeypatch.setenv("PATH", f"{tmp_path}/closed:{tmp_path}/other")
    stat = os.stat

    def closed(path, **options):
        if str(path).startswith(f"{tmp_path}/closed"):
            raise PermissionError(13, "Permission denied", str(path))
        return stat(path, **options)

    monkeypatch.setattr(os, "stat", closed)
    assert find_program().path == works


def test_a_broken_one_does_not_hide_one_that_works(tmp_path, monkeypatch):
    program(tmp_path / "path", "libaio.so.1: cannot open", name="mariadbd", code=127)
    works = program(tmp_path / "other", SAY["mysql"])
    monkeypatch.setenv("PATH", f"{tmp_path}/path:{tmp_path}/other")
    assert find_program().path == works
    works.unlink()
    with pytest.raises(HpoptError, match=r"no MySQL or MariaDB server program here \(.*libaio.so.1"):
        find_program()


def test_data_belong_to_the_kind_that_made_them(tmp_path, monkeypatch):
    program(tmp_path / "path", SAY["mysql"])
    with pytest.raises(HpoptError, match=r"no MariaDB .* \(there is MySQL 8.0.36, which cannot read them\)"):
        find_program("MariaDB")
    second = program(tmp_path / "path", SAY["mariadb"], name="mariadbd")
    assert find_program("MariaDB").path == second
    assert find_program("MySQL").path.name == "mysqld"
    monkeypatch.setenv("HPOPT_MYSQLD", str(second))
    with pytest.raises(HpoptError, match="is MariaDB 10.11.14, but the data belong to MySQL"):
        find_program("MySQL")


def command(kind: str, folder: Path, **changes) -> list[str]:
    options = {
        "socket": folder / "s", "address": "192.0.2.1", "port": 4000, "log": folder / "log",
        "init_file": folder / "init.sql", "flush": 1, "network_files": False, "max_connections": 512,
    }  # fmt: skip
    return server_command(Program(folder / "bin" / "x", kind, "1"), folder / "data", **{**options, **changes})


@pytest.mark.parametrize("kind", ["MariaDB", "MySQL"])
def test_how_each_kind_is_called(tmp_path, monkeypatch, kind):
    monkeypatch.setattr(os, "geteuid", lambda: 1000)
    words = command(kind, tmp_path)
    assert words[1] == "--no-defaults", "it has to be the first option"
    for word in (
        "--bind-address=192.0.2.1", "--port=4000", "--max-connections=512", "--skip-log-bin",
        "--innodb-flush-log-at-trx-commit=1", "--skip-name-resolve",
    ):  # fmt: skip
        assert word in words
    assert "--user=root" not in words and "--innodb-use-native-aio=OFF" not in words
    assert ("--loose-mysqlx=OFF" in words) == (kind == "MySQL")
    assert ("--secure-file-priv=NULL" in words) == (kind == "MySQL")
    alone = command(kind, tmp_path, address=None, port=0)
    assert "--skip-networking" in alone and not [w for w in alone if w.startswith(("--port", "--bind"))]
    far = command(kind, tmp_path, flush=2, network_files=True)
    assert "--innodb-flush-log-at-trx-commit=2" in far and "--innodb-use-native-aio=OFF" in far


def test_root_has_to_say_that_it_means_it(tmp_path, monkeypatch):
    monkeypatch.setattr(os, "geteuid", lambda: 0)
    assert "--user=root" in command("MariaDB", tmp_path) and "--user=root" in command("MySQL", tmp_path)
    mysql = Program(tmp_path / "bin" / "mysqld", "MySQL", "8.0.36")
    assert "--user=root" in install_command(mysql, tmp_path / "data", tmp_path)
    script = program(tmp_path / "bin", "", name="mariadb-install-db")
    mariadb = Program(tmp_path / "bin" / "mariadbd", "MariaDB", "10.11.14")
    words = install_command(mariadb, tmp_path / "data", tmp_path)
    assert words[0] == str(script)
    assert not [w for w in words if w.startswith("--user")], "the script would change the installation"
    assert "--auth-root-authentication-method=socket" in words and "--skip-test-db" in words


def test_each_kind_makes_its_data_in_its_own_way(tmp_path, monkeypatch):
    mysql = Program(tmp_path / "bin" / "mysqld", "MySQL", "8.0.36")
    words = install_command(mysql, tmp_path / "data", tmp_path)
    assert "--initialize-insecure" in words and f"--datadir={tmp_path / 'data'}" in words
    with pytest.raises(HpoptError, match="mariadbd: there is no mariadb-install-db beside it"):
        install_command(Program(tmp_path / "bin" / "mariadbd", "MariaDB", "11.4.2"), tmp_path / "d", tmp_path)
    older = program(tmp_path / "scripts", "", name="mysql_install_db")
    words = install_command(Program(tmp_path / "bin" / "x", "MariaDB", "10.5.1"), tmp_path / "d", tmp_path)
    assert words[0] == str(older)
    monkeypatch.setattr(server_commands.pwd, "getpwuid", lambda uid: {}[uid])
    assert server_commands.account_name() == str(os.geteuid())


def test_the_environment_of_a_program(tmp_path, monkeypatch):
    """No settings of other servers, and the libraries of an unpacked package but for another C library."""
    monkeypatch.setenv("MYSQL_PWD", "secret")
    monkeypatch.setenv("LD_LIBRARY_PATH", "/mine")
    libraries = tmp_path / "usr" / "lib" / "x86_64-linux-gnu"
    libraries.mkdir(parents=True)
    env = Program(tmp_path / "usr" / "sbin" / "mariadbd", "MariaDB", "1").environment()
    assert env["LD_LIBRARY_PATH"] == f"{libraries}:/mine" and "MYSQL_PWD" not in env
    assert env["UMASK"] == "0600" and env["UMASK_DIR"] == "0700"
    (libraries / "libc.so.6").touch()
    env = Program(tmp_path / "usr" / "sbin" / "mariadbd", "MariaDB", "1").environment()
    assert env["LD_LIBRARY_PATH"] == "/mine"
    assert Program(Path("/usr/sbin/mysqld"), "MySQL", "1").environment()["LD_LIBRARY_PATH"] == "/mine"
