"""Timing and memory for benchmarks on machines that do other work too."""

from __future__ import annotations

import datetime
import os
import platform
import re
import shlex
import subprocess
import sys
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from importlib.metadata import version
from pathlib import Path
from typing import TypeVar

import numpy as np

T = TypeVar("T")


def interleaved(
    tasks: Mapping[str, Callable[[T], object]],
    items: Sequence[T],
    *,
    repeats: int,
    clock: Callable[[], float] = time.process_time,
) -> dict[str, np.ndarray]:
    """Seconds that each task takes for all items, `repeats` times.

    All tasks do an item before any does the next one, so that slow moments of the machine hit all alike.
    CPU time, which does not count what other processes do meanwhile.
    """
    seconds = {name: np.zeros(repeats) for name in tasks}
    for item in items:  # machine code, tables of elements
        for task in tasks.values():
            task(item)
    for repeat in range(repeats):
        for item in items:
            for name, task in tasks.items():
                start = clock()
                task(item)
                seconds[name][repeat] += clock() - start
    return seconds


def peak_memory_mb(work: Callable[[], object]) -> float:
    """MB by which the resident memory rises at most while `work` runs (Linux)."""
    Path("/proc/self/clear_refs").write_text("5")  # resets the high-water mark
    before = _status("VmRSS")
    work()
    return (_status("VmHWM") - before) / 1024


def _status(field: str) -> float:
    for line in Path("/proc/self/status").read_text().splitlines():
        if line.startswith(f"{field}:"):
            return float(line.split()[1])
    raise OSError(f"/proc/self/status has no {field}")


def table(head: Sequence[str], rows: Iterable[Sequence[object]]) -> str:
    """A Markdown table."""
    lines = [head, ["---"] * len(head), *rows]
    return "\n".join("| " + " | ".join(str(cell) for cell in line) + " |" for line in lines)


def machine() -> str:
    """Processor, cores and versions, in one line."""
    import numba
    import torch

    model = platform.processor() or platform.machine()
    info = Path("/proc/cpuinfo")
    if info.exists():
        names = [
            line.split(":", 1)[1].strip() for line in info.read_text().splitlines() if "model name" in line
        ]
        model = names[0] if names else model
    versions = f"Python {platform.python_version()}, numba {numba.__version__}, torch {torch.__version__}"
    return f"{model}, {os.cpu_count()} cores, {versions}"


def commit() -> str:
    """Short hash of the checked-out commit, with a mark when files differ from it."""
    done = subprocess.run(
        ["git", "describe", "--always", "--dirty"],
        cwd=Path(__file__).parent, capture_output=True, text=True, check=False,
    )  # fmt: skip
    return done.stdout.strip() or "unknown"


class Recording:
    """Where a record comes from; begun before the work, so that the commit is the one that did it."""

    def __init__(self) -> None:
        self.commit, self._wall, self._cpu = commit(), time.perf_counter(), time.process_time()

    def made(self, *packages: str) -> dict[str, object]:
        """Command, commit, date, hardware, and the versions of hpopt_lib and other packages."""
        return {
            "command": f"python {shlex.join(sys.argv)}",
            "commit": self.commit,
            "date": datetime.date.today().isoformat(),
            "hardware": machine(),
            "versions": {name: version(name) for name in ("hpopt_lib", *packages)},
        }

    def origin(
        self, *packages: str, wall_s: float | None = None, cpu_s: float | None = None
    ) -> dict[str, object]:
        """The same with the seconds since the beginning, or those given."""
        return {
            **self.made(*packages),
            "wall_s": round(time.perf_counter() - self._wall if wall_s is None else wall_s, 1),
            "cpu_s": round(time.process_time() - self._cpu if cpu_s is None else cpu_s, 1),
        }


def replace_section(path: Path, title: str, section: str) -> None:
    """Put a section in a file in place of the one with its title, or at the end."""
    text = path.read_text(encoding="utf-8") if path.exists() else ""
    old = re.compile(rf"^{re.escape(title)}\n.*?(?=^# |\Z)", re.MULTILINE | re.DOTALL)
    before, after = (text[: m.start()], text[m.end() :]) if (m := old.search(text)) else (text, "")
    parts = [part.strip("\n") for part in (before, section, after) if part.strip()]
    path.write_text("\n\n".join(parts) + "\n", encoding="utf-8")


def publish(title: str, parts: Sequence[str], out: Path | None) -> None:
    """Print the report of a benchmark, and put it in a file's section of that title."""
    report = "\n\n".join(parts) + "\n"
    print(report)
    if out:
        replace_section(out, title, report)
