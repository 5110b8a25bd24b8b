"""Addresses of storages: what they open, what they refuse, and that strangers' files stay as they are."""

from __future__ import annotations

import sqlite3
import warnings
from contextlib import closing

import optuna
import pytest

from hpopt_lib.errors import HpoptError
from hpopt_lib.tuning.addresses import mask
from hpopt_lib.tuning.storage import load_study, open_storage

#: With a password in it, which must not be told.
SECRET = "mysql+pymysql://me:geheim@127.0.0.1:1/db"


@pytest.mark.parametrize("kind", ["sqlite", "journal"])
@pytest.mark.parametrize("absolute", [True, False])
def test_studies_are_found_again(tmp_path, monkeypatch, kind, absolute):
    monkeypatch.chdir(tmp_path)
    address = f"{kind}:///{tmp_path}/s.db" if absolute else f"{kind}:///s.db"
    storage = open_storage(address)
    study = optuna.create_study(study_name="x", storage=storage)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)
        study.optimize(lambda trial: trial.suggest_float("a", 0, 1), n_trials=2)
    assert (tmp_path / "s.db").exists()
    assert [t.value for t in load_study("x", address).trials] == [t.value for t in study.trials]
    with pytest.raises(HpoptError, match="study 'y': not in .*; it has x"):
        load_study("y", address)


def test_the_default_is_a_file_in_this_folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(HpoptError, match="hpopt.db: no such study storage; .*run hpopt tune first"):
        load_study("x")
    assert list(tmp_path.iterdir()) == []
    open_storage()
    assert [p.name for p in tmp_path.iterdir()] == ["hpopt.db"]


@pytest.mark.parametrize(
    ("address", "message"),
    [
        (
            "studies.db",
            "no storage address; write sqlite:///FILE, journal:///FILE, mysql.pymysql://… or the name of a server",
        ),
        ("sqlite:///", "names no file; write sqlite:///FILE"),
        ("journal:///", "names no file"),
        ("sqlite:///none/s.db", "none: no such folder; make it first"),
        ("redis:///x", "--storage: redis:///x cannot be opened: .*; correct the address"),
        ("sqlite:///folder", "folder: a folder, not a file"),
        ("journal:///folder", "folder: a folder, not a file"),
        ("sqlite:///text.db", "text.db: not an SQLite file"),
        ("sqlite:///damaged.db", "damaged.db: cannot be read: "),
        ("sqlite:///browser.db", "browser.db: a database of another program; name the file of your studies"),
        ("journal:///text.db", "text.db: not a journal of Optuna"),
        ("journal:///binary.log", "binary.log: not a journal of Optuna"),
        ("journal:///other.log", "other.log: not a journal of Optuna"),
    ],
)
@pytest.mark.parametrize("create", [True, False])
def test_addresses_and_files_that_are_refused(tmp_path, monkeypatch, address, message, create):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "folder").mkdir()
    (tmp_path / "text.db").write_text("my notes\n" * 100)
    (tmp_path / "binary.log").write_bytes(bytes(range(256)))
    (tmp_path / "other.log").write_text('{"level": "info"}\n[1, 2]\n')
    with closing(sqlite3.connect("browser.db")) as connection:
        connection.execute("CREATE TABLE bookmarks (url TEXT)")
        connection.commit()
    whole = (tmp_path / "browser.db").read_bytes()
    (tmp_path / "damaged.db").write_bytes(whole[:100] + b"\xff" * 3000)
    before = {path.name: path.read_bytes() for path in tmp_path.iterdir() if path.is_file()}
    if not create and address == "sqlite:///none/s.db":
        message = "none/s.db: no such study storage"
    with pytest.raises(HpoptError, match=message) as raised:
        open_storage(address, create=create)
    assert raised.value.remedy
    assert {path.name: path.read_bytes() for path in tmp_path.iterdir() if path.is_file()} == before


def test_an_empty_file_may_become_a_storage(tmp_path):
    (tmp_path / "s.db").touch()
    open_storage(f"sqlite:///{tmp_path}/s.db")


def test_a_journal_whose_last_line_is_torn_can_be_read(tmp_path):
    path = tmp_path / "s.log"
    optuna.create_study(study_name="x", storage=open_storage(f"journal:///{path}"))
    path.write_bytes(path.read_bytes() + b'{"op_code": 4, "study_id"')
    assert load_study("x", f"journal:///{path}").study_name == "x"


def test_passwords_are_masked():
    assert mask(SECRET) == "mysql+pymysql://me:***@127.0.0.1:1/db"
    for secret in ("mysql://me:a@b:c@host/db", "mysql://me:a/b@host/db"):
        assert mask(secret) == "mysql://me:***@host/db"
    assert mask("sqlite:///x.db") == "sqlite:///x.db"


def test_a_server_that_does_not_answer_does_not_tell_the_password():
    pytest.importorskip("pymysql")
    with pytest.raises(HpoptError, match="--storage: mysql.* cannot be opened: ") as raised:
        open_storage(SECRET)
    assert "geheim" not in str(raised.value)
