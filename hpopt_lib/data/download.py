"""Downloads that survive: broken connections, servers that stall or lie, and files that change in between.

This is written on ``urllib`` because the usual library for the purpose, pooch 1.9, begins a file again after
every interruption, which does not do for 225 GB, and does not look at the space on the disk.
"""

from __future__ import annotations

import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from hpopt_lib.data.catalogue import Size
from hpopt_lib.data.exchange import AddressFailed, PassingFailure, receive, without_query
from hpopt_lib.data.partial import Part
from hpopt_lib.progress import say


@dataclass(frozen=True)
class Patience:
    """How long to wait for a server.

    Attributes
    ----------
    timeout_s : float
        Silence after which a connection counts as dead.
    attempts : int
        Failures in a row, without a new byte in between, after which to give up.
    first_attempts : int
        The same for a server that has never answered: without internet nobody wants to wait.
    wait_s, longest_wait_s : float
        Pause after the first failure, and the longest one; each is twice the one before.
    """

    timeout_s: float = 60.0
    attempts: int = 8
    first_attempts: int = 3
    wait_s: float = 1.0
    longest_wait_s: float = 60.0

    def pause_s(self, failures: int, asked_s: float) -> float:
        """Seconds to wait after so many failures, when the server asked for `asked_s`."""
        return min(self.longest_wait_s, max(asked_s, self.wait_s * 2 ** (failures - 1)))


@dataclass(frozen=True)
class Received:
    """A file that has come.

    Attributes
    ----------
    path : Path
    address : str
        Without its query, which may hold a key.
    n_bytes : int
    sums : dict of str to str
        Its checksums, by kind.
    verified : tuple of str
        What was compared: the kinds of published checksums, ``size`` with the catalogue, ``length`` with what
        the server promised.
    """

    path: Path
    address: str
    n_bytes: int
    sums: dict[str, str] = field(default_factory=dict)
    verified: tuple[str, ...] = ()


def download(
    address: str,
    target: Path,
    *,
    sums: Mapping[str, str] | None = None,
    size: Size | None = None,
    patience: Patience | None = None,
) -> Received:
    """Get a file over HTTP; continue ``target.part`` when that is a part of the same file.

    Proxies are taken from the usual environment variables (``https_proxy``, ``no_proxy``, …).

    Parameters
    ----------
    address : str
    target : Path
        The final name; it appears when all has come and every published checksum agrees.
    sums : dict of str to str, optional
        Published checksums by kind, see `hpopt_lib.data.catalogue.SUMS`.
    size : Size, optional
        Published size.
    patience : Patience, optional

    Raises
    ------
    AddressFailed
        When the file is not there, is another one, or the server does not recover.
    HpoptError
        When the disk refuses it.
    """
    patience = patience or Patience()
    part = Part(target, sums or {})
    furthest, failures, answered = part.n_bytes, 0, False
    while True:
        continued = part.n_bytes > 0
        try:
            length = receive(address, part, size=size, timeout_s=patience.timeout_s)
        except PassingFailure as failure:
            answered = answered or failure.answered
            failures = 1 if part.n_bytes > furthest else failures + 1
            furthest = max(furthest, part.n_bytes)
            if failures >= (patience.attempts if answered else patience.first_attempts):
                raise AddressFailed(
                    f"{without_query(address)}: {failure} ({failures} times in a row)",
                    remedy="the same command goes on later; without internet use --from",
                ) from failure
            pause = patience.pause_s(failures, failure.wait_s)
            say(f"{target.name}: {failure}; next try in {pause:.0f} s")
            time.sleep(pause)
            continue
        found = part.checksums.values(part.path)
        if not (problem := part.checksums.problem(found)):
            break
        part.discard()
        if not continued:
            raise AddressFailed(
                f"{without_query(address)}: {problem}; it was thrown away",
                remedy="try again later, or another address (--from)",
            )
        say(f"{target.name}: the parts do not fit together, it starts again")
    n_bytes = part.n_bytes
    part.finish(target)
    compared = [*(sums or {}), *(["size"] if size is not None and size.exact else [])]
    compared += ["length"] if length is not None else []
    return Received(target, without_query(address), n_bytes, found, tuple(compared))
