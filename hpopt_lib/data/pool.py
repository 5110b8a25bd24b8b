"""Work spread over processes, with progress, whose result does not depend on their number."""

from __future__ import annotations

import multiprocessing
import os
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any, TypeVar

from threadpoolctl import threadpool_limits  # type: ignore[import-untyped]

from hpopt_lib.errors import HpoptError
from hpopt_lib.progress import progress

T = TypeVar("T")
_THREADS = ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS")


@contextmanager
def one_thread() -> Iterator[None]:
    """Let libraries that are loaded inside the block use one thread.

    Sums over several threads are not the same from run to run.
    """
    before = {name: os.environ.get(name) for name in _THREADS}
    os.environ.update(dict.fromkeys(_THREADS, "1"))
    try:
        yield
    finally:
        for name, value in before.items():
            if value is None:
                del os.environ[name]
            else:
                os.environ[name] = value


def _call(job: tuple[Callable[..., T], tuple[Any, ...]]) -> T:
    function, arguments = job
    return function(*arguments)


def ordered_map(
    function: Callable[..., T],
    jobs: Sequence[tuple[Any, ...]],
    *,
    processes: int,
    desc: str,
    unit: str,
    chunk: int = 1,
) -> list[T]:
    """Call a module-level function with each tuple of arguments; results in the order of `jobs`.

    Raises
    ------
    HpoptError
        When `processes` is not positive, or from `function`.
    """
    if processes < 1:
        raise HpoptError(f"processes: {processes} is not a positive number")
    if processes == 1 or len(jobs) < 2:
        # on these small arrays threads of the linear algebra library only wait for each other
        with threadpool_limits(1):
            return list(progress((function(*job) for job in jobs), total=len(jobs), desc=desc, unit=unit))
    # spawn: a forked child of a process that runs threads (a notebook, torch) can hang
    context = multiprocessing.get_context("spawn")
    with one_thread(), context.Pool(min(processes, len(jobs))) as pool:
        results = pool.imap(_call, [(function, job) for job in jobs], chunksize=chunk)
        return list(progress(results, total=len(jobs), desc=desc, unit=unit))
