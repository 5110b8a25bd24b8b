"""The benchmark runs; what it measures is not tested."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

from synthetic import environment

ROOT = Path(__file__).resolve().parents[1]


def test_benchmark_of_the_features(tmp_path):
    command = [sys.executable, str(ROOT / "benchmarks" / "bench_gmp.py"), "--quick"]
    out = tmp_path / "results.md"
    done = subprocess.run(
        [*command, "--only", "roofline", "--out", str(out)],
        cwd=tmp_path, env=environment(), capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    report = out.read_text(encoding="utf-8")
    assert report.strip() == done.stdout.strip() and "times that bound" in report
    assert "## Features" not in report
