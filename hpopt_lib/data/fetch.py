"""A data set of the catalogue on this disk: downloaded, verified, unpacked, with a note on its origin."""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import replace
from pathlib import Path

from filelock import FileLock, Timeout

from hpopt_lib.data.catalogue import RemoteFile, Source, format_size
from hpopt_lib.data.download import Patience, Received, download
from hpopt_lib.data.exchange import AddressFailed, without_query
from hpopt_lib.data.mirror import Mirror
from hpopt_lib.data.source_note import is_fetched, write_note
from hpopt_lib.data.unpack import ArchiveFailed, is_archive, unpack
from hpopt_lib.errors import HpoptError
from hpopt_lib.files import atomic_path, refuse_existing, remove
from hpopt_lib.progress import say

LOCK = "lock"


def fetch(
    source: Source,
    out: str | Path,
    *,
    mirror: Mirror | None = None,
    keep_archive: bool = False,
    overwrite: bool = False,
    patience: Patience | None = None,
) -> Path:
    """Bring a data set into the folder ``out/NAME``.

    What comes is first ``out/NAME.download/FILE.part``; after an interruption the same call goes on from
    there. The folder appears only when every file has come, agrees with its published checksums and is
    unpacked.

    Parameters
    ----------
    source : Source
    out : str or Path
    mirror : Mirror, optional
        Where the files are looked for instead of their addresses.
    keep_archive : bool
        Keep archives beside what was in them.
    overwrite : bool
        Replace an existing folder.
    patience : Patience, optional

    Returns
    -------
    Path
        The folder. ``SOURCE.json`` in it says where each file came from and what was verified.

    Raises
    ------
    HpoptError
        When the folder exists, the disk is too small, or a file cannot be had or verified.
    """
    target = Path(out) / source.name
    if not overwrite and is_fetched(source, target):
        say(f"{target}: is there already; --overwrite fetches it again")
        return target
    refuse_existing(target, overwrite=overwrite)
    work = target.with_name(f"{source.name}.download")
    with _alone(work):
        check_space(source, target.parent, work, mirror, keep_archive=keep_archive)
        received = [(file, _get(file, work, mirror, patience)) for file in source.files]
        # one name for all processes: what a killed one left is found and removed
        with atomic_path(target, overwrite=overwrite, resumable=True) as folder:
            remove(folder)
            folder.mkdir()
            try:
                for file, got in received:
                    _fill(folder, file, got, work, keep_archive)
            except KeyboardInterrupt:
                remove(folder)
                raise
            write_note(folder, source, received, "" if mirror is None else mirror.shown)
        for path in work.iterdir():
            if path.name != LOCK:
                path.unlink()
    return target


def check_space(
    source: Source, out: Path, work: Path, mirror: Mirror | None = None, *, keep_archive: bool = False
) -> None:
    """Refuse to begin what the disk cannot hold.

    An archive and what is in it are on the disk together for a while. Where one of the sizes was not
    published, the other counts for both; where none was, nothing is checked.
    """
    needed = 0
    for file in source.files:
        size = 0 if file.size is None else file.size.n_bytes
        unpacked = file.unpack and is_archive(file.name)
        read_in_place = unpacked and mirror is not None and mirror.folder is not None and not keep_archive
        if not read_in_place:
            needed += max(0, size - _present(work, file.name))
        if unpacked:
            needed += file.unpacked.n_bytes if file.unpacked is not None else size
    free = shutil.disk_usage(out).free
    if needed > free:
        raise HpoptError(
            f"{out}: {source.name} needs {format_size(needed)} more, {format_size(free)} are free",
            remedy="free some space or choose another --out; nothing was changed",
        )


def _get(file: RemoteFile, work: Path, mirror: Mirror | None, patience: Patience | None) -> Received:
    """A file, from the first place that has it."""
    if mirror is not None and mirror.folder is not None:
        return _warned(file, mirror.take(file))
    target = work / file.name
    if (earlier := _earlier(file, target)) is not None:
        return earlier
    addresses = file.addresses if mirror is None else (mirror.address(file.name),)
    failures = []
    for address in addresses:
        say(f"{file.name}: from {without_query(address)}, size {format_size(file.size)}")
        try:
            got = download(address, target, sums=file.sums, size=file.size, patience=patience)
        except AddressFailed as failure:
            failures.append(failure)
            continue
        _note_of(target).write_text(json.dumps([got.address, got.verified]), encoding="utf-8")
        return _warned(file, got)
    raise HpoptError("; ".join(failure.problem for failure in failures), remedy=failures[-1].remedy)


def _earlier(file: RemoteFile, target: Path) -> Received | None:
    """A file that came in an earlier call, which then failed or was stopped; verified once more."""
    try:
        address, verified = json.loads(_note_of(target).read_text(encoding="utf-8"))
        again = Mirror(folder=target.parent).take(file)
    except (OSError, ValueError, HpoptError):
        # it is ours, and not what it was: it is downloaded again
        target.unlink(missing_ok=True)
        return None
    return replace(again, address=address, verified=tuple(verified))


def _note_of(target: Path) -> Path:
    return target.with_name(f".{target.name}.note")


def _warned(file: RemoteFile, got: Received) -> Received:
    if not file.sums:
        say(f"{file.name}: no checksum is published; its sha256 is {got.sums['sha256']}")
    if not got.verified:
        say(f"{file.name}: neither a size nor a checksum is known, so it may be incomplete")
    return got


def _present(work: Path, name: str) -> int:
    return sum(path.stat().st_size for path in (work / name, work / f"{name}.part") if path.exists())


def _fill(folder: Path, file: RemoteFile, got: Received, work: Path, keep_archive: bool) -> None:
    """Put what is in an archive, or else the file, into the folder."""
    own = got.path.parent == work
    packed = file.unpack and is_archive(file.name)
    if packed:
        try:
            unpack(got.path, folder, name=file.name)
        except ArchiveFailed:
            if own:
                got.path.unlink()  # so that the same command gets it again
            raise
    if packed and not keep_archive:
        return
    if own:
        # not moved: what has come must survive a failure with the next file
        with suppress(OSError):  # a disk without hard links
            os.link(got.path, folder / file.name)
            return
    shutil.copyfile(got.path, folder / file.name)


@contextmanager
def _alone(work: Path) -> Iterator[None]:
    """One process at a time; the folder stays when the block fails, with what has come."""
    try:
        work.mkdir(exist_ok=True)
        lock = FileLock(work / LOCK, timeout=0)
        lock.acquire()
    except Timeout as error:
        raise HpoptError(f"{work}: another process is fetching it", remedy="wait for it") from error
    except OSError as error:
        raise HpoptError(
            f"{work}: cannot be written: {error.strerror}", remedy="choose another --out"
        ) from error
    try:
        yield
    finally:
        lock.release()
        # not before: network file systems keep the file of a held lock
        if {path.name for path in work.iterdir()} <= {LOCK}:
            shutil.rmtree(work)
