"""What training on forces costs, and how the settings of the benchmark of molecules were chosen."""

from __future__ import annotations

import sys
import time
from dataclasses import replace
from pathlib import Path

import numpy as np
from measure import table
from molecules_data import Case, make_store

from hpopt_lib.gmp.settings import DEFAULT_SIGMAS, GMPSettings
from hpopt_lib.potential.dataset import Dataset
from hpopt_lib.potential.derivatives import matrix_megabytes
from hpopt_lib.potential.forces import FORCE_ERROR, force_scores, predict_forces
from hpopt_lib.potential.settings import TrainSettings
from hpopt_lib.potential.training import Training, train


def choice(case: Case, folder: Path, gmp: GMPSettings, settings: TrainSettings, epochs: int) -> str:
    """Validation errors of other features and other weights, one seed each: no test frame is looked at."""
    few, some = DEFAULT_SIGMAS, (0.1, 0.2, 0.3, 0.4, 0.55, 0.75, 1.0, 1.4, 2.0)
    features = {
        f"{len(s)} sigmas, orders 0 to {n}": replace(gmp, sigmas=s, max_order=n)
        for s, n in ((few, 3), (some, 4), (gmp.sigmas, 4), (gmp.sigmas, 6))
    }
    features[chosen := f"{len(gmp.sigmas)} sigmas, orders 0 to {gmp.max_order}"] = gmp
    rows = []
    trials = [(name, settings.force_weight) for name in features] + [
        (chosen, w) for w in (0.0, 1.0, 5.0, 100.0)
    ]
    for name, weight in trials:
        store = make_store(case, folder, features[name], name=f"{case.name}-{name.replace(' ', '-')}")
        data = Dataset.from_store(store, validation="validation")
        result = train(data, replace(settings, epochs=epochs, force_weight=weight), seed=0)
        forces = force_scores(
            data.validation,
            result.potential.predict(data.validation),
            predict_forces(result.potential, data.validation),
        )
        rows.append([name, f"{weight:g}", f"{result.best_error:.2f}", f"{forces[FORCE_ERROR]:.1f}"])
        print(*rows[-1], sep=", ", file=sys.stderr, flush=True)
    head = ["features", "force_weight", "energy MAE, meV/atom", "force MAE, meV/Å"]
    return (
        f"## How features and weight were chosen\n\nErrors on the {len(data.validation)} validation frames "
        f"of {case.name} after {epochs} epochs, one seed. Learning rate, batch size and number of nodes were "
        f"compared by hand on the same frames.\n\n{table(head, rows)}"
    )


def cost(case: Case, folder: Path, gmp: GMPSettings, settings: TrainSettings, epochs: int) -> str:
    """An epoch with matrices, with loops, and without forces; what matrices take."""
    data = Dataset.from_store(make_store(case, folder, gmp), validation="validation")
    rows = []
    for name, weight, limit in (
        ("matrices in memory", settings.force_weight, np.inf),
        ("loops at each step", settings.force_weight, 0.0),
        ("energies only", 0.0, 0.0),
    ):
        start = time.process_time()
        training = Training(data, replace(settings, force_weight=weight), seed=0, matrix_mb=limit)
        begun, epoch_s = time.process_time() - start, []
        for _ in range(epochs):
            start = time.process_time()
            training.step()
            epoch_s.append(time.process_time() - start)
        rows.append([name, f"{begun:.2f}", f"{np.median(epoch_s):.3f}"])
    frames = [
        f"{part}: {sum(matrix_megabytes(training.potential, a) for a in arrays):.0f} MB"
        for part, arrays in (("training", [data.train]), ("validation", [data.validation]))
    ]
    head = ["derivatives of the features", "before the first epoch, s", "an epoch, s"]
    return (
        f"## What forces cost\n\n{case.name}, {len(data.train)} training frames, CPU times of one thread, "
        f"median of {epochs} epochs. The matrices take {' and '.join(frames)} in float32; a store with them "
        "would grow by as much, to save the time before the first epoch.\n\n"
        f"{table(head, rows)}"
    )
