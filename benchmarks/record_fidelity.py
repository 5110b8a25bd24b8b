"""Record trainings with fewer epochs and fewer frames, and learning curves up to larger sizes.

    python benchmarks/record_fidelity.py [--points N] [--out FILE]

Points are the first of those in book/results/points_network.json, which holds them in full.
"""

from __future__ import annotations

import argparse
import datetime
import os
import shlex
import sys
import tempfile
import time
from importlib.metadata import version
from pathlib import Path

os.environ.setdefault("OMP_NUM_THREADS", "1")

import torch
from measure import commit, machine

from hpopt_lib.experiments.compute import (
    CURVE_SEEDS,
    CURVE_SIZES,
    CURVE_STRIDES,
    FIDELITIES,
    NETWORKS,
    cheap_errors,
    curve_errors,
)
from hpopt_lib.experiments.drawn_table import training_frames
from hpopt_lib.experiments.feature_cache import FeatureCache
from hpopt_lib.experiments.records import write_record
from hpopt_lib.experiments.wide_space import EPOCHS, draw

RESULTS = Path(__file__).resolve().parents[1] / "book" / "results"
SEEDS, DRAW, DRAWN = [0, 1], 0, 80


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--points", type=int, default=48)
    parser.add_argument("--out", type=Path, default=RESULTS / "fidelity.json")
    options = parser.parse_args()
    torch.set_num_threads(1)
    at, wall, cpu = commit(), time.perf_counter(), time.process_time()
    params = draw("network", DRAWN, seed=DRAW)[: options.points]
    with tempfile.TemporaryDirectory() as folder:
        cache = FeatureCache(training_frames(), folder)
        results = {
            name: cheap_errors(cache, params, fidelity, SEEDS) for name, fidelity in FIDELITIES.items()
        }
        larger = FeatureCache(training_frames(CURVE_STRIDES), folder)
        results |= {
            f"curve: {name}": curve_errors(larger, name, CURVE_SIZES, CURVE_SEEDS) for name in NETWORKS
        }
    origin = {
        "command": f"python {shlex.join(sys.argv)}",
        "commit": at,
        "date": datetime.date.today().isoformat(),
        "hardware": machine(),
        "versions": {name: version(name) for name in ("hpopt_lib", "torch", "optuna", "numpy")},
        "wall_s": round(time.perf_counter() - wall, 1),
        "cpu_s": round(time.process_time() - cpu, 1),
    }
    settings = {
        "points": options.points, "seeds": SEEDS, "draw": DRAW, "epochs": EPOCHS, "fidelities": FIDELITIES,
        "curve_sizes": CURVE_SIZES, "curve_seeds": CURVE_SEEDS, "curve_strides": CURVE_STRIDES,
    }  # fmt: skip
    write_record(options.out, "fidelity", settings=settings, results=results, origin=origin)
    print(f"{options.out}: {options.points} points, {origin['wall_s']} s")


if __name__ == "__main__":
    main()
