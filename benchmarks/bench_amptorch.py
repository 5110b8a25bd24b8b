"""Both backends on the same frames and hyperparameters: error beside the baselines, seconds for each step.

Needs AMPtorch (``make amptorch``). Prints Markdown; add it to ``RESULTS.md`` with ``>>``.
"""

from __future__ import annotations

import argparse
import datetime
import shlex
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np
import torch
from measure import commit, machine, table
from threadpoolctl import threadpool_limits

from hpopt_lib.amptorch.compat import COMMIT
from hpopt_lib.amptorch.features import compute, frames_of, upstream_dataset, upstream_split
from hpopt_lib.amptorch.training import AmptorchTraining
from hpopt_lib.gmp.features import GMPFeaturizer
from hpopt_lib.metrics import energy_metrics
from hpopt_lib.potential.evaluation import HEADLINE, baseline_energies
from hpopt_lib.potential.settings import TrainSettings
from hpopt_lib.potential.training import Dataset, train
from hpopt_lib.store import SplitArrays, Store
from hpopt_lib.workspace import embedded_store

#: The split that decides on the epoch, and one that nothing was chosen on.
SPLITS = {"ethanol-like": ("val", "test"), "oc20-like": ("val_id", "val_ood_both")}
SETTINGS = TrainSettings(num_layers=3, num_nodes=50, activation="silu", lr=5e-3, batch_size=32, loss="huber")


@dataclass
class Backend:
    """One way to train: its features, its training, and how frames are read for it."""

    name: str
    data: Dataset
    training: Callable[..., Any] | None
    read: Callable[[Store, str], SplitArrays]
    features_s: float


def backends(store: Store, split: str) -> list[Backend]:
    """Ours, AMPtorch on the same targets, and AMPtorch on total energies as it does by itself."""
    data = Dataset.from_store(store, validation=split)
    frames = frames_of(data.train)
    ours = GMPFeaturizer(store.settings)
    ours(frames[0])  # machine code and tables
    start = time.process_time()
    for atoms in frames:
        ours(atoms)
    ours_s = time.process_time() - start
    start = time.process_time()
    compute(store, data.train, desc="AMPtorch features")
    upstream_s = time.process_time() - start
    upstream = upstream_dataset(data, store, split)
    raw = partial(AmptorchTraining, total_energies=True)
    return [
        Backend("hpopt", data, None, Store.read, ours_s),
        Backend(
            "AMPtorch, energies over element references",
            upstream,
            AmptorchTraining,
            upstream_split,
            upstream_s,
        ),
        Backend("AMPtorch, total energies", upstream, raw, upstream_split, upstream_s),
    ]


def compare(name: str, *, seeds: int, epochs: int, dtype: str) -> str:
    """The table of one embedded set."""
    store = embedded_store(name, dtype=dtype)
    chosen, held_out = SPLITS[name]
    settings = TrainSettings(**{**SETTINGS.to_dict(), "epochs": epochs})
    train_arrays, frames = store.read(store.train_split), {s: store.read(s) for s in (chosen, held_out)}
    rows: list[list[str]] = []
    for baseline in ("median", "linear"):
        cells = [baseline if baseline == "median" else "per-element linear fit"]
        for arrays in frames.values():
            energy = baseline_energies(train_arrays, store.reference, arrays)[baseline]
            cells.append(f"{energy_metrics(arrays.energy, energy, arrays.n_atoms)[HEADLINE]:.2f}")
        rows.append([*cells, "", ""])
    for backend in backends(store, chosen):
        errors: dict[str, list[float]] = {split: [] for split in frames}
        seconds = []
        splits = {split: backend.read(store, split) for split in frames}
        for seed in range(seeds):
            start = time.process_time()
            result = train(backend.data, settings, seed=seed, training=backend.training)
            seconds.append(time.process_time() - start)
            for split, arrays in splits.items():
                predicted = result.potential.predict(arrays)
                errors[split].append(energy_metrics(arrays.energy, predicted, arrays.n_atoms)[HEADLINE])
            print(
                f"{name}, {backend.name}, seed {seed}: {errors[chosen][-1]:.2f}", file=sys.stderr, flush=True
            )
        cells = [f"{np.mean(e):.2f} ± {np.std(e, ddof=1):.2f}" for e in errors.values()]
        rows.append([backend.name, *cells, f"{backend.features_s:.1f}", f"{np.mean(seconds):.1f}"])
    n_atoms = len(train_arrays.numbers)
    head = ["", f"{chosen}, meV/atom", f"{held_out}, meV/atom", "features, s", "a training, s"]
    return (
        f"`{name}`: {len(train_arrays)} training frames ({n_atoms} atoms), {epochs} epochs, {seeds} seeds, "
        f"{dtype}. Energy MAE, mean ± sample standard deviation over seeds; the best epoch was chosen on "
        f"{chosen}, nothing on {held_out}.\n\n{table(head, rows)}"
    )


def main() -> None:
    """Compare on the chosen sets and print the report."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--set", dest="names", action="append", choices=list(SPLITS), help="only this set")
    parser.add_argument("--seeds", type=int, default=5)
    parser.add_argument("--epochs", type=int, default=40)
    parser.add_argument("--dtype", default="float64", choices=["float32", "float64"])
    options = parser.parse_args()
    torch.set_num_threads(1)
    threadpool_limits(1)
    varied = ("num_layers", "num_nodes", "activation", "lr", "batch_size", "loss", "schedule", "weight_decay")
    shown = ", ".join(f"{key} {SETTINGS.to_dict()[key]}" for key in varied)
    text = [
        "# Both backends on the same data and hyperparameters",
        f"{datetime.date.today()}, commit {commit()}, AMPtorch {COMMIT[:7]}, "
        f"`python {shlex.join(sys.argv)}`\n\n{machine()}",
        f"Hyperparameters: {shown}. Widths, orders, cutoff and densities are those of the store; AMPtorch's "
        "features are squared and its cutoff is sharp. One thread; seconds are CPU times, those for features "
        "of the training frames.",
    ]
    for name in options.names or SPLITS:
        text.append(compare(name, seeds=options.seeds, epochs=options.epochs, dtype=options.dtype))
    print("\n\n".join(text))


if __name__ == "__main__":
    main()
