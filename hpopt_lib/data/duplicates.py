"""An index of the frames that were read, in memory that does not grow with their number."""

from __future__ import annotations

import sqlite3
from pathlib import Path

from hpopt_lib.files import remove

#: MB of the index that stay in memory; the rest lies in its file.
CACHE_MB = 64


class SeenFrames:
    """Where each frame occurred first: a temporary file beside the output, with a bounded cache.

    About 35 bytes of disk for each frame. A dictionary would need some 250 bytes of memory: 34 GB for the
    134 million frames of the largest split of OC20. What the file holds is known again after a kill, since
    all frames are read again, so it is made afresh and never made safe against a crash.

    Parameters
    ----------
    path : Path
        Of the file; an older one is replaced, and it is removed by `close`.
    cache_mb : int
        Most memory that the index uses.
    """

    def __init__(self, path: Path, *, cache_mb: int = CACHE_MB) -> None:
        self.path = path
        remove(path)
        self._database = sqlite3.connect(path, isolation_level=None)
        for setting in (
            "journal_mode = OFF", "synchronous = OFF", "locking_mode = EXCLUSIVE",
            f"cache_size = -{1024 * cache_mb}",
        ):  # fmt: skip
            self._database.execute(f"PRAGMA {setting}")
        self._database.execute(
            "CREATE TABLE seen (digest BLOB PRIMARY KEY, input INTEGER, frame INTEGER) WITHOUT ROWID"
        )
        self._database.execute("BEGIN")  # one transaction to the end: nothing here outlives the process

    def first(self, digest: bytes, place: tuple[int, int]) -> tuple[int, int]:
        """The number of the input and of the frame where `digest` occurred first: `place` for a new one.

        Raises
        ------
        OSError
            When the disk refuses the data.
        """
        try:
            added = self._database.execute(
                "INSERT INTO seen VALUES (?, ?, ?) ON CONFLICT DO NOTHING", (digest, *place)
            )
            if added.rowcount:
                return place
            found = self._database.execute("SELECT input, frame FROM seen WHERE digest = ?", (digest,))
            return found.fetchone()
        except sqlite3.OperationalError as error:
            raise OSError(None, f"the index of frames could not be written: {error}") from error

    def close(self) -> None:
        """Let go of the memory and remove the file."""
        self._database.close()
        remove(self.path)

    def __enter__(self) -> SeenFrames:
        return self

    def __exit__(self, *exc: object) -> None:
        self.close()
