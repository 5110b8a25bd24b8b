"""Execution of one chapter with papermill: fresh ones skipped, failures told in one line."""

from __future__ import annotations

import hashlib
import json
import math
import multiprocessing
import os
import platform
import re
import shutil
import tempfile
import time
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from hpopt_lib.errors import HpoptError
from hpopt_lib.report.chapters import BOOK_FOLDER, Chapter, check_parameters, find_chapter
from hpopt_lib.report.profiles import DEFAULT_CELL_TIMEOUT_S

#: Where builds put what they make, below the root of the repository.
BUILD_FOLDER = "_build"

#: Where a notebook keeps what this module notes about its run.
METADATA_KEY = "hpopt_book"

#: Files and folders of a repository whose content can change what a chapter prints, besides the library.
INPUTS = ("pace_jobs", "benchmarks", "requirements.txt", "constraints.txt")
LIBRARY = Path(__file__).resolve().parents[1]

#: The machinery that renders pages: a change in it does not call for another execution.
NOT_INPUTS = re.compile(
    r"report/(assets/.*|(book\w*|chapters|execution|pages|profiles|rendering|sphinx_ext)\.py)"
)


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


def inputs_digest(root: Path) -> str:
    """SHA-256 over the library's code and data, the pins and the Python version."""
    total = hashlib.sha256(platform.python_version().encode())
    for name, path in _input_files(root):
        total.update(f"{name}\0{hashlib.sha256(path.read_bytes()).hexdigest()}\0".encode())
    return total.hexdigest()


def _input_files(root: Path) -> Iterator[tuple[str, Path]]:
    for top in (LIBRARY, *(root / name for name in INPUTS)):
        for path in [top] if top.is_file() else sorted(top.rglob("*")):
            name = path.relative_to(top if top == LIBRARY else root).as_posix()
            if path.is_file() and "__pycache__" not in name and not NOT_INPUTS.fullmatch(name):
                yield name, path


def chapter_digest(chapter: Chapter, parameters: Mapping[str, Any], inputs: str) -> str:
    """SHA-256 over the chapter's text, its parameters and `inputs` (see `inputs_digest`)."""
    values = json.dumps(dict(parameters), sort_keys=True, default=str)
    return hashlib.sha256(chapter.path.read_bytes() + values.encode() + inputs.encode()).hexdigest()


def is_fresh(out: Path, digest: str) -> bool:
    """Whether `out` is a finished execution of exactly these inputs."""
    return _metadata(out).get(METADATA_KEY, {}).get("digest") == digest


def last_duration(out: Path) -> float:
    """Seconds that the last execution took; infinite when there was none."""
    return float(_metadata(out).get("papermill", {}).get("duration") or math.inf)


def _metadata(out: Path) -> dict[str, Any]:
    try:
        return json.loads(out.read_text(encoding="utf-8"))["metadata"]
    except (OSError, ValueError, KeyError):
        return {}


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
    _annotate(notebook, job)
    nbformat.write(notebook, part)
    os.replace(part, job.out)
    return Run(chapter.name, job.out, time.monotonic() - start, warnings=_warnings(notebook, chapter))


def _problem(chapter: Chapter, error: Exception, part: Path, job: Job) -> str:
    where = chapter.label
    if hasattr(error, "ename"):
        where = _place(chapter, getattr(error, "source", ""))
        what = f"{error.ename}: {getattr(error, 'evalue', '')}"
    elif type(error).__name__ == "CellTimeoutError":
        what = f"a cell took longer than {job.timeout_s} s (timeout_s of profile {job.profile})"
    elif type(error).__name__ == "DeadKernelError":
        what = "the kernel died (out of memory?)"
    else:
        what = f"{type(error).__name__}: {error}"
    partial = f"; the partial notebook is {_relative(part, job.root)}" if part.exists() else ""
    return f"{where}: {' '.join(what.split())}{partial}"


def _place(chapter: Chapter, source: str) -> str:
    position = chapter.path.read_text(encoding="utf-8").find(source) if source.strip() else -1
    if position < 0:
        return chapter.label
    line = chapter.path.read_text(encoding="utf-8").count("\n", 0, position) + 1
    return f"{chapter.label}: cell at line {line}"


def _relative(path: Path, root: Path) -> Path:
    return path.relative_to(root) if path.is_relative_to(root) else path


def _annotate(notebook: Any, job: Job) -> None:
    metadata = notebook.metadata
    # papermill notes absolute paths; the published notebook shall not tell them
    metadata.papermill.input_path = f"{BOOK_FOLDER}/{job.chapter}.md"
    metadata.papermill.output_path = job.out.name
    metadata[METADATA_KEY] = {
        "digest": job.digest,
        "profile": job.profile,
        "python": platform.python_version(),
        "cores": os.cpu_count(),
    }
    for cell in notebook.cells:
        if "injected-parameters" in cell.metadata.get("tags", []):
            cell.metadata["tags"] = [*cell.metadata["tags"], "hide-input"]
            cell.metadata["mystnb"] = {
                "code_prompt_show": f"Parameters of this run (profile {job.profile})",
                "code_prompt_hide": "Hide the parameters",
            }


def _warnings(notebook: Any, chapter: Chapter) -> tuple[str, ...]:
    found = []
    for cell in notebook.cells:
        for output in cell.get("outputs", []):
            if output.get("name") == "stderr":
                lines = re.findall(r"^.*\b\w*Warning: .*$", output.text, flags=re.MULTILINE)
                found += [
                    f"{_place(chapter, cell.source)}: {re.sub(r'^.*?(?=[A-Z][A-Za-z]*Warning)', '', x)}"
                    for x in lines
                ]
    return tuple(found)
