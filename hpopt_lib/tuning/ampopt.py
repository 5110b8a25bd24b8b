"""Bring home the studies of AmpOpt, the earlier project: an old Optuna schema, and errors in another unit.

AmpOpt (github.com/Arrrlex/bdqm-hyperparam-tuning, 2022) kept its studies with Optuna 2.10 in MySQL. Current
Optuna refuses that schema and upgrades it in place, for good. So the tables are copied to a temporary SQLite
file first and only the copy is upgraded; the original is read and nothing else.
"""

from __future__ import annotations

import tempfile
import warnings
from pathlib import Path
from typing import TYPE_CHECKING, Any

from hpopt_lib.errors import HpoptError
from hpopt_lib.tuning.addresses import mask, storage_file
from hpopt_lib.tuning.storage import open_storage

if TYPE_CHECKING:
    import optuna

#: Attribute of imported studies: where from, unit, and that the objective is not ours.
IMPORTED = "hpopt_imported"
UNITS = {"eV": "ev", "meV/atom": "mev_per_atom", "eV/atom": "ev_per_atom"}
NOTE = (
    "Error of total energies of whole frames, not of energies per atom; trained on energies without element "
    "references; validated on a random tenth of the training frames, the last epoch counts; pruned on the "
    "training error. Not comparable with studies of hpopt."
)


def import_study(
    name: str,
    source: str,
    *,
    storage: str | None = None,
    new_name: str | None = None,
    unit: str = "eV",
) -> int:
    """Copy a study of AmpOpt to a storage of ours, with parameters, values, states and learning curves.

    The values keep their unit, and the study is marked: it can be shown, reported and exported, and
    ``hpopt tune`` and ``hpopt worker`` never add a trial to it.

    Parameters
    ----------
    name : str
        Of the study there.
    source : str
        ``sqlite:///FILE``, ``mysql+pymysql://…``, or the path of AmpOpt's ``.env`` file, which holds the
        account of its database.
    storage : str, optional
        Address of the target, see `hpopt_lib.tuning.storage.open_storage`.
    new_name : str, optional
        Of the copy; the same name by default.
    unit : {"eV", "eV/atom", "meV/atom"}
        Of the values; AmpOpt's are in eV.

    Returns
    -------
    int
        Number of trials.

    Raises
    ------
    HpoptError
        When the source cannot be read or has no such study, or the target has one of that name.
    """
    import optuna

    if unit not in UNITS:
        raise HpoptError(f"--unit: {unit!r} is unknown", remedy=f"use one of {', '.join(UNITS)}")
    new_name = new_name or name
    target = open_storage(storage)
    if new_name in optuna.get_all_study_names(target):
        raise HpoptError(
            f"study {new_name!r}: the storage has one of that name", remedy="choose another with --as"
        )
    address = source_address(source)
    with tempfile.TemporaryDirectory(prefix="hpopt-import-") as folder:
        old = _load_upgraded(address, name, Path(folder) / "copy.db")
        trials = old.get_trials(deepcopy=False)
        study = optuna.create_study(study_name=new_name, storage=target, directions=old.directions)
        try:
            # marked before it has a trial, so that an interrupted import is not taken for a study of ours
            study.set_user_attr(
                IMPORTED,
                {
                    "from": "AmpOpt",
                    "source": mask(address),
                    "study": name,
                    "trials": len(trials),
                    "unit": unit,
                    "comparable": False,
                    "note": NOTE,
                },
            )
            with warnings.catch_warnings():
                warnings.simplefilter("ignore", optuna.exceptions.ExperimentalWarning)
                study.set_metric_names([f"ampopt_validation_energy_mae_{UNITS[unit]}"])
            for key, value in old.user_attrs.items():
                study.set_user_attr(key, value)
            study.add_trials(trials)
        except BaseException:
            optuna.delete_study(study_name=new_name, storage=target)
            raise
    return len(trials)


def source_address(source: str) -> str:
    """Address of a source: an address itself, or that in AmpOpt's ``.env`` file.

    Raises
    ------
    HpoptError
        When the file is missing or lacks an entry.
    """
    if "://" in source:
        return source
    path = Path(source)
    if not path.is_file():
        raise HpoptError(
            f"--from: {source}: no such file, and no address",
            remedy="write sqlite:///FILE, mysql+pymysql://… or the path of AmpOpt's .env file",
        )
    with open(path, "rb") as stream:
        if stream.read(15) == b"SQLite format 3":
            return f"sqlite:///{path}"
    pairs = (line.partition("=") for line in path.read_text(encoding="utf-8").splitlines())
    entries = {key.strip(): value.partition(" #")[0].strip().strip("'\"") for key, _, value in pairs}
    needed = ("MYSQL_USERNAME", "MYSQL_PASSWORD", "MYSQL_NODE", "HPOPT_DB")
    if missing := [key for key in needed if not entries.get(key)]:
        raise HpoptError(
            f"{path}: {', '.join(missing)}: missing", remedy="give the .env file of AmpOpt, or an address"
        )
    from sqlalchemy.engine import URL

    user, password, node, database = (entries[key] for key in needed)
    url = URL.create("mysql+pymysql", user, password, host=node, database=database)
    return url.render_as_string(hide_password=False)


def _load_upgraded(address: str, name: str, copy: Path) -> optuna.Study:
    import optuna

    if address.startswith("sqlite://"):
        _copy_sqlite(storage_file(address), copy)
    else:
        _copy_tables(address, copy)
    storage_address = f"sqlite:///{copy}"
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", FutureWarning)  # names of distributions that the upgrade replaces
        try:
            _quietly_upgrade(storage_address)
            storage = optuna.storages.RDBStorage(storage_address)
        except Exception as error:  # Alembic and SQLAlchemy, on tables that are not Optuna's
            raise HpoptError(
                f"{mask(address)}: not a database of Optuna studies, or damaged"
                f" ({type(error).__name__}: {str(error).splitlines()[0]})",
                remedy="give the database that AmpOpt used",
            ) from error
    known = optuna.get_all_study_names(storage)
    if name not in known:
        raise HpoptError(
            f"study {name!r}: not in {mask(address)}",
            remedy=f"it has {', '.join(sorted(known))}" if known else "it has no study",
        )
    return optuna.load_study(study_name=name, storage=storage)


def _quietly_upgrade(address: str) -> None:
    import logging

    import optuna

    before = logging.root.manager.disable
    logging.disable(logging.INFO)  # Alembic names every step
    try:
        storage = optuna.storages.RDBStorage(address, skip_compatibility_check=True)
        if storage.get_current_version() != storage.get_head_version():
            storage.upgrade()
    finally:
        logging.disable(before)


def _copy_sqlite(path: Path, copy: Path) -> None:
    import sqlite3
    from contextlib import closing

    if not path.is_file():
        raise HpoptError(f"{path}: no such file", remedy="give the file of the studies")
    try:
        with (
            closing(sqlite3.connect(f"{path.resolve().as_uri()}?mode=ro", uri=True, timeout=60)) as original,
            closing(sqlite3.connect(copy)) as duplicate,
        ):
            original.backup(duplicate)
            tables = {name for (name,) in duplicate.execute("SELECT name FROM sqlite_master")}
    except sqlite3.Error as error:
        raise HpoptError(f"{path}: cannot be read: {error}", remedy="give an SQLite file") from error
    if "studies" not in tables:
        raise HpoptError(f"{path}: no table of studies in it", remedy="give the database that AmpOpt used")


def _copy_tables(address: str, copy: Path) -> None:
    """Copy all tables of a server's database to an SQLite file, with plain types."""
    import sqlalchemy as sql
    from sqlalchemy.exc import SQLAlchemyError

    try:
        engine = sql.create_engine(address)
        there, here = sql.MetaData(), sql.MetaData()
        with engine.connect() as connection:
            there.reflect(connection)
            if "studies" not in there.tables:
                raise HpoptError(
                    f"{mask(address)}: no table of studies in it", remedy="give the database that AmpOpt used"
                )
            duplicate = sql.create_engine(f"sqlite:///{copy}")
            tables = {
                name: sql.Table(name, here, *(_plain(column) for column in table.columns))
                for name, table in there.tables.items()
            }
            here.create_all(duplicate)
            with duplicate.begin() as writer:
                for name, table in there.tables.items():
                    rows = connection.execute(sql.select(*map(_all_digits, table.columns))).mappings()
                    while part := rows.fetchmany(1000):
                        writer.execute(tables[name].insert(), [dict(row) for row in part])
            duplicate.dispose()
        engine.dispose()
    except (SQLAlchemyError, ImportError) as error:
        reason = mask(str(getattr(error, "orig", None) or error)).splitlines()[0]
        raise HpoptError(
            f"{mask(address)}: cannot be read: {reason}", remedy="correct the address, start its server"
        ) from error


def _all_digits(column: Any) -> Any:
    """A column as it shall be read: of FLOAT, which old Optuna used, MySQL shows fewer digits than it has."""
    import sqlalchemy as sql

    return sql.cast(column, sql.Double).label(column.name) if isinstance(column.type, sql.Float) else column


def _plain(column: Any) -> Any:
    """A column with the same name and a type that SQLite has."""
    import sqlalchemy as sql

    kinds: tuple[Any, ...] = (sql.Integer, sql.Float, sql.DateTime)
    generic = next((kind() for kind in kinds if isinstance(column.type, kind)), sql.Text())
    return sql.Column(column.name, generic, primary_key=column.primary_key, nullable=column.nullable)
