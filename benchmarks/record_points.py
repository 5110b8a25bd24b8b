"""Record random points of one of the search spaces, each trained with several seeds.

    python benchmarks/record_points.py SPACE [--points N] [--epochs N] [--train-stride N] [--processes N]

SPACE is ampopt, network or features. The features are computed anew, so that their cost is recorded too.
"""

from __future__ import annotations

import argparse
import os
import tempfile
from dataclasses import asdict
from pathlib import Path

os.environ.setdefault("OMP_NUM_THREADS", "1")

import numpy as np
import torch
from measure import Recording

from hpopt_lib.experiments.drawn_table import HALVES, STRIDES, DrawnTable, baselines, train_points
from hpopt_lib.experiments.records import write_record
from hpopt_lib.experiments.wide_space import EPOCHS, SPACES, draw

RESULTS = Path(__file__).resolve().parents[1] / "book" / "results"
POINTS = {"ampopt": 70, "network": 80, "features": 220}
SEEDS, DRAW = [0, 1], 0


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("space", choices=SPACES)
    parser.add_argument("--points", type=int, help="by default as in the book")
    parser.add_argument("--epochs", type=int, default=EPOCHS)
    parser.add_argument("--train-stride", type=int, default=STRIDES["train"], help="every so many-th frame")
    parser.add_argument("--processes", type=int, default=1)
    parser.add_argument("--out", type=Path)
    options = parser.parse_args()
    recording = Recording()
    params = draw(options.space, options.points or POINTS[options.space], seed=DRAW)
    longer, strides = {"epochs": options.epochs}, {**STRIDES, "train": options.train_stride}
    points = [(options.space, number, {**point, **longer}) for number, point in enumerate(params)]
    torch.set_num_threads(1)
    with tempfile.TemporaryDirectory() as folder:
        errors, cpu_s, uses = train_points(
            points, SEEDS, folder, processes=options.processes, strides=strides
        )
    found = {half: np.array([one[half] for one in errors]) for half in HALVES}
    table = DrawnTable(options.space, params, found, np.array(cpu_s))
    origin = recording.origin(
        "torch",
        "optuna",
        "numpy",
        cpu_s=float(table.cpu_s.sum()) * len(SEEDS) + uses.computed_s + uses.read_s,
    )
    settings = {"space": options.space, "seeds": SEEDS, "draw": DRAW, "strides": strides, **longer}
    out = options.out or RESULTS / f"points_{options.space}.json"
    results = {**table.to_dict(), "baselines": baselines(strides), "feature_cache": asdict(uses)}
    write_record(out, "points", settings=settings, results=results, origin=origin)
    print(f"{out}: {len(table)} points, {origin['wall_s']} s, best {np.min(found['choose']):.1f} meV/atom")


if __name__ == "__main__":
    main()
