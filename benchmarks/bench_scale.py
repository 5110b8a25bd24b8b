"""Memory, time and disk for many frames, and what follows for the largest data sets.

    python benchmarks/bench_scale.py [--quick] [--frames N] [--memory MB] [--out FILE]

Generates frames, preprocesses them, and trains an epoch with far less memory than the frames need. Every step
is a process of its own; its memory is the largest resident memory above that after its imports and a small
run (from /proc, since ru_maxrss of a new process starts at that of its parent). --out replaces the section of
this benchmark in a file.
"""

from __future__ import annotations

import argparse
import datetime
import json
import os
import shlex
import subprocess
import sys
import tempfile
from pathlib import Path

import numpy as np
from measure import commit, machine, publish, table
from scale_steps import STEPS

from hpopt_lib.potential.shuffling import epoch_order, shuffling_quality

TITLE = "# More data than memory"
#: Mean number of atoms of a frame of OC20, for the projection (mean of the 300 test frames of AMPtorch).
OC20_ATOMS = 73
PROJECTED = {"the 2M split of OC20": 2_000_000, "all of S2EF of OC20": 133_934_018}


def step(name: str, **options: object) -> dict[str, float]:
    """Run a step in a process of its own; what it measured."""
    command = [sys.executable, __file__, "--step", name, "--options", json.dumps(options)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        raise SystemExit(f"step {name} failed:\n{done.stderr}")
    found = json.loads(done.stdout.splitlines()[-1])
    print(f"{name}: {found}", file=sys.stderr, flush=True)
    return found


def measured(pre: dict[str, float], read: dict[str, float], train: dict[str, float], memory: float) -> str:
    """The steps as a table and the sentences that go with it."""
    frames, atoms = pre["frames"], pre["atoms"] / pre["frames"]
    rows = [
        [
            "preprocess, 1 reader + 2 processes that featurise", f"{pre['wall_s']:.0f}",
            f"{pre['cpu_main_s']:.0f} + {pre['cpu_workers_s']:.0f}", f"{frames / pre['wall_s']:,.0f}",
            f"{pre['peak_mb']:.0f} + 2 x at most {pre['worker_mb']:.0f} with the program",
        ]
    ]  # fmt: skip
    for name, found, key, peak in (
        ("first pass of a training (labels)", train, "scan", f"{train['scan_mb']:.0f}"),
        (f"an epoch with --memory {memory:g} and its validation", train, "epoch", f"{train['peak_mb']:.0f}"),
        ("reading and standardising alone, file in the cache", read, "warm", ""),
        ("the same, cache dropped", read, "cold", ""),
    ):
        wall, cpu = found[f"{key}_s"], found[f"{key}_cpu_s"]
        rows.append([name, f"{wall:.1f}", f"{cpu:.1f}", f"{frames / wall:,.0f}", peak])
    head = ["step", "seconds", "CPU seconds", "frames/s", "memory, MB"]
    return (
        f"{frames:,.0f} training frames and {pre['validation_frames']:,.0f} for validation ({atoms:.1f} "
        f"atoms each; embedded slabs, rattled), {pre['features']:.0f} features (default settings, float32). "
        f"The store takes {pre['bytes'] / 1e6:,.0f} MB: {pre['bytes_per_frame']:,.0f} bytes a frame, "
        f"{pre['bytes_per_frame'] / atoms:.0f} an atom. All of it in memory would take "
        f"{train['needed_mb']:,.0f} MB, {train['needed_mb'] / memory:.0f} times the bound. The buffer holds "
        f"{train['in_memory']:.0f} of {train['blocks']:.0f} blocks at a time.\n\n{table(head, rows)}\n\n"
        f"Memory is that above the program, which takes {train['program_mb']:.0f} MB. Features are read and "
        f"standardised at {pre['feature_bytes'] / 1e6 / read['warm_s']:,.0f} MB/s from the cache, "
        f"{pre['feature_bytes'] / 1e6 / read['cold_s']:,.0f} MB/s from the disk."
    )


def shuffling(frames: int, in_memory: int, *, epochs: int = 5) -> str:
    """How close the order of an epoch is to a full shuffle."""
    per_block = np.full(-(-frames // 256), 256)
    per_block[-1] = frames - 256 * (len(per_block) - 1)
    rows = []
    for held in (1, in_memory, len(per_block)):
        rng = np.random.default_rng(0)
        found = [shuffling_quality(epoch_order(per_block, held, rng), per_block, 32) for _ in range(epochs)]
        rows.append(
            [
                held,
                f"{np.sqrt(np.mean([q['rank_correlation'] ** 2 for q in found])):.4f}",
                f"{np.mean([q['same_block_pairs'] for q in found]):.4f}",
                f"{found[0]['same_block_pairs_full']:.4f}",
            ]
        )
    head = [
        "blocks in memory",
        "rank correlation (root mean square)",
        "pairs of one block in a batch",
        "full",
    ]
    return (
        f"{frames:,} frames in blocks of 256, batches of 32, {epochs} epochs: the rank correlation of a "
        "frame's place in the file with its place in the epoch, and the share of the pairs of frames in a "
        f"batch that come from one block, beside that of a full shuffle.\n\n{table(head, rows)}"
    )


def errors(found: dict[str, list[float]]) -> str:
    """Validation errors after training with less and less memory."""
    names = {"all": "all, in memory"}
    rows = [
        [names.get(held, held), f"{np.mean(values):.2f}", f"{np.std(values, ddof=1):.2f}", len(values)]
        for held, values in found.items()
        if held not in ("blocks", "frames", "epochs", "median", "linear")
    ]
    return (
        f"The embedded OC20-like set ({found['frames']} frames in {found['blocks']} blocks), "
        f"{found['epochs']} epochs; validation energy MAE in meV/atom of the best epoch (split val_id; "
        f"median baseline {found['median']:.1f}, linear reference {found['linear']:.1f}), mean and sample "
        "standard deviation over seeds.\n\n"
        + table(["blocks in memory", "mean", "standard deviation", "seeds"], rows)
    )


def projection(pre: dict[str, float], train: dict[str, float]) -> str:
    """Per-frame figures times the number of frames, for frames of OC20's size."""
    ratio = OC20_ATOMS / (pre["atoms"] / pre["frames"])
    total = pre["frames"] + pre["validation_frames"]
    reader_s, worker_s = pre["cpu_main_s"] / total * ratio, pre["cpu_workers_s"] / total * ratio
    disk = pre["bytes_per_frame"] * ratio
    epoch_s = train["epoch_cpu_s"] / pre["frames"] * ratio
    rows = []
    for name, frames in PROJECTED.items():
        rows.append(
            [
                f"{name} ({frames:,})", f"{frames * disk / 1e12:.3g}",
                f"{frames * (reader_s + worker_s) / 3600:,.1f}",
                f"{frames * max(reader_s, worker_s / 23) / 3600:,.1f}", f"{frames * epoch_s / 3600:,.1f}",
                f"{frames * pre['seen_bytes'] / 1e9:.2g}",
                f"{frames / 256 * 64 / 1e6:.2g}",
            ]
        )  # fmt: skip
    head = [
        "data", "store, TB", "preprocess, core hours", "preprocess, hours on 24 cores",
        "an epoch, core hours", "index of duplicates on disk, GB", "lists of blocks in memory, MB",
    ]  # fmt: skip
    return (
        f"Computed from the measured figures for frames of {OC20_ATOMS} atoms, at the same cost an atom: the "
        f"main process (reads, checks, writes) {1e3 * reader_s:.2f} ms of CPU time a frame, featurising "
        f"{1e3 * worker_s:.2f} ms.\n\n{table(head, rows)}\n\n"
        f"Up to {1 + worker_s / reader_s:.1f} cores featurising limits, with more the process "
        f"that reads: {1 / reader_s:,.0f} frames/s. More cores help when the input is cut into parts, each "
        "with a store of its own, which needs a way to join stores that is not there yet. An epoch runs on "
        "one core; the whole of OC20 needs a GPU or several processes that share the gradients, and blocks "
        "read ahead while the network computes. Neither is there yet."
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n", 1)[0])
    parser.add_argument("--quick", action="store_true", help="a short look: few frames, few seeds")
    parser.add_argument("--frames", type=int, help="training frames to generate  [100000]")
    parser.add_argument("--memory", type=float, help="bound of the training in MB  [64]")
    parser.add_argument("--no-errors", action="store_true", help="leave out what shuffling does to errors")
    parser.add_argument("--out", type=Path, help="also replace this benchmark's section in a file")
    parser.add_argument("--step", choices=STEPS, help=argparse.SUPPRESS)
    parser.add_argument("--options", help=argparse.SUPPRESS)
    options = parser.parse_args()
    os.environ["OMP_NUM_THREADS"] = "1"
    if options.step:
        print(json.dumps(STEPS[options.step](**json.loads(options.options))))
        return
    frames = options.frames or (1500 if options.quick else 100_000)
    memory = options.memory or (12 if options.quick else 64)
    with tempfile.TemporaryDirectory(prefix="bench-scale-") as folder:
        step("generate", folder=folder, frames=frames)
        pre = step("preprocess", folder=folder)
        train = step("train", folder=folder, memory_mb=memory)
        read = step("read", folder=folder, memory_mb=memory)
        found = None
        if not options.no_errors:
            found = step("errors", folder=folder, seeds=2 if options.quick else 5, quick=options.quick)
        text = [
            TITLE,
            f"{datetime.date.today()}, commit {commit()}, `python {shlex.join(sys.argv)}`\n\n{machine()}; "
            "one thread a process",
            measured(pre, read, train, memory),
            f"## Shuffling\n\n{shuffling(frames, int(train['in_memory']))}",
            *([errors(found)] if found else []),
            f"## Projection\n\n{projection(pre, train)}",
        ]
    publish(TITLE, text, options.out)


if __name__ == "__main__":
    main()
