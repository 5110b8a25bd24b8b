"""A series of any length, in bounded memory."""

from __future__ import annotations

from typing import Generic, TypeVar

T = TypeVar("T")


class Thinned(Generic[T]):
    """An evenly spaced part of a series that is too long to keep.

    Whenever the list is full every second item goes, and from then on only every second one is taken: what
    is kept is the items 0, k, 2k, … with k a power of two. Shorter series are kept whole.

    Parameters
    ----------
    limit : int
        Most items to keep, at least 2.

    Attributes
    ----------
    items : list
        What is kept, in order.
    """

    def __init__(self, limit: int = 65536) -> None:
        if limit < 2:
            raise ValueError(f"a limit of {limit} keeps nothing of a series")
        self.limit, self.items = limit, list[T]()
        self._stride, self._seen = 1, 0

    def append(self, item: T) -> None:
        """Take in the next item."""
        if self._seen % self._stride == 0:
            if len(self.items) == self.limit:
                del self.items[1::2]
                self._stride *= 2
            if self._seen % self._stride == 0:
                self.items.append(item)
        self._seen += 1
