"""ASE databases: SQLite (.db) and fairchem's LMDB (.aselmdb)."""

from __future__ import annotations

import zlib
from collections.abc import Generator, Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import numpy as np
from ase import Atoms

from hpopt_lib.data.lmdb_files import lmdb_content, lmdb_files, numbered_entries, open_lmdb
from hpopt_lib.data.reader_protocol import ReaderOptions
from hpopt_lib.errors import HpoptError

#: Rows fetched at a time: ASE loads the whole answer of a query.
PAGE_ROWS = 200


def is_ase_db(path: Path) -> bool:
    """Whether the file is SQLite and its name ends in .db."""
    if not path.is_file() or path.suffix != ".db":
        return False
    with open(path, "rb") as stream:
        return stream.read(16) == b"SQLite format 3\0"


def is_aselmdb(path: Path) -> bool:
    """Whether a file or the files in a folder end in .aselmdb, or an .lmdb file has zlib-compressed rows."""
    if path.suffix == ".lmdb" and path.is_file():
        return lmdb_content(path) == "aselmdb"
    return path.suffix == ".aselmdb" if path.is_file() else bool(lmdb_files(path, ".aselmdb"))


def read_ase_db(path: Path, options: ReaderOptions) -> Iterator[Atoms]:
    """Rows of an ASE database in the order of their ids."""
    import ase.db

    last = 0
    with ase.db.connect(str(path), type="db", serial=True, use_lock_file=False) as database:
        while True:
            rows = list(database.select(f"id>{last}", sort="id", limit=PAGE_ROWS))
            if not rows:
                return
            for row in rows:
                last = row.id
                yield _frame(row)


def read_aselmdb(path: Path, options: ReaderOptions) -> Iterator[Atoms]:
    """Rows of one .aselmdb or of all in a folder, in the order of their ids.

    A value is one row of an ASE database as JSON, compressed with zlib, under its id as key; the keys
    ``nextid``, ``metadata`` and ``deleted_ids`` are not rows.

    Raises
    ------
    HpoptError
        For a row that is damaged or something else.
    """
    from ase.db.row import AtomsRow
    from ase.io.jsonio import decode

    for file in lmdb_files(path, ".aselmdb"):
        with closing(_rows(file)) as rows:
            for number, value in rows:
                try:
                    row = AtomsRow({**decode(zlib.decompress(value).decode("utf-8")), "id": number})
                    atoms = _frame(row)
                except Exception as error:  # whatever a foreign value causes in ASE
                    raise HpoptError(
                        f"{file}: row {number}: no row of an ASE database ({type(error).__name__}: {error})",
                        remedy="the file is damaged or of another format; download or make it again",
                    ) from error
                atoms.info["source"] = file.name
                yield atoms


def _rows(file: Path) -> Generator[tuple[int, bytes], None, None]:
    with open_lmdb(file) as transaction:
        yield from numbered_entries(transaction, file)


def _frame(row: Any) -> Atoms:
    """Atoms of a row; its key-value pairs and plain values of its data become info."""
    atoms = row.toatoms()
    extra = row.get("data") or {}
    values = {**(extra if isinstance(extra, dict) else {}), **row.key_value_pairs}
    atoms.info |= {k: v for k, v in values.items() if isinstance(v, str | int | float | np.generic)}
    return atoms
