"""Studies of the earlier project come home: its database stays as it was, its errors keep their unit."""

from __future__ import annotations

import hashlib
import sqlite3
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from urllib.parse import quote_plus, urlsplit

import optuna
import pytest
from click.testing import CliRunner

from hpopt_lib.cli import main
from hpopt_lib.errors import HpoptError
from hpopt_lib.tuning.ampopt import IMPORTED, import_study, source_address
from hpopt_lib.tuning.manage import list_studies, trial_records
from hpopt_lib.tuning.storage import load_study
from hpopt_lib.tuning.study import tune

#: Written by Optuna 2.10.1 with AmpOpt's sampler, pruner and search space (the objective was a formula).
DUMP = Path(__file__).with_name("ampopt_studies.sql")


@pytest.fixture
def old(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A database with the schema of Optuna 2.10."""
    monkeypatch.chdir(tmp_path)
    path = tmp_path / "old.db"
    with closing(sqlite3.connect(path)) as connection:
        connection.executescript(DUMP.read_text(encoding="utf-8"))
    return path


def check(study: optuna.Study, *, rel: float = 1e-12) -> None:
    """What the old study held, to the precision of its columns."""
    states = [trial.state.name for trial in study.trials]
    assert states == [
        "COMPLETE", "COMPLETE", "FAIL", "COMPLETE", "PRUNED", "PRUNED", "COMPLETE", "PRUNED", "RUNNING",
    ]  # fmt: skip
    first = study.trials[0]
    assert first.value == pytest.approx(54.37223787805261, rel=rel)
    assert first.params["num_layers"] == 12 and first.params["lr"] == pytest.approx(1.619311e-4, rel=1e-6)
    assert first.distributions["lr"] == optuna.distributions.FloatDistribution(1e-5, 0.1, log=True)
    assert first.intermediate_values[5] == pytest.approx(76.12113302927365, rel=rel)
    assert first.datetime_start is not None and first.duration is not None
    assert list(study.trials[4].intermediate_values) == [1, 2]


def test_a_study_is_imported_and_its_source_untouched(old: Path) -> None:
    before = hashlib.sha256(old.read_bytes()).hexdigest()
    assert import_study("oc20-3k", f"sqlite:///{old}") == 9
    assert hashlib.sha256(old.read_bytes()).hexdigest() == before
    study = load_study("oc20-3k", None)
    check(study)
    note = study.user_attrs[IMPORTED]
    assert (note["unit"], note["comparable"], note["from"]) == ("eV", False, "AmpOpt")
    assert study.metric_names == ["ampopt_validation_energy_mae_ev"]
    assert len(trial_records(study)) == 9


def test_it_never_mixes_with_a_study_of_ours(old: Path, make_config) -> None:
    tune("ours", make_config(), trials=1)
    with pytest.raises(HpoptError, match="study 'ours': the storage has one of that name; choose another"):
        import_study("oc20-3k", str(old), new_name="ours")
    import_study("oc20-3k", str(old), new_name="theirs")
    with pytest.raises(HpoptError, match="study 'theirs': not made by hpopt tune"):
        tune("theirs", make_config(), trials=1)
    assert {row["study"]: row["metric"] for row in list_studies()} == {
        "ours": "validation_energy_mae_mev_per_atom",
        "theirs": "ampopt_validation_energy_mae_ev",
    }


def test_the_command(old: Path) -> None:
    def hpopt(*arguments: str) -> tuple[int, str]:
        done = CliRunner().invoke(main, list(arguments))
        return done.exit_code, done.output

    code, said = hpopt("study", "import", "oc20-3k", "--from", "old.db")
    assert (code, said) == (0, "imported oc20-3k: 9 trials, values in eV, not comparable with ours\n")
    _, shown = hpopt("study", "show", "oc20-3k")
    assert "minimise ampopt validation energy MAE (eV)" in shown and "not comparable with ours" in shown
    code, said = hpopt("study", "list", "--storage", "sqlite:///old.db")
    assert code == 1 and "made by an older Optuna; copy its studies with hpopt study import" in said
    code, said = hpopt("study", "import", "oc20", "--from", "old.db")
    assert code == 1 and "study 'oc20': not in sqlite:///old.db; it has oc20-3k" in said
    assert hpopt("study", "import", "oc20-3k", "--from", "old.db", "--as", "b", "--unit", "kcal")[0] == 1
    assert optuna.get_all_study_names("sqlite:///hpopt.db") == ["oc20-3k"]


def test_a_failed_import_leaves_nothing(old: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(self, trials) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(optuna.Study, "add_trials", fail)
    with pytest.raises(KeyboardInterrupt):
        import_study("oc20-3k", str(old))
    assert list_studies() == []


def test_the_account_comes_from_the_file_of_ampopt(tmp_path: Path) -> None:
    path = tmp_path / ".env"
    path.write_text(
        "MYSQL_USERNAME=ann\nMYSQL_PASSWORD='s@cret' # theirs\nHPOPT_DB=hpopt\nMYSQL_NODE=node7\n",
        encoding="utf-8",
    )
    assert source_address(str(path)) == "mysql+pymysql://ann:s%40cret@node7/hpopt"
    path.write_text("MYSQL_USERNAME=ann\nHPOPT_DB=hpopt\nMYSQL_NODE=node7\n", encoding="utf-8")
    with pytest.raises(HpoptError, match=r"\.env: MYSQL_PASSWORD: missing"):
        source_address(str(path))
    with pytest.raises(HpoptError, match="nowhere: no such file, and no address"):
        source_address("nowhere")


@pytest.mark.parametrize("content", [b"text", b""])
def test_files_of_another_kind(tmp_path: Path, monkeypatch, content: bytes) -> None:
    monkeypatch.chdir(tmp_path)
    Path("other.db").write_bytes(content)
    with pytest.raises(HpoptError, match="other.db"):
        import_study("s", "sqlite:///other.db")


@pytest.fixture
def old_server(needs, old: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    """Address of a server that holds the old tables."""
    needs("mariadbd")
    import sqlalchemy as sql

    from hpopt_lib.cluster.server import Server
    from hpopt_lib.tuning.endpoint import read_endpoint, server_folder

    monkeypatch.setenv("HPOPT_HOME", str(tmp_path / "home"))
    server = Server("old")
    server.init()
    running = server.start()
    try:
        endpoint = read_endpoint(server_folder("old"))
        assert endpoint is not None
        account = f"{endpoint.user}:{quote_plus(endpoint.password)}"
        address = f"mysql+pymysql://{account}@127.0.0.1:{endpoint.port}/{endpoint.database}"
        here, there = sql.create_engine(f"sqlite:///{old}"), sql.create_engine(address)
        tables, new = sql.MetaData(), sql.MetaData()
        new.reflect(there)  # the server came with tables of today
        new.drop_all(there)
        with here.connect() as source, there.begin() as target:
            tables.reflect(source)
            for table in tables.tables.values():  # MariaDB has no checks of automatic numbers
                table.constraints = {c for c in table.constraints if not isinstance(c, sql.CheckConstraint)}
            tables.create_all(target)
            for table in tables.sorted_tables:
                if rows := [dict(row) for row in source.execute(sql.select(table)).mappings()]:
                    target.execute(table.insert(), rows)
        here.dispose()
        there.dispose()
        yield address
    finally:
        server.stop()
        running.process.wait(timeout=30)


def test_a_server_is_only_read(old_server: str) -> None:
    """The way for MySQL and MariaDB: the old tables stay as they are, password and all."""
    assert import_study("oc20-3k", old_server) == 9
    study = load_study("oc20-3k", None)
    check(study, rel=1e-7)  # FLOAT holds single precision
    password = urlsplit(old_server).password
    assert password and password not in str(study.user_attrs)
    # still the schema that current Optuna refuses
    with pytest.raises(RuntimeError, match="no longer compatible"):
        optuna.storages.RDBStorage(old_server)
    with pytest.raises(HpoptError, match="study 'x': not in mysql") as error:
        import_study("x", old_server)
    assert password not in str(error.value)
    with pytest.raises(HpoptError, match="cannot be read: .*; correct the address"):
        import_study("oc20-3k", old_server.replace("/hpopt", "/nothing"), new_name="y")
