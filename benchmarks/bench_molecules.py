"""Energies and forces of molecules: potentials trained on both, beside baselines and energies only.

    python benchmarks/bench_molecules.py [--quick] [--only CASE] [--seeds 5] [--work FOLDER] [--out FILE]

Prints Markdown. Molecules are ethanol and acetylacetone of ``$HPOPT_SHARED/data/molecules`` when they are
there (PBE/def2-SVP, from the repository davkovacs/BOTNet-datasets), embedded ethanol otherwise. Each training
leaves its errors in the folder given by --work, so that the benchmark goes on where it was stopped.
"""

from __future__ import annotations

import argparse
import contextlib
import datetime
import json
import os
import shlex
import sys
import tempfile
import time
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import ase.io
import numpy as np
import torch
from measure import commit, machine, replace_section, table

from hpopt_lib.data.embedded import load_embedded
from hpopt_lib.files import atomic_path
from hpopt_lib.gmp.settings import DEFAULT_SIGMAS, GMPSettings
from hpopt_lib.potential.dataset import Dataset
from hpopt_lib.potential.derivatives import matrix_megabytes
from hpopt_lib.potential.evaluation import evaluate
from hpopt_lib.potential.forces import FORCE_ERROR, force_scores, predict_forces
from hpopt_lib.potential.settings import TrainSettings
from hpopt_lib.potential.training import Training, train
from hpopt_lib.preprocess import Input, preprocess
from hpopt_lib.store import Store

TITLE = "# Energies and forces of molecules"
SHARED = Path(os.environ.get("HPOPT_SHARED", Path(__file__).resolve().parents[2] / "shared"))
FOLDER = SHARED / "data" / "molecules"
#: Chosen by the validation error on ethanol, see `choice` and RESULTS.md.
GMP = GMPSettings(
    sigmas=(0.1, 0.15, 0.2, 0.27, 0.35, 0.45, 0.6, 0.8, 1.0, 1.3, 1.7, 2.2), max_order=8, cutoff=6.0
)
TRAINING = TrainSettings(
    num_layers=3, num_nodes=128, loss="mse", lr=5e-3, weight_decay=1e-6, batch_size=4, epochs=60,
    force_weight=20.0,
)  # fmt: skip


@dataclass(frozen=True)
class Case:
    """Frames for training, of which the last ones validate, and frames for tests that nothing is tuned on."""

    name: str
    train: str
    n_validation: int
    tests: dict[str, str]

    def frames(self, name: str) -> list[ase.Atoms]:
        if name.endswith(".xyz"):
            return ase.io.read(FOLDER / name, ":")
        split, _, stride = name.partition("/")
        return load_embedded("ethanol-like", split, stride=int(stride))


CASES = (
    Case("ethanol", "ethanol_train.xyz", 100, {"test": "ethanol_test_MD.xyz"}),
    Case(
        "acetylacetone", "acac_train_300K.xyz", 50,
        {"test, 300 K": "acac_test_300K.xyz", "test, 600 K": "acac_test_600K.xyz"},
    ),
)  # fmt: skip
EMBEDDED = Case("ethanol-like", "train/8", 25, {"test, 500 K": "test/20", "test, 800 K": "test_hot/20"})


def make_store(case: Case, folder: Path, gmp: GMPSettings, *, name: str = "") -> Store:
    """A store of the case; energies are relative to the fit on its training frames."""
    out = folder / f"{name or case.name}.lmdb"
    if not out.exists():
        frames = case.frames(case.train)
        parts = {"train": frames[: -case.n_validation], "validation": frames[-case.n_validation :]}
        parts |= {name: case.frames(source) for name, source in case.tests.items()}
        inputs = []
        for name, part in parts.items():
            path = folder / f"{case.name}-{name}.traj"
            ase.io.write(path, part)
            inputs.append(Input(name, path))
        preprocess(inputs, out, settings=gmp)
    store = Store.open(out)
    if store.settings != gmp:
        sys.exit(f"{out}: made with other settings; give an empty folder with --work")
    return store


def errors_of(store: Store, data: Dataset, settings: TrainSettings, seed: int, path: Path) -> dict[str, Any]:
    """Errors of one training on all splits, from its file when it was done before."""
    if path.exists():
        record = json.loads(path.read_text(encoding="utf-8"))
        if record["settings"] == settings.to_dict():
            return record
    start, cpu = time.perf_counter(), time.process_time()
    result = train(data, settings, seed=seed)
    record = {
        "settings": settings.to_dict(),
        "best_epoch": result.best_epoch,
        "seconds": time.perf_counter() - start,
        "cpu_seconds": time.process_time() - cpu,
        "splits": evaluate(result.potential, store),
    }
    with atomic_path(path, overwrite=True) as temporary:
        temporary.write_text(json.dumps(record), encoding="utf-8")
    print(f"{path.stem}: {record['seconds']:.0f} s", file=sys.stderr, flush=True)
    return record


def spread(values: list[float], digits: int) -> str:
    if len(values) == 1:
        return f"{values[0]:.{digits}f}"
    return f"{np.mean(values):.{digits}f} ± {np.std(values, ddof=1):.{digits}f}"


def compare(case: Case, folder: Path, gmp: GMPSettings, settings: TrainSettings, seeds: int) -> str:
    """Errors of trainings on energies and forces, on energies only, and of the baselines."""
    store = make_store(case, folder, gmp)
    data = Dataset.from_store(store, validation="validation")
    rows, times = [], []
    for name, chosen in (
        ("energies and forces", settings),
        ("energies only", replace(settings, force_weight=0.0)),
    ):
        records = [
            errors_of(store, data, chosen, seed, folder / f"{case.name}-{name.replace(' ', '-')}-{seed}.json")
            for seed in range(seeds)
        ]
        times.append(f"{name} {np.mean([r['cpu_seconds'] for r in records]):.0f} s")
        for split in records[0]["splits"]:
            scores = [record["splits"][split] for record in records]
            energies = [score["energy_mae_mev_per_atom"] for score in scores]
            forces = [score["force_mae_mev_per_angstrom"] for score in scores]
            row = [split, name, spread(energies, 2)]
            row += [spread([1000 * score["energy_mae_ev"] for score in scores], 1), spread(forces, 1)]
            row += [
                f"{np.mean([score[f'skill_over_{base}'] for score in scores]):.3f}"
                for base in ("median", "linear")
            ]
            rows.append(row)
    for split, score in records[0]["splits"].items():
        n_atoms = len(case.frames(case.train)[0])
        for base in ("median", "linear"):
            error = score[f"{base}_energy_mae_mev_per_atom"]
            rows.append([split, f"baseline: {base}", f"{error:.2f}", f"{error * n_atoms:.1f}", "–", "–", "–"])
        zero = score["zero_force_mae_mev_per_angstrom"]
        rows.append([split, "baseline: no force", "–", "–", f"{zero:.1f}", "–", "–"])
    order = {split: k for k, split in enumerate(records[0]["splits"])}
    rows.sort(key=lambda row: order[row[0]])
    head = [
        "frames", "trained on", "energy MAE, meV/atom", "energy MAE, meV", "force MAE, meV/Å",
        "skill over median", "skill over linear",
    ]  # fmt: skip
    counts = f"{len(data.train)} training frames and {len(data.validation)} validation frames"
    return (
        f"## {case.name.capitalize()}\n\n{counts}; {seeds} seeds, mean ± standard deviation. CPU time of a "
        f"training: {', '.join(times)}.\n\n{table(head, rows)}"
    )


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
        f"of {case.name} after {epochs} epochs, one seed.\n\n{table(head, rows)}"
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


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--quick", action="store_true", help="few frames, features and epochs")
    parser.add_argument("--only", action="append", help="ethanol, acetylacetone, cost or choice")
    parser.add_argument("--seeds", type=int, default=5)
    parser.add_argument("--work", type=Path, help="keep stores and errors here, and go on from there")
    parser.add_argument("--out", type=Path, help="also write to this file")
    options = parser.parse_args()
    torch.set_num_threads(1)
    gmp, settings, seeds = GMP, TRAINING, options.seeds
    if options.quick:
        gmp = replace(GMP, sigmas=GMP.sigmas[1::3], max_order=2)
        settings, seeds = replace(TRAINING, num_nodes=16, epochs=3), min(seeds, 2)
    cases = CASES if FOLDER.is_dir() and not options.quick else (EMBEDDED,)
    epochs = f"{settings.epochs} epochs of batches of {settings.batch_size}"
    text = [
        TITLE,
        f"{datetime.date.today()}, commit {commit()}, `python {shlex.join(sys.argv)}`\n\n{machine()}",
        f"Features: sigmas {', '.join(f'{s:g}' for s in gmp.sigmas)} Å, orders 0 to {gmp.max_order}, smooth "
        f"cutoff {gmp.cutoff:g} Å. Network: {settings.num_layers} layers of {settings.num_nodes} nodes, "
        f"{settings.activation}; {epochs}, AdamW, lr {settings.lr:g} ({settings.schedule}), weight decay "
        f"{settings.weight_decay:g}, loss {settings.loss}, force_weight {settings.force_weight:g}. The epoch "
        "with the smallest energy error on the validation frames counts; the test frames had no part in any "
        "choice. Baselines are fitted on the training frames: median energy per atom, per-element linear fit "
        "(a constant too for molecules of one kind), and no force.",
    ]
    with contextlib.ExitStack() as stack:
        folder = options.work or Path(stack.enter_context(tempfile.TemporaryDirectory()))
        folder.mkdir(parents=True, exist_ok=True)
        for case in cases:
            if not options.only or case.name in options.only:
                text.append(compare(case, folder, gmp, settings, seeds))
        if not options.only or "cost" in options.only:
            text.append(cost(cases[0], folder, gmp, settings, epochs=2 if options.quick else 5))
        if not options.quick and (not options.only or "choice" in options.only):
            text.append(choice(cases[0], folder, gmp, settings, epochs=25))
    report = "\n\n".join(text) + "\n"
    print(report)
    if options.out:
        replace_section(options.out, report)


if __name__ == "__main__":
    main()
