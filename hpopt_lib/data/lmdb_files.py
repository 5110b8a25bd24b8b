"""Foreign LMDB files: open them safely, tell what they are, and walk over numbered entries."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from hpopt_lib.data.containers import natural_order
from hpopt_lib.errors import HpoptError

#: First bytes of a pickle of protocol 2 or later, and of zlib data.
PICKLE, ZLIB = b"\x80", b"\x78"
#: Numbers of entries are consecutive but for deleted ones.
MAX_GAP = 1_000_000


def lmdb_files(path: Path, ending: str) -> list[Path]:
    """The file itself, or the files with that ending in a folder, in counting order."""
    if path.is_file():
        return [path]
    return sorted(path.glob(f"*{ending}"), key=lambda file: natural_order(file.name))


@contextmanager
def open_lmdb(path: Path) -> Iterator[Any]:
    """A read transaction on a file that somebody else wrote.

    Raises
    ------
    HpoptError
        When it is no LMDB file, or shorter than its own header says.
    """
    import lmdb

    try:
        env = lmdb.open(str(path), subdir=False, readonly=True, lock=False, readahead=True, max_dbs=0)
    except lmdb.Error as error:
        raise HpoptError(
            f"{path}: no readable LMDB file ({error})",
            remedy="it is damaged or of another format; make or download it again",
        ) from error
    try:
        needed = (env.info()["last_pgno"] + 1) * env.stat()["psize"]
        if path.stat().st_size < needed:  # reading past the end would kill the process (SIGBUS)
            raise HpoptError(
                f"{path}: truncated: {path.stat().st_size} of {needed} bytes",
                remedy="download or copy it again",
            )
        with env.begin() as transaction:
            yield transaction
    except lmdb.Error as error:
        raise HpoptError(
            f"{path}: damaged LMDB file ({error})", remedy="download or copy it again"
        ) from error
    finally:
        env.close()


def numbered_entries(transaction: Any, path: Path) -> Iterator[tuple[int, bytes]]:
    """Number and value of the entries whose keys are decimal numbers, counting up; gaps are passed over.

    Keys are in the order of text (1, 10, 2); memory stays constant because no list of them is made.

    Raises
    ------
    HpoptError
        When the numbers lie too far apart to be those of entries.
    """
    left = sum(key.isdigit() for (key,) in _keys(transaction))
    number = last = 0
    while left:
        value = transaction.get(str(number).encode())
        if value is not None:
            left, last = left - 1, number
            yield number, value
        elif number - last > MAX_GAP:
            raise HpoptError(
                f"{path}: keys: {left} entries have numbers beyond {number} or with leading zeros",
                remedy="the file is damaged or of another format; make or download it again",
            )
        number += 1


def _keys(transaction: Any) -> Iterator[tuple[bytes]]:
    with transaction.cursor() as cursor:
        yield from ((key,) for key in cursor.iternext(keys=True, values=False))


def lmdb_content(path: Path) -> str:
    """What an LMDB file holds: pickle, aselmdb, store, other; or unreadable when it is none."""
    try:
        with open_lmdb(path) as transaction:
            if transaction.get(b"header") is not None:
                return "store"
            for (key,) in _keys(transaction):
                if key.isdigit():
                    first = transaction.get(key)[:1]
                    return {PICKLE: "pickle", ZLIB: "aselmdb"}.get(first, "other")
            return "other"
    except HpoptError:
        return "unreadable"
