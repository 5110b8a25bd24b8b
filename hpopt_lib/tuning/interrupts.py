"""Ctrl-C and SIGTERM at the moments when nothing can be left half done."""

from __future__ import annotations

import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager


class Interrupts:
    """A signal handler that raises KeyboardInterrupt, except while it is held.

    An interrupt inside a transaction would leave the database locked, and one between the
    creation of a trial and its start, or while its result is written, would leave the trial
    running for ever. So a worker holds interrupts but for the training itself.
    """

    def __init__(self) -> None:
        self._held = self._pending = False

    def __call__(self, *_: object) -> None:
        if not self._held:
            raise KeyboardInterrupt
        self._pending = True

    @contextmanager
    def held(self) -> Iterator[None]:
        """Let interrupts wait for the end of the block (or an `allowed` block in it)."""
        self._held = True
        try:
            yield
        finally:
            self._let()

    @contextmanager
    def allowed(self) -> Iterator[None]:
        """Let interrupts pass in a block inside `held`."""
        self._let()
        try:
            yield
        finally:
            self._held = True

    def check(self) -> None:
        """Raise KeyboardInterrupt when an interrupt waits."""
        if self._pending:
            self._pending = False
            raise KeyboardInterrupt

    def _let(self) -> None:
        self._held = False
        self.check()


@contextmanager
def interruptible() -> Iterator[Interrupts]:
    """Let SIGTERM end the block as Ctrl-C does, so that running trials are marked failed."""
    stops = Interrupts()
    if threading.current_thread() is not threading.main_thread():  # only the main thread gets signals
        yield stops
        return
    numbers = [signal.SIGTERM]
    if signal.getsignal(signal.SIGINT) != signal.SIG_IGN:
        numbers.append(signal.SIGINT)
    previous = [signal.signal(number, stops) for number in numbers]
    try:
        yield stops
    finally:
        for number, handler in zip(numbers, previous):
            signal.signal(number, handler)
