"""The preset `small-data` as one piece of work: a store in, a model and its results out."""

from __future__ import annotations

import datetime
import json
from pathlib import Path
from typing import Any

import hpopt_lib
from hpopt_lib.errors import HpoptError
from hpopt_lib.files import atomic_path, refuse_existing
from hpopt_lib.metrics import energy_metrics
from hpopt_lib.potential.environments import of_split
from hpopt_lib.potential.evaluation import baseline_energies, score
from hpopt_lib.potential.small_data import SmallDataModel, unknown_elements
from hpopt_lib.potential.small_data_validation import COVERAGE, cross_validate, summarise
from hpopt_lib.progress import say
from hpopt_lib.references import LinearReference, composition
from hpopt_lib.references.files import read_element_energies
from hpopt_lib.store import Store

MODEL_FILE, RESULTS = "small-data.npz", "results.json"


def fit_preset(
    store: Store,
    out_dir: str | Path,
    *,
    element_energies: str | Path | None = None,
    n_folds: int = 5,
    fold_seeds: int = 5,
    overwrite: bool = False,
) -> dict[str, Any]:
    """Cross-validate on the training split, fit on all of it, evaluate the other splits once.

    Parameters
    ----------
    store : Store
        Its features are not used; positions, elements and total energies are.
    out_dir : str or Path
        Gets `MODEL_FILE` and `RESULTS`.
    element_energies : str or Path, optional
        See `hpopt_lib.references.files.read_element_energies`.
    n_folds, fold_seeds : int
        Folds, and number of different divisions into folds.
    overwrite : bool

    Returns
    -------
    dict
        ``cross_validation`` (`summarise`), ``splits`` (`hpopt_lib.potential.evaluation.score` with the
        uncertainty's coverage), ``shares_ev_per_atom`` of the model's terms, and provenance.

    Raises
    ------
    HpoptError
        When there are too few or too many frames, an element is not known, or the results exist already.
    """
    out_dir = Path(out_dir)
    for name in (MODEL_FILE, RESULTS):
        refuse_existing(out_dir / name, overwrite=overwrite)
    if fold_seeds < 1:
        raise HpoptError(f"--fold-seeds: {fold_seeds} is too few", remedy="give at least 1")
    known = None
    if element_energies is not None:
        known = read_element_energies(Path(element_energies), option="--element-energies")
    train = store.read(store.train_split)
    frames = of_split(train, where=f"{store.path}: split {store.train_split}")
    runs = [
        cross_validate(frames, train.energy, train.system_ids, known_ev=known, n_folds=n_folds, seed=seed)
        for seed in range(fold_seeds)
    ]
    model = SmallDataModel.fit(frames, train.energy, known_ev=known)
    provenance = {
        "store": str(store.path),
        "store_fingerprint": store.fingerprint,
        "element_energies": None if element_energies is None else Path(element_energies).name,
        "date": datetime.datetime.now(datetime.timezone.utc).isoformat(timespec="seconds"),
        "hpopt_version": hpopt_lib.__version__,
    }
    record = {
        "preset": "small-data",
        "n_train_frames": len(train),
        "n_train_systems": len(set(train.system_ids)),
        "n_folds": n_folds,
        "fold_seeds": fold_seeds,
        "cross_validation": summarise(runs),
        "splits": {split: _evaluate(model, store, split) for split in store.validation_splits()},
        "shares_ev_per_atom": model.shares(),
        "log_evidence": model.amplitudes.log_evidence,
        **provenance,
    }
    model.save(out_dir / MODEL_FILE, overwrite=overwrite, extra=provenance)
    with atomic_path(out_dir / RESULTS, overwrite=overwrite) as temporary:
        temporary.write_text(json.dumps(record, indent=1), encoding="utf-8")
    return record


def _evaluate(model: SmallDataModel, store: Store, split: str) -> dict[str, Any]:
    arrays, train = store.read(split), store.read(store.train_split)
    frames = of_split(arrays, where=f"{store.path}: split {split}")
    if new := unknown_elements(model.train, frames):
        say(
            f"{split}: {', '.join(new)} did not occur in training: guessed from similar elements, see the "
            "uncertainties"
        )
    energy, std = model.predict(frames)
    linear = LinearReference.fit(composition(train.numbers, train.n_atoms), train.energy)
    result = score(arrays, energy, baseline_energies(train, linear, arrays))
    for label, width in COVERAGE.items():
        result[label] = float((abs(energy - arrays.energy) <= width * std).mean())
    result["mean_std_ev"] = float(std.mean())
    result["linear_energy_mae_ev"] = energy_metrics(
        arrays.energy, linear.energy(frames.counts), arrays.n_atoms
    )["energy_mae_ev"]
    return result
