"""Signals and time limits: a worker stops between two epochs, and never in the middle of a transaction."""

from __future__ import annotations

import os
import signal
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager

#: What a batch system sends before it ends a job, and Ctrl-C.
SIGNALS = (signal.SIGTERM, signal.SIGUSR1, signal.SIGINT)
#: Seconds before the end of the job that are kept for the checkpoint and the database.
MARGIN_S = 30.0


class TrialStopped(Exception):
    """A training was stopped between two epochs; its checkpoint is stored."""


class Interrupts:
    """A signal handler that notes the wish to stop; a second signal ends the training at once.

    Raising inside a handler could tear a packet to the database in two, or leave a trial running
    for ever. So the first signal only sets `reason`, which the training looks at after every
    epoch. The second one (a user who presses Ctrl-C again) raises KeyboardInterrupt, but only
    inside of `allowed` blocks, which are the training itself.

    Attributes
    ----------
    reason : str
        Why to stop; empty while there is no reason.
    deadline : float or None
        Time (Unix, in seconds) at which the job ends.
    """

    def __init__(self, deadline: float | None = None) -> None:
        self.reason, self.deadline = "", deadline
        self._allowed = self._pending = False

    def __call__(self, number: int, *_: object) -> None:
        if not self.reason:
            self.reason = f"stopped by {signal.Signals(number).name}"
        elif self._allowed:
            raise KeyboardInterrupt
        else:
            self._pending = True

    def should_stop(self, next_step_s: float = 0.0) -> str:
        """The reason to stop, if there is one, or if a step of so many seconds would not fit any more."""
        # an epoch takes longer now and then
        needed = 1.5 * next_step_s + MARGIN_S
        if not self.reason and self.deadline is not None and time.time() + needed > self.deadline:
            self.reason = "stopped before the time limit"
        return self.reason

    @contextmanager
    def allowed(self) -> Iterator[None]:
        """Let a second signal end the block at once."""
        self._allowed = True
        try:
            if self._pending:
                self._pending = False
                raise KeyboardInterrupt
            yield
        finally:
            self._allowed = False

    @contextmanager
    def held(self) -> Iterator[None]:
        """Hold a second signal back in a block inside of `allowed`."""
        before, self._allowed = self._allowed, False
        try:
            yield
        finally:
            self._allowed = before


def job_deadline(time_limit_min: float | None = None) -> float | None:
    """When this job ends (Unix time in seconds): the option, else what the batch system says.

    Parameters
    ----------
    time_limit_min : float, optional
        Minutes from now. Without it the environment variables ``HPOPT_STOP_AT`` and
        ``SLURM_JOB_END_TIME`` count.
    """
    if time_limit_min is not None:
        return time.time() + 60 * time_limit_min
    for name in ("HPOPT_STOP_AT", "SLURM_JOB_END_TIME"):
        try:
            if (end := float(os.environ.get(name) or 0)) > 0:
                return end
        except ValueError:
            continue  # Slurm before 22.05 has no such variable; other texts are not ours
    return None


@contextmanager
def interruptible(deadline: float | None = None) -> Iterator[Interrupts]:
    """Note SIGTERM, SIGUSR1 and Ctrl-C in the block instead of being ended by them."""
    stops = Interrupts(deadline)
    if threading.current_thread() is not threading.main_thread():  # only the main thread gets signals
        yield stops
        return
    numbers = [n for n in SIGNALS if n != signal.SIGINT or signal.getsignal(n) != signal.SIG_IGN]
    previous = [signal.signal(number, stops) for number in numbers]
    try:
        yield stops
    finally:
        for number, handler in zip(numbers, previous):
            signal.signal(number, handler)
