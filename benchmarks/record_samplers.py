"""Record races of the samplers on the table of trials.

    python benchmarks/record_samplers.py [--seeds N] [--trials N] [--out FILE]

Needs book/results/trial_table.npz (record_trial_table.py). The samplers' own time is measured: nothing else
should run meanwhile.
"""

from __future__ import annotations

import argparse
import os
from pathlib import Path

os.environ.setdefault("OMP_NUM_THREADS", "1")

from measure import Recording

from hpopt_lib.experiments.records import write_record
from hpopt_lib.experiments.samplers import run_samplers
from hpopt_lib.experiments.trial_table import TrialTable

RESULTS = Path(__file__).resolve().parents[1] / "book" / "results"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--out", type=Path, default=RESULTS / "samplers.json")
    parser.add_argument("--seeds", type=int, default=20)
    parser.add_argument("--trials", type=int, default=80)
    options = parser.parse_args()
    recording = Recording()
    table = TrialTable.load(RESULTS / "trial_table.npz")
    seeds = list(range(options.seeds))
    results = run_samplers(table, n_trials=options.trials, seeds=seeds)
    origin = recording.origin("optuna", "numpy", "torch", "cmaes")
    settings = {"n_trials": options.trials, "seeds": seeds, "workers": [1, 8], "table": "trial_table.npz"}
    write_record(options.out, "samplers", settings=settings, results=results, origin=origin)
    print(f"{options.out}: {len(results)} kinds of studies, {origin['wall_s']} s")


if __name__ == "__main__":
    main()
