"""Trainings per hour: many networks at once beside one by one, on one core and on all of them.

    python benchmarks/bench_batched.py [--quick | --record] [--device cpu] [--out FILE]

Prints Markdown. --out replaces the section of this benchmark in a file and leaves the others as they are.
"""

from __future__ import annotations

import argparse
import datetime
import multiprocessing
import os
import shlex
import sys
import time
from pathlib import Path

os.environ.setdefault("OMP_NUM_THREADS", "1")

import numpy as np
import torch
from measure import commit, machine, publish, table

from hpopt_lib.potential.batched import train_many
from hpopt_lib.potential.batched_training import Member
from hpopt_lib.potential.dataset import Dataset
from hpopt_lib.potential.settings import TrainSettings
from hpopt_lib.potential.training import train
from hpopt_lib.store import Store
from hpopt_lib.workspace import embedded_store

TITLE = "# Many networks at once"
SHAPES = [
    {"num_nodes": 16, "batch_size": 32},
    {"num_nodes": 50, "batch_size": 32},
    {"num_nodes": 50, "batch_size": 8},
    {"num_nodes": 50, "batch_size": 32, "normalization": "layer"},
    {"num_nodes": 128, "batch_size": 32},
]


def alone(data: Dataset, settings: TrainSettings, seeds: range, device: str) -> None:
    """One after the other."""
    for seed in seeds:
        train(data, settings, seed=seed, device=device)


def together(data: Dataset, settings: TrainSettings, seeds: range, device: str) -> None:
    """In one stack."""
    train_many(data, [Member(settings, seed) for seed in seeds], device=device)


def timed(work, data: Dataset, settings: TrainSettings, seeds: range, device: str) -> float:
    """Wall seconds for each training."""
    torch.set_num_threads(1)
    start = time.perf_counter()
    work(data, settings, seeds, device)
    return (time.perf_counter() - start) / len(seeds)


def _process(path: str, settings: TrainSettings, seeds: range, device: str, work, barrier, results) -> None:
    data = Dataset.from_store(Store.open(path))
    train(data, settings, seed=99, device=device)  # warm
    barrier.wait()
    results.put(timed(work, data, settings, seeds, device) * len(seeds))


def in_processes(n: int, path: str, settings: TrainSettings, seeds: range, device: str, work) -> float:
    """Wall seconds for each training, with the seeds dealt to some processes of one thread."""
    context = multiprocessing.get_context("spawn")
    barrier, results = context.Barrier(n), context.SimpleQueue()
    made = [
        context.Process(target=_process, args=(path, settings, seeds[k::n], device, work, barrier, results))
        for k in range(n)
    ]
    for process in made:
        process.start()
    seconds = max(results.get() for _ in made)
    for process in made:
        process.join()
    return seconds / len(seeds)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    size = parser.add_mutually_exclusive_group()
    size.add_argument("--quick", action="store_true", help="one shape, few epochs")
    size.add_argument("--record", action="store_true", help="write into benchmarks/RESULTS.md")
    parser.add_argument("--device", default="cpu", help="cpu or cuda")
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--out", type=Path, help="also write to this file")
    options = parser.parse_args()
    out = Path(__file__).with_name("RESULTS.md") if options.record else options.out
    store = embedded_store("oc20-like", stride=16 if options.quick else 2)
    data, path = Dataset.from_store(store), str(store.path.resolve())
    stack, repeats = (4, 1) if options.quick else (16, options.repeats)
    cores = len(os.sched_getaffinity(0))
    busy = os.getloadavg()[0]
    rows = []
    for shape in SHAPES[:1] if options.quick else SHAPES:
        settings = TrainSettings(epochs=2 if options.quick else 5, **shape)
        seeds = range(stack)
        made: dict[str, list[float]] = {}
        train(data, settings, seed=99, device=options.device)  # warm
        for _ in range(repeats):  # all ways before the next round: slow moments hit all alike
            for name, work in (("alone", alone), ("together", together)):
                made.setdefault(name, []).append(timed(work, data, settings, seeds, options.device))
                made.setdefault(f"{name}, {cores} processes", []).append(
                    in_processes(cores, path, settings, seeds, options.device, work)
                )
        rate = {name: 3600 / np.array(values) for name, values in made.items()}
        for suffix in ("", f", {cores} processes"):
            one, many = f"alone{suffix}", f"together{suffix}"
            gain = rate[many] / rate[one]
            rows.append(
                [", ".join(f"{key} {value}" for key, value in shape.items()), cores if suffix else 1,
                 f"{np.median(rate[one]):,.0f}", f"{np.median(rate[many]):,.0f}",
                 f"{np.median(gain):.2f} ({gain.min():.2f}–{gain.max():.2f})"]
            )  # fmt: skip
    text = [
        TITLE,
        f"{datetime.date.today()}, commit {commit()}, `python {shlex.join(sys.argv)}`\n\n{machine()}, "
        f"device {options.device}",
        f"{stack} trainings of one shape with their own seeds, {settings.epochs} epochs on "
        f"{len(data.train):,} frames ({len(data.train.features):,} atoms) of the embedded oc20-like set, "
        f"{settings.num_layers} hidden layers: one after the other (`train`), or in one stack "
        "(`train_many`). Processes of one thread each. Trainings per hour of wall time; medians, and the "
        f"range of the ratio, of {repeats} rounds taken in turn. Load average of the machine before: "
        f"{busy:.1f} on {cores} cores; other work lowers the rates, and hits both ways alike.",
        table(["shape", "processes", "one by one, 1/h", "together, 1/h", "ratio"], rows),
    ]
    publish(TITLE, text, out)


if __name__ == "__main__":
    main()
