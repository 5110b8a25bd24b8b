"""Record trainings with fewer epochs and fewer frames, or learning curves up to larger sizes.

    python benchmarks/record_fidelity.py fidelity | curves [--points N] [--out FILE]

The points are the first of those in book/results/points_network.json, which holds them in full.
"""

from __future__ import annotations

import argparse
import os
import tempfile
from pathlib import Path
from typing import Any

os.environ.setdefault("OMP_NUM_THREADS", "1")

import torch
from measure import Recording

from hpopt_lib.experiments import compute
from hpopt_lib.experiments.drawn_table import DrawnTable, baselines, training_frames
from hpopt_lib.experiments.feature_cache import FeatureCache
from hpopt_lib.experiments.records import read_record, write_record

RESULTS = Path(__file__).resolve().parents[1] / "book" / "results"


def cheap(folder: str, n_points: int) -> tuple[dict[str, Any], dict[str, Any]]:
    """Settings and results of cheaper trainings."""
    full = read_record(RESULTS / "points_network.json", "points")
    settings = {key: full["settings"][key] for key in ("seeds", "draw", "strides", "epochs")}
    params = DrawnTable.from_dict("network", full["results"]).params[:n_points]
    cache = FeatureCache(training_frames(settings["strides"]), folder)
    compute.cheap_errors(cache, params[:1], {}, settings["seeds"])  # the first training loads libraries
    settings |= {"points": len(params), "fidelities": compute.fidelities(settings["epochs"])}
    found = {
        name: compute.cheap_errors(cache, params, change, settings["seeds"])
        for name, change in settings["fidelities"].items()
    }
    return settings, found


def curves(folder: str) -> tuple[dict[str, Any], dict[str, Any]]:
    """Settings and results of learning curves."""
    cache = FeatureCache(training_frames(compute.CURVE_STRIDES), folder)
    settings = {
        "sizes": compute.CURVE_SIZES, "seeds": compute.CURVE_SEEDS, "strides": compute.CURVE_STRIDES,
        "fitted": compute.N_FITTED, "frames_seen": compute.FRAMES_SEEN,
    }  # fmt: skip
    found: dict[str, Any] = {
        name: compute.curve_errors(cache, name, compute.CURVE_SIZES, compute.CURVE_SEEDS)
        for name in compute.NETWORKS
    }
    return settings, {**found, "baselines": baselines(compute.CURVE_STRIDES)}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("experiment", choices=("fidelity", "curves"))
    parser.add_argument("--points", type=int, default=48)
    parser.add_argument("--out", type=Path)
    options = parser.parse_args()
    torch.set_num_threads(1)
    recording = Recording()
    with tempfile.TemporaryDirectory() as folder:
        made = cheap(folder, options.points) if options.experiment == "fidelity" else curves(folder)
    origin = recording.origin("torch", "optuna", "numpy")
    out = options.out or RESULTS / f"{options.experiment}.json"
    write_record(out, options.experiment, settings=made[0], results=made[1], origin=origin)
    print(f"{out}: {origin['wall_s']} s, {origin['cpu_s']} s of CPU time")


if __name__ == "__main__":
    main()
