"""Progress of long work: a bar on a terminal, plain lines in a batch log."""

from __future__ import annotations

import sys
import time
from collections.abc import Iterable, Iterator
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


def say(message: str) -> None:
    """Print one line for the person who watches, apart from the results on standard output."""
    print(message, file=sys.stderr, flush=True)
