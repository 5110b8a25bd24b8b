"""The benchmarks run; what they measure is not tested."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest
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


def test_benchmark_of_the_storages(tmp_path):
    out = tmp_path / "results.md"
    out.write_text("# Something else\n\nkept\n", encoding="utf-8")
    command = [sys.executable, str(ROOT / "benchmarks" / "bench_storage.py"), "--quick", "--no-server"]
    done = subprocess.run(
        [*command, "--only", "throughput", "--out", str(out)],
        cwd=tmp_path, env=environment(), capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    report = out.read_text(encoding="utf-8")
    assert report.startswith("# Something else\n\nkept\n") and report.strip().endswith(done.stdout.strip())
    rows = [line.split("|")[1:-1] for line in report.splitlines() if line.startswith("| hpopt")]
    assert [(row[0].strip(), int(row[1])) for row in rows] == [
        (name, workers) for name in ("hpopt, SQLite", "hpopt, journal") for workers in (1, 4)
    ]
    assert all(float(row[2].replace(",", "")) > 0 for row in rows), "trials/s"


def test_benchmark_of_few_frames(inputs, tmp_path):
    out = tmp_path / "results.md"
    out.write_text("# Something else\n\nkept\n", encoding="utf-8")
    command = [sys.executable, str(ROOT / "benchmarks" / "bench_small_data.py"), str(inputs / "train.traj")]
    done = subprocess.run(
        [*command, "--quick", "--development", "30", "--out", str(out)],
        cwd=tmp_path, env=environment(), capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    report = out.read_text(encoding="utf-8")
    assert report.startswith("# Something else\n\nkept\n") and report.strip().endswith(done.stdout.strip())
    assert "frames held out from development: small-data" in report
    assert str(inputs) not in report  # no folder of this machine


def test_benchmark_of_the_molecules(tmp_path):
    pytest.importorskip("numba")
    out = tmp_path / "results.md"
    out.write_text("# Other\n\nkept\n\n# Energies and forces of molecules\n\nold\n", encoding="utf-8")
    command = [sys.executable, str(ROOT / "benchmarks" / "bench_molecules.py"), "--quick", "--work", "work"]
    done = subprocess.run(
        [*command, "--out", str(out)],
        cwd=tmp_path, env=environment(), capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert len(list((tmp_path / "work").glob("*.json"))) == 4, "two trainings of each kind"
    report = out.read_text(encoding="utf-8")
    assert report.startswith("# Other\n\nkept\n\n# Energies and forces") and "old" not in report
    rows = [[cell.strip() for cell in line.split("|")[1:-1]] for line in report.splitlines() if "|" in line]
    found = {(row[0], row[1]): row for row in rows}
    assert "±" in found["test, 800 K", "energies and forces"][3]
    assert float(found["test, 500 K", "baseline: no force"][5]) > 100
    assert float(found["test, 500 K", "baseline: linear"][3]) > 0
    costs = {row[0]: float(row[2]) for row in rows if len(row) == 3 and row[2][0].isdigit()}
    assert set(costs) == {"matrices in memory", "loops at each step", "energies only"}


def test_benchmark_of_many_frames(tmp_path):
    out = tmp_path / "results.md"
    out.write_text("# Something else\n\nkept\n", encoding="utf-8")
    command = [sys.executable, str(ROOT / "benchmarks" / "bench_scale.py"), "--quick", "--no-errors"]
    done = subprocess.run(
        [*command, "--frames", "700", "--memory", "9", "--out", str(out)],
        cwd=tmp_path, env=environment(), capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    report = out.read_text(encoding="utf-8")
    assert report.startswith("# Something else\n\nkept\n") and report.strip().endswith(done.stdout.strip())
    rows = [line.split("|")[1:-1] for line in report.splitlines() if line.startswith("| all of S2EF")]
    assert len(rows) == 1 and all(float(cell.replace(",", "")) > 0 for cell in rows[0][1:])


def test_limits_of_the_server_are_computed_from_the_costs():
    code = """
from storage_limits import limits
from storage_load import Cost
made = {n: Cost(10.0, [0.1 + 1e-6 * n, *[0.05 + 1e-5 * n] * 5], 0.02, 0.01) for n in (100, 1000, 5000)}
costs = {("hpopt, MariaDB 1", n): [Cost(10.0, [0.05], 0.02, 0.01)] for n in (1, 32)}
print(limits(costs, {"hpopt, MariaDB 1": made, "hpopt, SQLite": {}}))
"""
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=ROOT / "benchmarks", env=environment(), capture_output=True, text=True,
        check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    # half a core of 10 ms for a trial: 50 trials a second; 0.05 s + 10 µs for each trial reach 0.15 s at 10,000
    assert "| 5 s | 250 | 250 | 0.4 |" in done.stdout and "| 60 s | 3,000 | 250 |" in done.stdout
    assert "in a study of 10,000 trials" in done.stdout


def test_benchmark_of_many_networks_at_once(tmp_path):
    command = [sys.executable, str(ROOT / "benchmarks" / "bench_batched.py"), "--quick"]
    done = subprocess.run(
        command, cwd=tmp_path, env=environment(), capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    rows = [line.split("|")[1:-1] for line in done.stdout.splitlines() if line.startswith("| num_nodes")]
    assert len(rows) == 2 and all(float(row[2].replace(",", "")) > 0 for row in rows)
