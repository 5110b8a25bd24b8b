"""Record the table of trainings on which the chapter on the choice of a split replays its studies.

    python benchmarks/record_split_choice.py [--configs N] [--divisions N] [--processes N]
        [--work FOLDER] [--out FILE]

Trains random settings on divisions by each of three rules (by frame, by system, by alloy) of every 4th
frame of the embedded oc20-like set.
"""

from __future__ import annotations

import argparse
import os
from pathlib import Path

os.environ.setdefault("OMP_NUM_THREADS", "1")

from measure import Recording

from hpopt_lib.experiments.record_split_table import record_split_table
from hpopt_lib.experiments.split_divisions import OUTER_FOLDS, POOLS
from hpopt_lib.experiments.split_table import draw_configs
from hpopt_lib.workspace import embedded_store

STRIDE, SEED = 4, 0
SHAPES = {"max_order": [0, 3], "num_layers": [1, 2], "num_nodes": [8, 32]}
RANGES = {"lr": (1e-3, 1e-1), "weight_decay": (1e-4, 1.0)}
FIXED = {"epochs": 20, "batch_size": 32, "schedule": "cosine", "loss": "huber", "activation": "silu"}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    out = Path(__file__).resolve().parents[1] / "book" / "results" / "split_choice.npz"
    parser.add_argument("--out", type=Path, default=out)
    parser.add_argument("--configs", type=int, default=200)
    parser.add_argument("--processes", type=int, default=len(os.sched_getaffinity(0)))
    parser.add_argument(
        "--divisions", type=int, default=POOLS * OUTER_FOLDS, help="so many, outer folds of one pool first"
    )
    parser.add_argument("--work", type=Path, help="folder of parts, to go on from after a stop")
    options = parser.parse_args()
    recording = Recording()
    store = embedded_store("oc20-like", stride=STRIDE)
    configs = draw_configs(SHAPES, RANGES, options.configs, seed=SEED)
    divisions = range(options.divisions)
    table = record_split_table(
        store.path, configs, FIXED, divisions, processes=options.processes, work=options.work
    )
    table.origin.update(
        **recording.made("torch", "numpy"),
        data={"set": "oc20-like", "stride": STRIDE},
        seeds={"configs": SEED, "trainings": "number of the division"},
    )
    table.save(options.out, overwrite=True)
    print(f"{options.out}: {len(table)} settings, {len(table.divisions)} divisions, {table.origin}")


if __name__ == "__main__":
    main()
