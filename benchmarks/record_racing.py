"""Record what a race over repeats saves and loses on the table of trials.

    python benchmarks/record_racing.py [--orders N] [--out FILE]

Needs book/results/trial_table.npz (record_trial_table.py).
"""

from __future__ import annotations

import argparse
import os
from pathlib import Path

os.environ.setdefault("OMP_NUM_THREADS", "1")

from measure import Recording

from hpopt_lib.experiments.racing import CLOSE_SHARE, run_budget, run_racing
from hpopt_lib.experiments.records import write_record
from hpopt_lib.experiments.trial_table import TrialTable

RESULTS = Path(__file__).resolve().parents[1] / "book" / "results"
SEED = 0
CONFIDENCES = [0.5, 0.8, 0.95, 0.99]
#: Trials of a study over all points, and of one among the best of them.
TRIALS, CLOSE_TRIALS = 60, 30
TRAININGS, REPEATS = 90, 3


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--out", type=Path, default=RESULTS / "racing.json")
    parser.add_argument("--orders", type=int, default=200)
    options = parser.parse_args()
    recording = Recording()
    table = TrialTable.load(RESULTS / "trial_table.npz")
    draws = {"confidences": CONFIDENCES, "n_orders": options.orders, "seed": SEED}
    found = {
        "all": run_racing(table, n_trials=TRIALS, **draws),
        "close": run_racing(table, n_trials=CLOSE_TRIALS, share=CLOSE_SHARE, **draws),
        "budget": run_budget(table, trainings=TRAININGS, repeats=REPEATS, **draws),
    }
    results = {f"{part}: {name}": rows for part, rules in found.items() for name, rows in rules.items()}
    settings = {
        **draws,
        "n_trials": TRIALS,
        "close_trials": CLOSE_TRIALS,
        "close_share": CLOSE_SHARE,
        "trainings": TRAININGS,
        "repeats": REPEATS,
        "table": "trial_table.npz",
    }
    origin = recording.origin("optuna", "numpy", "scipy")
    write_record(options.out, "racing", settings=settings, results=results, origin=origin)
    print(f"{options.out}: {origin['wall_s']} s")


if __name__ == "__main__":
    main()
