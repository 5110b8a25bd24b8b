"""Total energies of few frames, cross-validated by system: the preset small-data beside its baselines.

    python benchmarks/bench_small_data.py FRAMES --element-energies FILE.npz [--record]

`--development N` prints errors of the N frames on which the recipe was developed apart from the others.
"""

from __future__ import annotations

import argparse
import datetime
import os
import shlex
import sys
import time
from collections.abc import Sequence
from pathlib import Path

os.environ.setdefault("OMP_NUM_THREADS", "1")

import numpy as np
from ase import Atoms
from measure import commit, machine, publish, table

from hpopt_lib.data.readers import read_frames
from hpopt_lib.potential.environments import environments
from hpopt_lib.potential.small_data_validation import (
    KNOWN,
    LINEAR,
    MEDIAN,
    MODEL,
    RIDGE,
    CrossValidation,
    cross_validate,
    summarise,
)
from hpopt_lib.references.files import read_element_energies

TITLE = "# Total energies of few frames"
#: Not those of the development, which used 0 to 3.
FIRST_SEED = 100
DEVELOPMENT_SEED = 2026
DEVELOPMENT = (
    "How the recipe was chosen: its terms, descriptors and their scales were decided on errors of the "
    "frames used in development alone (fold seeds 0 to 3, and the evidence), among some sixty variants, "
    "most of which differed by less than the spread; then it was committed, and only then errors of the "
    "held-out frames were computed. Held-out frames did take part as training frames in that development, "
    "and the residuals of the file's element energies had been looked at for all frames. Amplitudes are "
    "chosen in every training fold anew, by the evidence. The file's energies were fitted on OC20's "
    "training set, of which these frames may be part."
)
NAMES = {
    MEDIAN: "median energy per atom",
    LINEAR: "per-element linear fit",
    RIDGE: "per-element linear fit, ridge by leave-one-out",
    KNOWN: "element energies from the file",
    MODEL: "small-data",
}


def slab_elements(atoms: Atoms) -> str:
    """Elements of the slab (tags 0 and 1), as the name of a group."""
    return "-".join(sorted(set(np.array(atoms.get_chemical_symbols())[atoms.get_tags() < 2])))


def part(run: CrossValidation, frames: np.ndarray) -> CrossValidation:
    """The predictions of some frames."""
    predicted = {name: values[frames] for name, values in run.predicted_ev.items()}
    return CrossValidation(
        run.energy_ev[frames], run.n_atoms[frames], run.system_ids[frames], run.fold[frames], predicted,
        run.std_ev[frames],
    )  # fmt: skip


def rows(runs: Sequence[CrossValidation], names: dict[str, str]) -> list[list[str]]:
    """Lines of the table for models and baselines by the name they get."""
    lines = []
    for row in summarise(list(runs)):
        if row["name"] not in names:
            continue
        cells = [names[row["name"]]]
        for metric, digits in (("energy_mae_ev", 2), ("energy_mae_mev_per_atom", 0)):
            low, high = row[f"{metric}_interval"]
            spread = row[f"{metric}_std"]
            cells += [
                f"{row[metric]:.{digits}f} ± {spread:.{digits}f}",
                f"{low:.{digits}f} to {high:.{digits}f}",
            ]
        covered = "within_1_std" in row
        cells.append(
            f"{100 * row['within_1_std']:.0f} / {100 * row['within_1.96_std']:.0f}" if covered else ""
        )
        lines.append(cells)
    return lines


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("frames", type=Path, help="structure file with total energies")
    parser.add_argument("--element-energies", type=Path, help="fairchem's .npz with coeff[Z]")
    parser.add_argument("--seeds", type=int, default=10, help="fold seeds (default 10)")
    parser.add_argument("--folds", type=int, default=5)
    parser.add_argument("--development", type=int, default=0, help="frames used in development")
    parser.add_argument("--quick", action="store_true", help="2 seeds, no second grouping")
    parser.add_argument("--out", type=Path, help="put the section into this file")
    parser.add_argument("--record", action="store_true", help="put it into RESULTS.md")
    options = parser.parse_args()
    start = time.perf_counter()
    frames = list(read_frames(options.frames))
    described = environments(frames, where=str(options.frames))
    energies = np.array([atoms.get_potential_energy() for atoms in frames])
    systems = np.array([atoms.info["system_id"] for atoms in frames])
    slabs = np.array([slab_elements(atoms) for atoms in frames])
    known = read_element_energies(options.element_energies) if options.element_energies else None
    seeds = range(FIRST_SEED, FIRST_SEED + (2 if options.quick else options.seeds))

    def runs(groups: np.ndarray, energies_of_elements: np.ndarray | None) -> list[CrossValidation]:
        return [
            cross_validate(
                described, energies, groups, known_ev=energies_of_elements, n_folds=options.folds, seed=seed
            )
            for seed in seeds
        ]

    without = runs(systems, None)
    lines = rows(without, {**NAMES, MODEL: "**small-data**"})
    with_file = runs(systems, known) if known is not None else None
    if with_file is not None:
        lines += rows(with_file, {KNOWN: NAMES[KNOWN], MODEL: "**small-data, with that file**"})
    if options.development:
        drawn = np.random.default_rng(DEVELOPMENT_SEED).permutation(len(frames))
        for label, chosen in (
            ("frames used in development", np.sort(drawn[: options.development])),
            ("frames held out from development", np.sort(drawn[options.development :])),
        ):
            baselines = {LINEAR: f"{label}: linear fit", MODEL: f"{label}: small-data"}
            lines += rows([part(run, chosen) for run in without], baselines)
            if with_file is not None:
                some = [part(run, chosen) for run in with_file]
                lines += rows(some, {KNOWN: f"{label}: file", MODEL: f"{label}: small-data, with file"})
    if not options.quick:
        lines += rows(
            runs(slabs, None),
            {LINEAR: "folds by slab elements: linear fit", MODEL: "folds by slab elements: small-data"},
        )
        if known is not None:
            lines += rows(runs(slabs, known), {MODEL: "folds by slab elements: small-data, with file"})
    # places on this machine are nobody's business
    command = shlex.join(Path(word).name if os.sep in word else word for word in sys.argv)
    head = [
        "prediction",
        "MAE, eV",
        "95 % interval",
        "MAE, meV/atom",
        "95 % interval",
        "% within 1 / 1.96 std",
    ]
    elements = int(described.counts.any(axis=0).sum())
    text = [
        TITLE,
        f"{datetime.date.today()}, commit {commit()}, `python {command}`\n\n{machine()}",
        f"{len(frames)} frames of {len(set(systems))} systems, {elements} elements, "
        f"{described.n_atoms.min()} to {described.n_atoms.max()} atoms, {len(set(slabs))} sets of slab "
        "elements. "
        f"{options.folds}-fold cross-validation by system, fold seeds {seeds[0]} to {seeds[-1]}: mean ± "
        "standard deviation over seeds; interval by resampling systems, of errors averaged over seeds. "
        "Baselines and models are fitted on the training folds alone.",
        table(head, lines),
        *([DEVELOPMENT] if options.development else []),
        f"{time.perf_counter() - start:.0f} s in all, one thread.",
    ]
    publish(TITLE, text, Path(__file__).with_name("RESULTS.md") if options.record else options.out)


if __name__ == "__main__":
    main()
