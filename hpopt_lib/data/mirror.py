"""Copies of the published files: in a folder of this computer, or at another address."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from urllib.parse import quote, urlsplit

from hpopt_lib.data.catalogue import RemoteFile
from hpopt_lib.data.checksums import Checksums
from hpopt_lib.data.download import Received
from hpopt_lib.data.exchange import without_query
from hpopt_lib.errors import HpoptError


@dataclass(frozen=True)
class Mirror:
    """Where files of the catalogue lie under their own names.

    Attributes
    ----------
    folder : Path or None
    base : str
        The address of such a folder, when `folder` is None.
    """

    folder: Path | None = None
    base: str = ""

    @classmethod
    def of(cls, text: str) -> Mirror:
        """What ``--from`` names.

        Raises
        ------
        HpoptError
            When it is neither a folder nor an address that may be written down.
        """
        parts = urlsplit(text)
        if parts.scheme in ("http", "https"):
            if parts.username or parts.password:
                raise HpoptError(
                    f"--from: {parts.hostname}: an address with a password",
                    remedy="arguments are visible to others: download by other means and name the folder",
                )
            return cls(base=text)
        if "://" in text:
            raise HpoptError(
                f"--from: {text}: only http and https are known",
                remedy="download by other means and name the folder",
            )
        folder = Path(text)
        if not folder.is_dir():
            raise HpoptError(
                f"--from: {text}: no such folder", remedy="name a folder, or an https:// address"
            )
        return cls(folder=folder)

    @property
    def shown(self) -> str:
        """The place as it may be written down."""
        return str(self.folder) if self.folder is not None else without_query(self.base)

    def address(self, name: str) -> str:
        """Where a file is at a remote mirror."""
        parts = urlsplit(self.base)
        return parts._replace(path=f"{parts.path.rstrip('/')}/{quote(name)}").geturl()

    def take(self, file: RemoteFile) -> Received:
        """A file of a local folder, where it lies, verified like one that was downloaded.

        Raises
        ------
        HpoptError
            When it is not there, or is another one.
        """
        assert self.folder is not None
        path = self.folder / file.name
        if not path.is_file():
            raise HpoptError(
                f"{path}: no such file", remedy=f"put it there: it is at {without_query(file.addresses[0])}"
            )
        checksums = Checksums(file.sums)
        checksums.update_from(path)
        found = checksums.values(path)
        problem = checksums.problem(found)
        if file.size is not None and not file.size.fits(checksums.n_bytes):
            problem = (
                f"has {checksums.n_bytes} bytes, published are {file.size.published or file.size.n_bytes}"
            )
        if problem:
            raise HpoptError(
                f"{path}: {problem}", remedy="it is damaged or another file: remove it and get it again"
            )
        exact = file.size is not None and file.size.exact
        verified = (*file.sums, *(("size",) if exact else ()))
        return Received(path, "", checksums.n_bytes, found, verified)
