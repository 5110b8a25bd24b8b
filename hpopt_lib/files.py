"""Files that appear whole or not at all."""

from __future__ import annotations

import hashlib
import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from filelock import FileLock, Timeout

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
def atomic_path(path: str | Path, *, overwrite: bool = False, resumable: bool = False) -> Iterator[Path]:
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
    resumable : bool
        Use one temporary name for all processes, ``.NAME.part``: what a killed or interrupted (Ctrl-C)
        process wrote is there for the next one, which must check it. Only one process at a time.

    Yields
    ------
    Path
        The temporary name, in the same folder (rename is atomic only within a file system).

    Raises
    ------
    HpoptError
        When `path` exists and `overwrite` is false, another process is writing the same resumable file, or
        the disk refuses the data.
    """
    path = refuse_existing(path, overwrite=overwrite)
    if not resumable:
        temporary = path.with_name(f".{path.name}.part-{os.getpid()}")
        remove(temporary)  # of a process that was killed and had the same number
        with _in_place(path, temporary):
            yield temporary
        return
    temporary = path.with_name(f".{path.name}.part")
    lock = FileLock(f"{temporary}.lock", timeout=0)
    try:
        lock.acquire()
    except (Timeout, OSError) as error:
        if isinstance(error, Timeout) and Path(lock.lock_file).exists():
            raise HpoptError(
                f"{path}: another process is writing it", remedy="wait for it, or choose another name"
            ) from error
        # filelock also waits (in vain) where no file can be made
        reason = getattr(error, "strerror", None) or "no file can be made in that folder"
        raise HpoptError(
            f"{path}: cannot be written: {reason}", remedy="choose another folder; nothing was changed"
        ) from error
    try:
        with _in_place(path, temporary, keep=(KeyboardInterrupt,)):
            yield temporary
    finally:
        remove(Path(lock.lock_file))
        lock.release()


@contextmanager
def _in_place(path: Path, temporary: Path, *, keep: tuple[type[BaseException], ...] = ()) -> Iterator[None]:
    """Rename at the end; remove the temporary file after any exception but those to `keep` it for."""
    try:
        yield
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
    except keep:
        raise
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


def checksum(path: str | Path) -> str:
    """SHA-256 of a file, or of the names and contents of all files in a folder."""
    path, total = Path(path), hashlib.sha256()
    for file in sorted(p for p in path.rglob("*") if p.is_file()) if path.is_dir() else [path]:
        if file != path:
            total.update(f"{file.relative_to(path).as_posix()}\0{file.stat().st_size}\0".encode())
        with open(file, "rb") as stream:
            while block := stream.read(1 << 20):
                total.update(block)
    return total.hexdigest()
