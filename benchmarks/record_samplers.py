"""Record races of the samplers on the table of trials.

    python benchmarks/record_samplers.py [--seeds N] [--trials N] [--out FILE]

Needs book/results/trial_table.npz (record_trial_table.py). The samplers' own time is measured: nothing else
should run meanwhile.
"""

from __future__ import annotations

import argparse
import datetime
import os
import shlex
import sys
import time
from importlib.metadata import version
from pathlib import Path

os.environ.setdefault("OMP_NUM_THREADS", "1")

from measure import commit, machine

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
    at, wall, cpu = commit(), time.perf_counter(), time.process_time()
    table = TrialTable.load(RESULTS / "trial_table.npz")
    seeds = list(range(options.seeds))
    results = run_samplers(table, n_trials=options.trials, seeds=seeds)
    origin = {
        "command": f"python {shlex.join(sys.argv)}",
        "commit": at,
        "date": datetime.date.today().isoformat(),
        "hardware": machine(),
        "versions": {name: version(name) for name in ("hpopt_lib", "optuna", "numpy", "torch", "cmaes")},
        "wall_s": round(time.perf_counter() - wall, 1),
        "cpu_s": round(time.process_time() - cpu, 1),
    }
    settings = {"n_trials": options.trials, "seeds": seeds, "workers": [1, 8], "table": "trial_table.npz"}
    write_record(options.out, "samplers", settings=settings, results=results, origin=origin)
    print(f"{options.out}: {len(results)} kinds of studies, {origin['wall_s']} s")


if __name__ == "__main__":
    main()
