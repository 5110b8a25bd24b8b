"""Speed, accuracy and memory of the GMP features, beside other codes when they are importable.

    python benchmarks/bench_gmp.py [--quick] [--only SECTION] [--out FILE]

Prints Markdown. Frames are 200 of OC20 when ``$HPOPT_SHARED/data/oc20`` has them, embedded ones otherwise.
"""

from __future__ import annotations

import argparse
import datetime
import json
import multiprocessing
import os
import shlex
import sys
import tempfile
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path

import ase.io
import numpy as np
import torch
from ase import Atoms
from bench_gmp_growth import growth, roofline
from bench_gmp_stream import stream
from gmp_peers import HOW_TO_GET, amptorch, gmp_featurizer
from measure import commit, interleaved, machine, peak_memory_mb, table
from threadpoolctl import threadpool_limits

from hpopt_lib.data import embedded
from hpopt_lib.gmp.densities import ElementDensity, load_densities
from hpopt_lib.gmp.differentiable import LinkedFeatures
from hpopt_lib.gmp.features import GMPFeaturizer
from hpopt_lib.gmp.settings import GMPSettings

SHARED = Path(os.environ.get("HPOPT_SHARED", Path(__file__).resolve().parents[2] / "shared"))
#: Widths and orders of X. Lei and A. J. Medford's published parameter set, at a sharp cutoff as there.
SETTINGS = GMPSettings(
    sigmas=(0.02, 0.16, 0.32, 0.5, 0.76, 1.1, 1.52, 2.2, 3.2, 5.0),
    max_order=3,
    cutoff=8.0,
    smooth_cutoff=False,
)
BACKENDS = {
    "exact": ("exact", "float64"),
    "torch tables, float64": ("torch", "float64"),
    "torch tables, float32": ("torch", "float32"),
    "numba, float64": ("numba", "float64"),
    "numba, float32": ("numba", "float32"),
}


def load_frames() -> tuple[list[Atoms], str]:
    """Frames, and what they are."""
    path = SHARED / "data" / "oc20" / "oc20_frames_200.traj"
    if path.exists():
        return ase.io.read(path, ":"), "frames of OC20"
    return embedded.load_embedded("oc20-like", "val_ood_both", stride=5)[:200], "embedded OC20-like frames"


def load_table() -> tuple[dict[int, ElementDensity], str]:
    """Densities: those published with AMPtorch when the golden values are there, else our own."""
    path = SHARED / "reference" / "gmp_golden.npz"
    if not path.exists():
        return load_densities(), "densities of this package"
    with np.load(path, allow_pickle=False) as arrays:
        pairs = json.loads(str(arrays["densities_json"]))["amptorch psp_v3"]
    made = {
        int(z): ElementDensity(z, int(z), 0, np.array(p)[:, 0], np.array(p)[:, 1], 0.0, "published")
        for z, p in pairs.items()
    }
    return made, "densities published with AMPtorch (psp_v3)"


def featurizers(densities, names=BACKENDS) -> dict[str, GMPFeaturizer]:
    return {
        name: GMPFeaturizer(SETTINGS, densities, backend=BACKENDS[name][0], dtype=BACKENDS[name][1])
        for name in names
    }


def on_gpu(densities) -> dict[str, Callable[[Atoms], np.ndarray]]:
    """The torch backend on a GPU, when there is one; then all times are wall times."""
    if not torch.cuda.is_available():
        return {}

    def run(featurizer: GMPFeaturizer, atoms: Atoms) -> np.ndarray:
        positions, cell = (
            torch.tensor(values, device="cuda") for values in (atoms.positions, atoms.cell.array)
        )
        with torch.no_grad():
            return featurizer.features_torch(positions, atoms.numbers, cell, atoms.pbc).cpu().double().numpy()

    return {
        f"{name}, GPU": partial(run, featurizer)
        for name, featurizer in featurizers(densities).items()
        if featurizer.backend.name == "torch"
    }


def compare(frames: list[Atoms], densities, *, repeats: int) -> str:
    """Features: atoms per second of CPU time, and the error against the exact sums."""
    tasks = dict(featurizers(densities))
    exact = np.concatenate([tasks["exact"](atoms) for atoms in frames])
    n_atoms, scale = len(exact), np.abs(exact).max(0)
    with tempfile.TemporaryDirectory() as folder:
        makers = {"AMPtorch GMPOrderNorm": amptorch, "GMP-Featurizer": gmp_featurizer}
        made = {name: make(SETTINGS, densities, frames, Path(folder)) for name, make in makers.items()}
        peers = {name: peer for name, peer in made.items() if peer is not None}
        tasks = {**peers, **tasks, **on_gpu(densities)}
        wrong = {}
        for name, task in tasks.items():
            error = np.abs(np.concatenate([task(atoms) for atoms in frames]) - exact) / scale
            wrong[name] = error.max(1)
        clock = time.perf_counter if torch.cuda.is_available() else time.process_time
        seconds = interleaved(tasks, frames, repeats=repeats, clock=clock)
    base = next(iter(tasks))
    rows = []
    for name, values in seconds.items():
        ratio = np.median(seconds[base] / values)
        error = wrong[name]
        wrong_atoms = error > 1e-5  # these codes lose neighbours at faces of the cell
        note = f" ({wrong_atoms.sum()} atoms left out: {error.max():.0e})" if wrong_atoms.any() else ""
        shown = f"{error[~wrong_atoms].max():.0e}{note}"
        rows.append([name, f"{n_atoms / np.median(values):,.0f}", f"{ratio:.1f}", shown])
    missing = " and ".join(name for name in made if name not in peers)
    hint = f"\n\nNot importable here: {missing}. {HOW_TO_GET}." if missing else ""
    return table(["code", "atoms/s", f"times {base}", "largest error / column maximum"], rows) + hint


def network(n_features: int) -> torch.nn.Module:
    torch.manual_seed(0)
    layers = [torch.nn.Linear(n_features, 50), torch.nn.Tanh(), torch.nn.Linear(50, 50), torch.nn.Tanh()]
    return torch.nn.Sequential(*layers, torch.nn.Linear(50, 1)).to(torch.float64)


def training_step(featurizer: GMPFeaturizer, model: torch.nn.Module, batch: list[Atoms]) -> torch.Tensor:
    """Gradient of a loss on energies and forces with respect to all weights."""
    model.zero_grad()
    if featurizer.backend.name == "numba":
        energies, forces = LinkedFeatures(featurizer, batch).energy_and_forces(lambda x: model(x)[:, 0])
    else:
        parts = []
        for atoms in batch:
            positions = torch.tensor(atoms.positions, requires_grad=True)
            features = featurizer.features_torch(
                positions, atoms.numbers, torch.tensor(atoms.cell.array), atoms.pbc
            )
            energy = model(features.to(torch.float64))[:, 0]
            parts.append((energy, -torch.autograd.grad(energy.sum(), positions, create_graph=True)[0]))
        energies, forces = (torch.cat(part) for part in zip(*parts))
    (energies.square().mean() + forces.square().mean()).backward()
    return torch.cat([parameter.grad.flatten() for parameter in model.parameters()])


def training(frames: list[Atoms], densities, *, repeats: int) -> str:
    """A step of training on forces, batches of 8 frames."""
    model, tasks = network(SETTINGS.num_features), {}
    batches = [frames[k : k + 8] for k in range(0, 24, 8)]
    gradients: dict[str, torch.Tensor] = {}
    for name, featurizer in featurizers(densities).items():
        tasks[name] = lambda batch, featurizer=featurizer: training_step(featurizer, model, batch)
        gradients[name] = tasks[name](batches[0])
    exact = gradients["exact"]
    wrong = {name: float((g - exact).abs().max() / exact.abs().max()) for name, g in gradients.items()}
    seconds = interleaved(tasks, batches, repeats=repeats)
    n_atoms = sum(len(atoms) for batch in batches for atoms in batch)
    rows = [
        [
            name,
            f"{n_atoms / np.median(s):,.0f}",
            f"{np.median(seconds['exact'] / s):.1f}",
            f"{wrong[name]:.0e}",
        ]
        for name, s in seconds.items()
    ]
    return table(["code", "atoms/s", "times exact", "error of the weight gradient / its maximum"], rows)


def memory(frames: list[Atoms], densities) -> str:
    """Memory over the baseline for the largest frame, each backend in a process of its own."""
    largest = max(frames, key=len)
    context, rows = multiprocessing.get_context("spawn"), []
    for name in BACKENDS:
        with context.Pool(1) as pool:
            plain, both = pool.apply(_memory, (name, frames[0], largest, densities))
        rows.append([name, f"{plain:.0f}", f"{both:.0f}"])
    head = ["code", "features, MB", "features and a force training step, MB"]
    return f"Largest frame: {len(largest)} atoms.\n\n" + table(head, rows)


def _memory(name: str, first: Atoms, largest: Atoms, densities) -> tuple[float, float]:
    torch.set_num_threads(1)
    featurizer, model = featurizers(densities, [name])[name], network(SETTINGS.num_features)
    featurizer(first)
    training_step(featurizer, model, [first])  # imports and machine code belong to the baseline
    plain = peak_memory_mb(lambda: featurizer(largest))
    return plain, plain + peak_memory_mb(lambda: training_step(featurizer, model, [largest]))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--quick", action="store_true", help="fewer frames and repeats")
    parser.add_argument(
        "--only", action="append", help="features, training, memory, roofline, growth or stream"
    )
    parser.add_argument("--out", type=Path, help="also write to this file")
    options = parser.parse_args()
    torch.set_num_threads(1)
    threadpool_limits(1)
    frames, what = load_frames()
    densities, which = load_table()
    if options.quick:
        frames = frames[::8]
    repeats = 2 if options.quick else 5
    sections = {
        "features": ("Features", lambda: compare(frames, densities, repeats=repeats)),
        "training": ("A step of training on forces", lambda: training(frames, densities, repeats=repeats)),
        "memory": ("Memory over the baseline", lambda: memory(frames, densities)),
        "roofline": ("How far from the machine's limits", lambda: roofline(frames, densities, SETTINGS)),
        "growth": ("How the cost grows", lambda: growth(quick=options.quick)),
        "stream": ("A data set", lambda: stream(2_000 if options.quick else 20_000)),
    }
    sigmas = ", ".join(f"{sigma:g}" for sigma in SETTINGS.sigmas)
    text = [
        "# Speed, accuracy and memory of the GMP features",
        f"{datetime.date.today()}, commit {commit()}, `python {shlex.join(sys.argv)}`\n\n{machine()}",
        f"{len(frames)} {what} ({sum(map(len, frames))} atoms), {which}; sigmas {sigmas} Å, "
        f"orders 0 to {SETTINGS.max_order}, sharp cutoff {SETTINGS.cutoff:g} Å. One thread. Times are CPU "
        "times (wall times where a GPU takes part), taken in turn frame by frame; numbers are medians. "
        "Errors are against the exact sums, per "
        "column.",
    ]
    for key, (title, run) in sections.items():
        if options.only and key not in options.only:
            continue
        start = time.perf_counter()
        text.append(f"## {title}\n\n{run()}")
        print(f"{key}: {time.perf_counter() - start:.0f} s", file=sys.stderr, flush=True)
    report = "\n\n".join(text) + "\n"
    print(report)
    if options.out:
        options.out.write_text(report, encoding="utf-8")


if __name__ == "__main__":
    main()
