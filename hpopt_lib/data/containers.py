"""Folders and tar archives of many, perhaps compressed, files, and how to open one of them."""

from __future__ import annotations

import bz2
import gzip
import io
import lzma
import re
import tarfile
import zlib
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Any, Protocol, TextIO

from hpopt_lib.errors import HpoptError

OPENERS: dict[str, Callable[..., Any]] = {".xz": lzma.open, ".gz": gzip.open, ".bz2": bz2.open}
#: What damaged compressed files, archives and texts raise.
DAMAGE = (EOFError, OSError, lzma.LZMAError, zlib.error, UnicodeDecodeError, tarfile.TarError)


class Container(Protocol):
    """Named files in one place."""

    path: Path

    def names(self) -> list[str]:
        """Names of all files below the place, numbers in them in counting order."""

    def open(self, name: str) -> IO[bytes]:
        """The bytes of one file."""


class Folder:
    """Files in a folder and below it."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def names(self) -> list[str]:
        files = (file for file in self.path.rglob("*") if file.is_file())
        return sorted((file.relative_to(self.path).as_posix() for file in files), key=natural_order)

    def open(self, name: str) -> IO[bytes]:
        return open(self.path / name, "rb")

    def __enter__(self) -> Folder:
        return self

    def __exit__(self, *exc: object) -> None:
        pass


class TarArchive:
    """Members of a .tar that is not compressed itself, read in place: nothing is unpacked.

    Raises
    ------
    HpoptError
        When the archive is compressed (members could only be read from front to back) or damaged.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        try:
            self._tar = tarfile.open(path, "r:")  # noqa: SIM115  (closed by __exit__)
        except DAMAGE as error:
            raise HpoptError(
                f"{path}: no plain .tar archive ({error})",
                remedy="unpack it and give the folder, or download it again",
            ) from error

    def names(self) -> list[str]:
        try:
            members = self._tar.getmembers()
        except DAMAGE as error:
            raise HpoptError(f"{self.path}: damaged archive: {error}", remedy="download it again") from error
        return sorted((member.name for member in members if member.isfile()), key=natural_order)

    def open(self, name: str) -> IO[bytes]:
        stream = self._tar.extractfile(name)
        assert stream is not None  # names() gives files only
        return stream

    def __enter__(self) -> TarArchive:
        return self

    def __exit__(self, *exc: object) -> None:
        self._tar.close()


def open_container(path: Path) -> Folder | TarArchive:
    """The folder or archive at `path`."""
    return Folder(path) if path.is_dir() else TarArchive(path)


def is_tar(path: Path) -> bool:
    """Whether the name is that of a tar archive, compressed or not."""
    return ".tar" in path.suffixes[-2:] or path.suffix in (".tgz", ".tbz2", ".txz")


def natural_order(name: str) -> list[tuple[int, str]]:
    """Sort key with which 9.txt comes before 10.txt."""
    return [(int(part), "") if part.isdigit() else (-1, part) for part in re.split(r"(\d+)", name)]


def uncompressed_name(name: str) -> str:
    """Name without ``.xz``, ``.gz`` or ``.bz2``."""
    return name.rsplit(".", 1)[0] if name.endswith(tuple(OPENERS)) else name


@contextmanager
def text_lines(stream: IO[bytes], name: str) -> Iterator[TextIO]:
    """The text in `stream`, uncompressed as `name` says, read as it comes."""
    opener = OPENERS.get(Path(name).suffix)
    with stream, io.TextIOWrapper(opener(stream) if opener else stream, encoding="utf-8") as text:
        yield text


def damaged(where: object, error: BaseException) -> HpoptError:
    """The error for a file that ends or breaks while it is read."""
    return HpoptError(
        f"{where}: cannot be read ({type(error).__name__}: {error})",
        remedy="the file is damaged, truncated or of another format; make or download it again",
    )
