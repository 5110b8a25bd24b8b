"""The part of a file that has come so far, and what is remembered to continue it."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

from hpopt_lib.data.catalogue import format_size
from hpopt_lib.data.checksums import Checksums
from hpopt_lib.errors import HpoptError
from hpopt_lib.progress import say

#: Reading so much again, to hash it, takes a moment that a person should know of.
NOTABLE_BYTES = 1 << 28


class Part:
    """``FILE.part`` beside the final name, with ``FILE.part.json`` that tells which file it is a part of.

    Parameters
    ----------
    target : Path
        The final name.
    expected : dict of str to str
        Published checksums.

    Attributes
    ----------
    path : Path
    checksums : Checksums
        Of the bytes that are there, kept from one attempt to the next.
    """

    def __init__(self, target: Path, expected: Mapping[str, str]) -> None:
        self.path = target.with_name(f"{target.name}.part")
        self._notes = target.with_name(f"{target.name}.part.json")
        self._expected = dict(expected)
        self.checksums = Checksums(expected)

    @property
    def n_bytes(self) -> int:
        """Bytes that are there."""
        return self.path.stat().st_size if self.path.exists() else 0

    @property
    def known(self) -> dict[str, str]:
        """What the server said of the file: address (without its query), ETag, Last-Modified, length."""
        try:
            notes = json.loads(self._notes.read_text(encoding="utf-8"))
        except (OSError, ValueError):
            # without notes, or with half of them, the part is worth what its checksum is worth
            return {}
        return {str(key): str(value) for key, value in notes.items()} if isinstance(notes, dict) else {}

    def validator(self) -> str:
        """What a server can be asked to compare the file with before it sends the rest.

        A weak ETag will not do: RFC 9110, section 13.1.5.
        """
        etag = self.known.get("etag", "")
        return etag if etag and not etag.startswith("W/") else self.known.get("last-modified", "")

    def can_continue(self, address: str) -> bool:
        """Whether the rest may be asked for: only when a changed file would be noticed."""
        same = self.known.get("address") == address and bool(self.validator())
        return self.n_bytes > 0 and (same or bool(self._expected))

    def begin(self, address: str, headers: Mapping[str, str], length: int | None) -> None:
        """Forget the bytes that are there and remember a new file."""
        self.discard()
        notes = {"address": address, "length": "" if length is None else str(length)}
        for name in ("ETag", "Last-Modified"):
            if value := headers.get(name):
                notes[name.lower()] = value
        with _clear_refusals(self.path):
            self._notes.write_text(json.dumps(notes), encoding="utf-8")
            self.path.touch()

    def catch_up(self) -> None:
        """Bring the checksums to the end of what is there."""
        if self.checksums.n_bytes > self.n_bytes:
            self.checksums = Checksums(self._expected)
        if (unseen := self.n_bytes - self.checksums.n_bytes) > NOTABLE_BYTES:
            say(f"{self.path.name}: reading the {format_size(unseen)} that are there")
        self.checksums.update_from(self.path)

    def check_room(self, length: int | None) -> None:
        """Refuse to go on when the disk cannot hold the rest of a file of this length."""
        missing = 0 if length is None else length - self.n_bytes
        free = shutil.disk_usage(self.path.parent).free
        if missing > free:
            raise HpoptError(
                f"{self.path}: {format_size(missing)} are to come, {format_size(free)} are free",
                remedy="free some space or choose another --out; the same command goes on",
            )

    @contextmanager
    def appending(self) -> Iterator[Callable[[bytes], None]]:
        """Give a function that stores and hashes the next piece."""
        with _clear_refusals(self.path):
            stream = self.path.open("ab", buffering=0)

        def write(data: bytes) -> None:
            left = memoryview(data)
            with _clear_refusals(self.path):
                while left:
                    left = left[stream.write(left) :]
            self.checksums.update(data)

        with stream:
            yield write

    def discard(self) -> None:
        """Throw away what is there."""
        self.path.unlink(missing_ok=True)
        self._notes.unlink(missing_ok=True)
        self.checksums = Checksums(self._expected)

    def finish(self, target: Path) -> None:
        """Give the file its final name."""
        self.path.replace(target)
        self._notes.unlink(missing_ok=True)


@contextmanager
def _clear_refusals(path: Path) -> Iterator[None]:
    """Turn what the disk refuses into one clear line: else it looks like a broken connection."""
    try:
        yield
    except OSError as error:
        raise HpoptError(
            f"{path}: cannot be written: {error.strerror or error}",
            remedy="free some space; what has come is kept, the same command goes on",
        ) from error
