"""Progress of long work: a bar on a terminal, plain lines in a batch log."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from typing import TypeVar

T = TypeVar("T")

#: Seconds between two plain lines when standard error is not a terminal.
LINE_INTERVAL_S = 10.0


def progress(
    items: Iterable[T], *, total: int | None = None, desc: str = "", unit: str = "item"
) -> Iterator[T]:
    """Pass `items` on and show how far the work is, on standard error.

    Parameters
    ----------
    items : iterable
    total : int, optional
        Number of items; taken from ``len(items)`` when that is known.
    desc, unit : str
        What is done, and the name of one item.
    """
    if total is None and hasattr(items, "__len__"):
        total = len(items)  # type: ignore[arg-type]
    if sys.stderr.isatty():
        from tqdm import tqdm

        yield from tqdm(items, total=total, desc=desc, unit=unit, leave=False)
        return
    start = last = time.monotonic()
    for done, item in enumerate(items, start=1):
        yield item
        now = time.monotonic()
        if now - last >= LINE_INTERVAL_S and done != total:
            last = now
            of_total = f" of {total}" if total else ""
            print(f"{desc}: {done}{of_total} {unit}s, {now - start:.0f} s", file=sys.stderr, flush=True)


@contextmanager
def byte_progress(desc: str, *, total: int | None = None, done: int = 0) -> Iterator[Callable[[int], None]]:
    """Show how many bytes have come, on standard error.

    Parameters
    ----------
    desc : str
        What is done.
    total, done : int, optional
        Bytes there will be, when that is known, and bytes that are there already.

    Yields
    ------
    callable
        Takes the number of bytes of the next piece.
    """
    if sys.stderr.isatty():
        from tqdm import tqdm

        with tqdm(total=total, initial=done, desc=desc, unit="B", unit_scale=True, leave=False) as bar:
            yield bar.update
        return
    start = last = time.monotonic()
    first = done

    def advance(n_bytes: int) -> None:
        nonlocal done, last
        done += n_bytes
        now = time.monotonic()
        if now - last >= LINE_INTERVAL_S:
            last = now
            of_total = f" of {total / 1e6:.1f}" if total else ""
            rate = (done - first) / 1e6 / max(now - start, 1e-9)
            print(f"{desc}: {done / 1e6:.1f}{of_total} MB, {rate:.1f} MB/s", file=sys.stderr, flush=True)

    yield advance


def say(message: str) -> None:
    """Print one line for the person who watches, apart from the results on standard output."""
    print(message, file=sys.stderr, flush=True)
