"""Rows of Optuna's tables from one database to another: much quicker than study by study through Optuna."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import sqlalchemy as sa

#: Rows that are read and written at once: bounds the memory.
ROWS = 2000
#: Tables that every database of Optuna has from the start.
OWN = ("version_info", "alembic_version")
#: The dashboard keeps notes on trials with the study, under the number of the trial's row.
NOTE = re.compile(r"dashboard:(\d+):(.*)", re.DOTALL)


def tables() -> list[sa.Table]:
    """Optuna's tables with what belongs to studies, in the order of their references."""
    from optuna.storages._rdb import models

    return [table for table in models.BaseModel.metadata.sorted_tables if table.name not in OWN]


def copy_all(reader: sa.Connection, writer: sa.Connection) -> None:
    """Copy all studies into an empty database with the same tables; rows keep their numbers."""
    for table in tables():
        for rows in _rows(reader, table):
            _insert(writer, table, rows)


def copy_study(reader: sa.Connection, writer: sa.Connection, name: str) -> int:
    """Copy one study into a database that may hold others; returns the number of its trials.

    Rows get new numbers, so what refers to them is changed with them.

    Parameters
    ----------
    reader, writer : sqlalchemy.Connection
    name : str
        A study that the reader has and the writer has not.
    """
    import sqlalchemy as sa

    by_name = {table.name: table for table in tables()}
    studies, trials = by_name.pop("studies"), by_name.pop("trials")
    row = dict(reader.execute(sa.select(studies).where(studies.c.study_name == name)).mappings().one())
    old = row.pop("study_id")
    inserted: Any = writer.execute(sa.insert(studies).values(row)).inserted_primary_key
    new = inserted[0]

    number_of: dict[int, int] = {}
    for rows in _rows(reader, trials, trials.c.study_id == old):
        number_of |= {row.pop("trial_id"): row["number"] for row in rows}
        _insert(writer, trials, [row | {"study_id": new} for row in rows])
    numbers = sa.select(trials.c.number, trials.c.trial_id).where(trials.c.study_id == new)
    by_number = {number: trial_id for number, trial_id in writer.execute(numbers)}
    new_id = {trial_id: by_number[number] for trial_id, number in number_of.items()}

    for table in by_name.values():
        key = next(iter(table.primary_key.columns)).name
        if "trial_id" in table.c:
            of_study = sa.select(trials.c.trial_id).where(trials.c.study_id == old)
            for rows in _rows(reader, table, table.c.trial_id.in_(of_study)):
                for row in rows:
                    del row[key]
                    row["trial_id"] = new_id[row["trial_id"]]
                _insert(writer, table, rows)
        else:
            for rows in _rows(reader, table, table.c.study_id == old):
                for row in rows:
                    del row[key]
                    row["study_id"] = new
                    note = NOTE.fullmatch(row.get("key") or "")
                    if note and int(note[1]) in new_id:
                        row["key"] = f"dashboard:{new_id[int(note[1])]}:{note[2]}"
                _insert(writer, table, rows)
    return len(new_id)


def _rows(reader: sa.Connection, table: sa.Table, where: Any = None) -> Iterator[list[dict[str, Any]]]:
    import sqlalchemy as sa

    key = next(iter(table.primary_key.columns))
    query = sa.select(table).order_by(key).limit(ROWS)
    if where is not None:
        query = query.where(where)
    last: Any = None
    while True:
        rows = reader.execute(query if last is None else query.where(key > last)).mappings().all()
        if not rows:
            return
        last = rows[-1][key.name]
        yield [dict(row) for row in rows]


def _insert(writer: sa.Connection, table: sa.Table, rows: list[dict[str, Any]]) -> None:
    import sqlalchemy as sa

    if rows:
        writer.execute(sa.insert(table), rows)
