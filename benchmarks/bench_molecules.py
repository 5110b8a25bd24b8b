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
import shlex
import sys
import tempfile
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from measure import commit, machine, publish, table
from molecules_cost import choice, cost
from molecules_data import CASES, EMBEDDED, FOLDER, Case, make_store

from hpopt_lib.files import atomic_path
from hpopt_lib.gmp.settings import GMPSettings
from hpopt_lib.potential.dataset import Dataset
from hpopt_lib.potential.evaluation import evaluate
from hpopt_lib.potential.settings import TrainSettings
from hpopt_lib.potential.training import train
from hpopt_lib.store import Store

TITLE = "# Energies and forces of molecules"
#: Chosen by the validation error on ethanol, see `choice` and RESULTS.md.
GMP = GMPSettings(
    sigmas=(0.1, 0.15, 0.2, 0.27, 0.35, 0.45, 0.6, 0.8, 1.0, 1.3, 1.7, 2.2), max_order=8, cutoff=6.0
)
TRAINING = TrainSettings(
    num_layers=3, num_nodes=128, loss="mse", lr=5e-3, weight_decay=1e-6, batch_size=4, epochs=60,
    force_weight=20.0,
)  # fmt: skip


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
    for name, chosen, count in (
        ("energies and forces", settings, seeds),
        ("energies only", replace(settings, force_weight=0.0), min(seeds, 3)),
    ):
        records = [
            errors_of(store, data, chosen, seed, folder / f"{case.name}-{name.replace(' ', '-')}-{seed}.json")
            for seed in range(count)
        ]
        times.append(f"{name} {np.mean([r['cpu_seconds'] for r in records]):.0f} s")
        for split in records[0]["splits"]:
            scores = [record["splits"][split] for record in records]
            energies = [score["energy_mae_mev_per_atom"] for score in scores]
            forces = [score["force_mae_mev_per_angstrom"] for score in scores]
            row = [split, name, count, spread(energies, 2)]
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
            shown = [f"{error:.2f}", f"{error * n_atoms:.1f}"]
            rows.append([split, f"baseline: {base}", "–", *shown, *"–––"])
        zero = score["zero_force_mae_mev_per_angstrom"]
        rows.append([split, "baseline: no force", *"–––", f"{zero:.1f}", *"––"])
    order = {split: k for k, split in enumerate(records[0]["splits"])}
    rows.sort(key=lambda row: order[row[0]])
    head = [
        "frames", "trained on", "seeds", "energy MAE, meV/atom", "energy MAE, meV", "force MAE, meV/Å",
        "skill over median", "skill over linear",
    ]  # fmt: skip
    counts = f"{len(data.train)} training frames and {len(data.validation)} validation frames"
    return (
        f"## {case.name.capitalize()}\n\n{counts}; mean ± standard deviation over seeds. CPU time of "
        f"a training: {', '.join(times)}.\n\n{table(head, rows)}"
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
            text.append(choice(cases[0], folder, gmp, settings, epochs=15))
    publish(TITLE, text, options.out)


if __name__ == "__main__":
    main()
