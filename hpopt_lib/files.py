"""Files that appear whole or not at all."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from hpopt_lib.errors import HpoptError


def refuse_existing(path: str | Path, *, overwrite: bool = False) -> Path:
    """Return ``path``, or raise when it exists and may not be replaced.

    Raises
    ------
    HpoptError
        When `path` exists and `overwrite` is false, or its folder cannot be made.
    """
    path = Path(path)
    if path.exists() and not overwrite:
        raise HpoptError(f"{path}: output exists already", remedy="choose another name or pass --overwrite")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise HpoptError(
            f"{path}: folder cannot be made: {error.strerror}", remedy="choose a folder where you may write"
        ) from error
    return path


@contextmanager
def atomic_path(path: str | Path, *, overwrite: bool = False) -> Iterator[Path]:
    """Give a temporary name beside `path`; put it in place only when the block succeeds.

    The file (or folder) written under the temporary name is flushed to disk and renamed at
    the end of the block. When the block raises, whatever it wrote is removed and an older
    `path` stays as it was.

    Parameters
    ----------
    path : str or Path
        The final name.
    overwrite : bool
        Whether an existing `path` may be replaced.

    Yields
    ------
    Path
        The temporary name, in the same folder (rename is atomic only within a file system).

    Raises
    ------
    HpoptError
        When `path` exists and `overwrite` is false, or the disk refuses the data.
    """
    path = refuse_existing(path, overwrite=overwrite)
    temporary = path.with_name(f".{path.name}.part-{os.getpid()}")
    remove(temporary)  # of a process that was killed and had the same number
    try:
        yield temporary
        sync(temporary)
        if path.is_dir() and not temporary.is_dir():
            raise HpoptError(f"{path}: a folder, not a file", remedy="choose another name")
        if path.is_dir():
            shutil.rmtree(path)
        os.replace(temporary, path)
        sync(path.parent)
    except OSError as error:
        remove(temporary)
        if isinstance(error, FileNotFoundError | FileExistsError | IsADirectoryError):
            raise
        raise HpoptError(
            f"{path}: cannot be written: {error.strerror or error}",
            remedy="free some space or choose another folder; nothing was changed",
        ) from error
    except BaseException:
        remove(temporary)
        raise


def remove(path: Path) -> None:
    """Remove a file or a folder when it is there."""
    if path.is_dir():
        shutil.rmtree(path, ignore_errors=True)
    else:
        path.unlink(missing_ok=True)


def sync(path: Path) -> None:
    """Ask the system to put a file or a folder's entries on the disk."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
