"""Execution of one chapter with papermill: fresh ones skipped, failures told in one line."""

from __future__ import annotations

import multiprocessing
import os
import shutil
import tempfile
import time
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from hpopt_lib.errors import HpoptError
from hpopt_lib.report.chapters import Chapter, check_parameters, find_chapter
from hpopt_lib.report.freshness import chapter_digest, inputs_digest
from hpopt_lib.report.notebooks import annotate, place_of, warnings_in
from hpopt_lib.report.profiles import DEFAULT_CELL_TIMEOUT_S

#: Where builds put what they make, below the root of the repository.
BUILD_FOLDER = "_build"


@dataclass(frozen=True)
class Job:
    """One chapter to execute: everything a worker process needs, and nothing else."""

    root: Path
    chapter: str
    parameters: dict[str, Any]
    profile: str
    out: Path
    digest: str
    timeout_s: int = DEFAULT_CELL_TIMEOUT_S


@dataclass(frozen=True)
class Run:
    """How an execution went: `notebook` is the file, `problem` is None when every cell succeeded."""

    chapter: str
    notebook: Path
    seconds: float
    problem: str | None = None
    warnings: tuple[str, ...] = ()


def run_chapter(
    root: str | Path, chapter: str, *, parameters: Mapping[str, Any], profile: str, out: str | Path
) -> Path:
    """Execute one chapter and write the notebook with its outputs.

    Parameters
    ----------
    root : str or Path
        Root of the repository.
    chapter : str
        Name of the chapter, such as ``first_model``.
    parameters : mapping
        Values that replace those of the chapter's cell tagged ``parameters``.
    profile : str
        Named in the notebook, beside its parameters.
    out : str or Path
        The notebook to write. An older one is replaced only when every cell succeeds.

    Returns
    -------
    Path
        `out`.

    Raises
    ------
    HpoptError
        For an unknown chapter or parameter, and when a cell fails (the message names the
        cell's line in the source and the partial notebook, ``NAME.part.ipynb``).
    """
    root = Path(root).resolve()
    found = find_chapter(root, chapter)
    check_parameters(found, parameters, origin="-p")
    digest = chapter_digest(found, parameters, inputs_digest(root))
    job = Job(root, found.name, dict(parameters), profile, Path(out).resolve(), digest)
    (run,) = execute_all([job], jobs=1)
    if run.problem:
        raise HpoptError(run.problem)
    return Path(out)


def execute_all(todo: Sequence[Job], *, jobs: int) -> Iterator[Run]:
    """Execute chapters in `jobs` processes of their own; yields each as it ends.

    What kernels write outside of cells goes to ``_build/kernels.log``.
    """
    # two kernels that each start a thread per core would only get into each other's way
    os.environ.setdefault("OMP_NUM_THREADS", str(max(1, (os.cpu_count() or 1) // jobs)))
    log = todo[0].root / BUILD_FOLDER / "kernels.log"
    log.parent.mkdir(parents=True, exist_ok=True)
    pool = ProcessPoolExecutor(
        max(1, min(jobs, len(todo))),
        multiprocessing.get_context("spawn"),
        initializer=_write_to,
        initargs=(str(log),),
    )
    try:
        for future in as_completed([pool.submit(execute, job) for job in todo]):
            yield future.result()
    finally:
        pool.shutdown(cancel_futures=True)


def _write_to(log: str) -> None:
    descriptor = os.open(log, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o644)
    os.dup2(descriptor, 1)
    os.dup2(descriptor, 2)
    os.close(descriptor)


def execute(job: Job) -> Run:
    """Run a chapter's cells in a fresh kernel whose working directory is the root of the repository."""
    import nbformat
    import papermill
    from traitlets.config import Config

    chapter = find_chapter(job.root, job.chapter)
    part = job.out.with_name(f"{job.out.stem}.part.ipynb")
    part.parent.mkdir(parents=True, exist_ok=True)
    # Kernels that run side by side need a socket folder each: the shared default mixes their messages.
    sockets = tempfile.mkdtemp(prefix="hpopt-kernel-")
    config = Config()
    config.KernelManager.transport = "ipc"
    config.KernelManager.ip = os.path.join(sockets, "k")
    start = time.monotonic()
    try:
        papermill.execute_notebook(
            chapter.notebook, str(part), parameters=job.parameters, cwd=str(job.root), kernel_name="python3",
            progress_bar=False, execution_timeout=job.timeout_s, config=config,
        )  # fmt: skip
    except (
        Exception
    ) as error:  # a failing cell, a dead kernel or a time-out: papermill has no common class for them
        return Run(chapter.name, part, time.monotonic() - start, _problem(chapter, error, part, job))
    finally:
        shutil.rmtree(sockets, ignore_errors=True)
    notebook = nbformat.read(part, as_version=4)
    annotate(notebook, chapter, profile=job.profile, digest=job.digest, name=job.out.name)
    nbformat.write(notebook, part)
    os.replace(part, job.out)
    return Run(chapter.name, job.out, time.monotonic() - start, warnings=warnings_in(notebook, chapter))


def _problem(chapter: Chapter, error: Exception, part: Path, job: Job) -> str:
    where = chapter.label
    if hasattr(error, "ename"):
        where = place_of(chapter, getattr(error, "source", ""))
        what = f"{error.ename}: {getattr(error, 'evalue', '')}"
    elif type(error).__name__ == "CellTimeoutError":
        what = f"a cell took longer than {job.timeout_s} s (timeout_s of profile {job.profile})"
    elif type(error).__name__ == "DeadKernelError":
        what = "the kernel died (out of memory?)"
    else:
        what = f"{type(error).__name__}: {error}"
    partial = f"; the partial notebook is {_relative(part, job.root)}" if part.exists() else ""
    return f"{where}: {' '.join(what.split())}{partial}"


def _relative(path: Path, root: Path) -> Path:
    return path.relative_to(root) if path.is_relative_to(root) else path
