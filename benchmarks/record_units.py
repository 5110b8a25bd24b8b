"""Record all metrics of many models on all validation splits.

python benchmarks/record_units.py [--seeds N] [--out FILE]
"""

from __future__ import annotations

import argparse
import os
from pathlib import Path

os.environ.setdefault("OMP_NUM_THREADS", "1")

from measure import Recording

from hpopt_lib.experiments.records import write_record
from hpopt_lib.experiments.units import FIXED, GRID, METRICS, N_TRAIN, all_points, train_models
from hpopt_lib.workspace import embedded_store

STRIDE = 4


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    out = Path(__file__).resolve().parents[1] / "book" / "results" / "units.json"
    parser.add_argument("--out", type=Path, default=out)
    parser.add_argument("--seeds", type=int, default=5)
    options = parser.parse_args()
    recording = Recording()
    store = embedded_store("oc20-like", stride=STRIDE)
    found = train_models(store, all_points(), range(options.seeds))
    results = {
        f"{split}: {name}": [[float(f"{value:.6g}") for value in row] for row in values[name].tolist()]
        for split, values in found.items()
        for name in METRICS
    }
    origin = recording.origin("torch", "numpy", "scipy")
    settings = {
        "grid": GRID,
        "fixed": FIXED,
        "n_train": N_TRAIN,
        "seeds": list(range(options.seeds)),
        "set": "oc20-like",
        "stride": STRIDE,
    }
    write_record(options.out, "units", settings=settings, results=results, origin=origin)
    print(f"{options.out}: {len(all_points())} models, {origin['wall_s']} s")


if __name__ == "__main__":
    main()
