"""Checksums of files that arrive in pieces."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

CHUNK_BYTES = 1 << 20


class Checksums:
    """Checksums that grow with a stream: SHA-256 always, others when they are expected.

    Parameters
    ----------
    expected : dict of str to str
        Published values by kind: ``md5``, ``sha256``, ``git_blob``.

    Attributes
    ----------
    n_bytes : int
        Bytes seen so far.
    """

    def __init__(self, expected: Mapping[str, str]) -> None:
        self.expected, self.n_bytes = dict(expected), 0
        self._running: dict[str, Any] = {"sha256": hashlib.sha256()}
        if "md5" in expected:
            # this guards against damage, not against attacks; some systems forbid MD5 for the latter
            self._running["md5"] = hashlib.md5(usedforsecurity=False)

    def update(self, data: bytes) -> None:
        """Take in the next piece."""
        self.n_bytes += len(data)
        for running in self._running.values():
            running.update(data)

    def update_from(self, path: Path) -> None:
        """Take in what a file holds beyond the bytes seen so far."""
        with open(path, "rb") as stream:
            stream.seek(self.n_bytes)
            while data := stream.read(CHUNK_BYTES):
                self.update(data)

    def values(self, path: Path) -> dict[str, str]:
        """The sums of the whole stream, which now lies in a file."""
        found = {kind: running.hexdigest() for kind, running in self._running.items()}
        if "git_blob" in self.expected:
            found["git_blob"] = git_blob(path)
        return found

    def problem(self, found: Mapping[str, str]) -> str:
        """Which published sum differs, in words; empty when none does."""
        for kind, value in self.expected.items():
            if found[kind] != value:
                return f"its {kind} is {found[kind]}, published is {value}"
        return ""


def git_blob(path: Path) -> str:
    """The name that git gives to a file's content.

    The SHA-1 of a header with the length, and of the bytes: https://git-scm.com/book/en/v2/Git-Internals-Git-Objects.
    """
    running = hashlib.sha1(f"blob {path.stat().st_size}\0".encode(), usedforsecurity=False)
    with open(path, "rb") as stream:
        while data := stream.read(CHUNK_BYTES):
            running.update(data)
    return running.hexdigest()
