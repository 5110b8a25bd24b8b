"""Archives, unpacked as a stream, and nothing outside of the folder."""

from __future__ import annotations

import bz2
import gzip
import lzma
import shutil
import stat
import tarfile
import zipfile
import zlib
from collections.abc import Callable
from pathlib import Path, PurePosixPath, PureWindowsPath
from typing import IO

from hpopt_lib.data.checksums import CHUNK_BYTES
from hpopt_lib.errors import HpoptError
from hpopt_lib.progress import byte_progress

TARS = (".tar", ".tar.gz", ".tgz", ".tar.bz2", ".tar.xz")
#: Compressed single files.
OPENERS: dict[str, Callable[[IO[bytes]], IO[bytes]]] = {".gz": gzip.open, ".bz2": bz2.open, ".xz": lzma.open}  # type: ignore[dict-item]


class ArchiveFailed(HpoptError):
    """An archive is damaged, or holds what a data set should not hold."""


def is_archive(name: str) -> bool:
    """Whether `unpack` can do something with a file of this name."""
    return name.endswith((*TARS, ".zip", *OPENERS))


def unpack(archive: Path, folder: Path, *, name: str | None = None) -> int:
    """Unpack a .tar (also .gz, .bz2, .xz), a .zip or a compressed file into a folder.

    Links, devices and names that lead out of the folder are refused; owners and special permissions are not
    taken over.

    Parameters
    ----------
    archive, folder : Path
        The folder must exist.
    name : str, optional
        The archive's name, when the file has another one.

    Returns
    -------
    int
        Bytes that were written.

    Raises
    ------
    ArchiveFailed
        When the archive is damaged or holds something that is refused. What was written until then stays.
    """
    name = name or archive.name
    shown = f"unpacking {name}"
    try:
        with (
            archive.open("rb") as raw,
            byte_progress(shown, total=archive.stat().st_size) as advance,
        ):
            stream = _Watched(raw, advance)
            if name.endswith(TARS):
                return _untar(stream, folder, name)
            if name.endswith(".zip"):
                return _unzip(raw, folder, name, advance)
            with OPENERS[Path(name).suffix](stream) as opened:  # type: ignore[arg-type]
                return _store(opened, folder / Path(name).stem)
    except (
        tarfile.TarError, zipfile.BadZipFile, lzma.LZMAError, zlib.error, gzip.BadGzipFile, EOFError,
    ) as error:  # fmt: skip
        raise _damaged(name, error) from error
    except OSError as error:
        # bz2 and tarfile also raise OSError without a number, for damage
        if error.errno is None:
            raise _damaged(name, error) from error
        raise


class _Watched:
    """A file that tells how far it was read."""

    def __init__(self, raw: IO[bytes], advance: Callable[[int], None]) -> None:
        self._raw, self._advance = raw, advance

    def read(self, n_bytes: int = -1) -> bytes:
        data = self._raw.read(n_bytes)
        self._advance(len(data))
        return data

    def readable(self) -> bool:
        return True


def _untar(stream: _Watched, folder: Path, name: str) -> int:
    if not hasattr(tarfile, "data_filter"):
        raise HpoptError(
            f"{name}: this Python cannot unpack archives safely",
            remedy="use Python 3.10.12, 3.11.4, 3.12 or newer",
        )
    n_bytes = 0
    with tarfile.open(fileobj=stream, mode="r|*") as tar:  # type: ignore[call-overload]
        for member in tar:
            _check(member.name, name, plain=member.isfile() or member.isdir())
            tar.extract(member, folder, filter="data")
            n_bytes += member.size
    return n_bytes


def _unzip(raw: IO[bytes], folder: Path, name: str, advance: Callable[[int], None]) -> int:
    n_bytes = 0
    with zipfile.ZipFile(raw) as opened:
        for member in opened.infolist():
            kind = stat.S_IFMT(member.external_attr >> 16)
            _check(member.filename, name, plain=kind in (0, stat.S_IFREG, stat.S_IFDIR))
            try:
                # every piece is compared with the CRC-32 in the archive
                opened.extract(member, folder)
            except RuntimeError as error:  # a password, or a compression that Python does not know
                raise zipfile.BadZipFile(str(error)) from error
            advance(member.compress_size)
            n_bytes += member.file_size
    return n_bytes


def _store(opened: IO[bytes], path: Path) -> int:
    with path.open("xb") as out:
        shutil.copyfileobj(opened, out, CHUNK_BYTES)
        return out.tell()


def _check(member: str, archive: str, *, plain: bool) -> None:
    """Refuse whatever is no plain file or folder below the target.

    The filter of tarfile would let links inside of the folder pass; data sets need none.
    """
    parts = PurePosixPath(member).parts
    if not plain:
        reason = "a link or a special file"
    elif (
        ".." in parts
        or PurePosixPath(member).is_absolute()
        or PureWindowsPath(member).drive
        or "\\" in member
    ):
        reason = "leads out of the folder"
    else:
        return
    raise ArchiveFailed(f"{archive}: member {member!r}: {reason}", remedy="do not use this archive")


def _damaged(name: str, error: Exception) -> ArchiveFailed:
    return ArchiveFailed(
        f"{name}: cannot be unpacked, the archive is damaged: {error or type(error).__name__}",
        remedy="download it again",
    )
