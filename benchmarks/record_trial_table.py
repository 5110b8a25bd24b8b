"""Record the table of trials that the book's experiments on tuning replay.

    python benchmarks/record_trial_table.py [--out FILE] [--processes N]

Trains every point of a grid on every 8th frame of the embedded oc20-like set, five seeds each.
"""

from __future__ import annotations

import argparse
import os
from pathlib import Path

os.environ.setdefault("OMP_NUM_THREADS", "1")

from measure import Recording

from hpopt_lib.experiments.record_table import record_table
from hpopt_lib.workspace import embedded_store

STRIDE, SEEDS = 8, 5
GRID = {
    "max_order": [0, 1, 3],
    "num_layers": [1, 3],
    "num_nodes": [16, 64],
    "batch_size": [16, 64],
    "weight_decay": [1e-4, 1e-1],
    "lr": [3e-4, 1e-3, 3e-3, 1e-2, 3e-2, 1e-1],
}
FIXED = {"epochs": 30, "schedule": "cosine", "loss": "huber", "activation": "silu"}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    out = Path(__file__).resolve().parents[1] / "book" / "results" / "trial_table.npz"
    parser.add_argument("--out", type=Path, default=out)
    parser.add_argument("--processes", type=int, default=len(os.sched_getaffinity(0)))
    options = parser.parse_args()
    recording = Recording()
    store = embedded_store("oc20-like", stride=STRIDE)
    table = record_table(store.path, GRID, FIXED, range(SEEDS), processes=options.processes)
    table.origin.update(
        **recording.made("torch", "optuna", "numpy"),
        data={"set": "oc20-like", "stride": STRIDE},
    )
    table.save(options.out, overwrite=True)
    print(f"{options.out}: {len(table)} points, {SEEDS} seeds, {table.origin}")


if __name__ == "__main__":
    main()
