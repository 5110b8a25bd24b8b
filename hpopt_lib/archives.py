"""NumPy archives of plain arrays and one JSON text, ``header``; never pickle."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np

from hpopt_lib.errors import HpoptError
from hpopt_lib.files import atomic_path


def write_archive(
    path: str | Path,
    header: Mapping[str, Any],
    arrays: Mapping[str, Any],
    *,
    overwrite: bool = False,
    compressed: bool = False,
) -> Path:
    """Write an archive whole or not at all.

    Parameters
    ----------
    path : str or Path
        Ends in ``.npz``.
    header : mapping
        What JSON can hold.
    arrays : mapping of str to array_like
    overwrite, compressed : bool

    Raises
    ------
    HpoptError
        When the file exists already, or the disk refuses it.
    """
    save = np.savez_compressed if compressed else np.savez
    everything: dict[str, Any] = {"header": np.array(json.dumps(header)), **arrays}
    with atomic_path(path, overwrite=overwrite) as temporary, open(temporary, "wb") as stream:
        save(stream, **everything)
    return Path(path)


@contextmanager
def reading_archive(
    path: str | Path, *, what: str, noun: str, remedy: str, reason: bool = False
) -> Iterator[tuple[dict[str, Any], dict[str, np.ndarray]]]:
    """Header and arrays of an archive; whatever fails in the block means that the file is damaged.

    Parameters
    ----------
    path : str or Path
    what : str
        What the file should be, such as "a table of trials".
    noun : str
        What the user named, such as "table".
    remedy : str
        What to do about a damaged file.
    reason : bool
        Whether the message tells what failed.

    Yields
    ------
    header : dict
    arrays : dict of str to numpy.ndarray

    Raises
    ------
    HpoptError
        When the file is missing, damaged, or the block raises; an `HpoptError` of the block passes.
    """
    try:
        with open(path, "rb") as stream, np.load(stream, allow_pickle=False) as archive:
            arrays = {name: archive[name] for name in archive.files if name != "header"}
            header = json.loads(str(archive["header"]))
        yield header, arrays
    except FileNotFoundError:
        raise HpoptError(f"{path}: no such file", remedy=f"check the name of the {noun}") from None
    except HpoptError:
        raise
    except Exception as error:  # a damaged archive fails in zipfile, zlib, NumPy, json or torch
        why = f" ({error})" if reason else ""
        raise HpoptError(f"{path}: not {what}, or damaged{why}", remedy=remedy) from error


def check_format(header: Mapping[str, Any], format_name: str, *versions: int) -> None:
    """Raise a `ValueError` when a header is of another format or version."""
    if header["format"] != format_name or header["version"] not in versions:
        raise ValueError("another format or version")


def with_prefix(arrays: Mapping[str, np.ndarray], prefix: str) -> dict[str, np.ndarray]:
    """The arrays whose names begin with a prefix, by the rest of their names."""
    return {name.removeprefix(prefix): array for name, array in arrays.items() if name.startswith(prefix)}
