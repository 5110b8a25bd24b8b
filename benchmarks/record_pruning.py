"""Record what every pruner saves and loses on the table of trials.

    python benchmarks/record_pruning.py [--orders N] [--out FILE]

Needs book/results/trial_table.npz (record_trial_table.py). Replays studies of 60 trials drawn by lot.
"""

from __future__ import annotations

import argparse
import os
from pathlib import Path

os.environ.setdefault("OMP_NUM_THREADS", "1")

from measure import Recording

from hpopt_lib.experiments.pruning import (
    rank_correlations,
    recommend,
    run_pruning,
    run_repeats,
    tolerated_regret,
)
from hpopt_lib.experiments.records import write_record
from hpopt_lib.experiments.trial_table import TrialTable

RESULTS = Path(__file__).resolve().parents[1] / "book" / "results"
TRIALS, SEED = 60, 0
WARMUPS = [1, 2, 3, 4, 5, 7, 10, 15, 20]
SETTINGS = [
    ("none", 0),
    *((name, warmup) for name in ("median", "successive-halving", "hyperband") for warmup in WARMUPS),
]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--out", type=Path, default=RESULTS / "pruning.json")
    parser.add_argument("--orders", type=int, default=200)
    options = parser.parse_args()
    recording = Recording()
    table = TrialTable.load(RESULTS / "trial_table.npz")
    draws = {"n_orders": options.orders, "n_trials": TRIALS, "seed": SEED}
    results = run_pruning(table, settings=SETTINGS, **draws)
    repeats = run_repeats(table, **draws)
    ranks = {
        name: [round(float(value), 5) for value in rows.mean(axis=0)]
        for name, rows in rank_correlations(table, **draws).items()
    }
    origin = recording.origin("optuna", "numpy", "scipy")
    settings = {**draws, "warmups": WARMUPS, "table": "trial_table.npz"}
    found = {**results, **{f"repeats: {name}": rows for name, rows in repeats.items()}, "ranks": ranks}
    write_record(options.out, "pruning", settings=settings, results=found, origin=origin)
    print(f"{options.out}: {recommend(results, tolerated_regret(table))[0]}, {origin['wall_s']} s")


if __name__ == "__main__":
    main()
