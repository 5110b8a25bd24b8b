"""Prediction files scored as the Open Catalyst leaderboard does, beside the two baselines."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from hpopt_lib.errors import HpoptError
from hpopt_lib.metrics import efwt, energy_metrics, force_metrics
from hpopt_lib.potential.evaluation import baseline_energies
from hpopt_lib.potential.oc20_evaluation import (
    EVALUATION_SPLITS,
    adsorption_offset,
    evaluation_ids,
    evaluation_splits,
)
from hpopt_lib.potential.prediction_files import rows_of_frames
from hpopt_lib.potential.prediction_reader import SubmittedSplit, read_submission
from hpopt_lib.progress import progress
from hpopt_lib.store import SplitArrays, Store

#: The metrics of the table, in order.
METRICS = (
    "energy_mae_ev", "energy_mae_mev_per_atom", "force_mae_ev_per_angstrom", "force_cosine", "efwt",
)  # fmt: skip
AVERAGE = "average"


class ScoreSums:
    """Sums over frames, from which the metrics follow whatever the order in which frames come."""

    def __init__(self) -> None:
        self._energies: list[tuple[np.ndarray, ...]] = []
        self._n_free, self._absolute, self._cosine, self._within = 0, 0.0, 0.0, 0.0

    def add(
        self, arrays: SplitArrays, energy: np.ndarray, predicted: np.ndarray, predicted_forces: np.ndarray
    ) -> None:
        """Take in frames: energies and predictions in eV, predicted forces of all their atoms in eV/Å."""
        self._energies.append((energy, predicted, np.array(arrays.n_atoms)))
        true = np.where(arrays.free[:, None], arrays.forces, 0.0).astype(float)
        n_free = int(arrays.free.sum())
        if n_free:
            metrics = force_metrics(true, predicted_forces, arrays.free)
            self._n_free += n_free
            self._absolute += n_free * metrics["force_mae_mev_per_angstrom"] / 1000.0
            self._cosine += n_free * metrics["force_cosine"]
        self._within += len(energy) * efwt(
            energy, predicted, true, predicted_forces, arrays.free, arrays.n_atoms
        )

    def metrics(self) -> dict[str, float]:
        """`METRICS` and ``n_frames``."""
        energy, predicted, n_atoms = (np.concatenate(part) for part in zip(*self._energies, strict=True))
        found = energy_metrics(energy, predicted, n_atoms)
        n_free = max(self._n_free, 1)
        return {
            "energy_mae_ev": found["energy_mae_ev"],
            "energy_mae_mev_per_atom": found["energy_mae_mev_per_atom"],
            "force_mae_ev_per_angstrom": self._absolute / n_free,
            "force_cosine": self._cosine / n_free,
            "efwt": self._within / len(energy),
            "n_frames": float(len(energy)),
        }


def leaderboard(store: str | Path, submissions: Sequence[str | Path]) -> dict[str, Any]:
    """Score prediction files against the labels of a store.

    Metrics are those of the Open Catalyst paper: mean absolute error (MAE) of energies; MAE of force
    components on free atoms; cosine between forces, averaged over free atoms; and EFwT, the share of frames
    with an energy error below 0.02 eV whose force components are all within 0.03 eV/Å. Energies are
    adsorption energies. The average is that of the four splits. Frames are matched by their ids; those of
    the store that are in no file are left out, for the baselines too.

    Parameters
    ----------
    store : str or Path
        With the four validation splits.
    submissions : sequence of str or Path
        Written by `hpopt_lib.potential.prediction_files.write_predictions` with ``oc20=True``, or by other
        programs in that layout; one for each training seed.

    Returns
    -------
    dict
        ``model``, a list with one entry a file, and ``median`` and ``linear``; each entry has for every split
        and ``average`` the `METRICS`. The baselines are fitted on the training split (median of its
        energies; per-element linear fit of the store) and predict no force.

    Raises
    ------
    HpoptError
        When a file is unusable, names frames that the store does not have, or the files differ in frames.

    References
    ----------
    L. Chanussot et al., ACS Catal. 11, 6059 (2021), section on metrics; ``Evaluator`` in
    FAIR-Chem/fairchem, version 1.
    """
    if not submissions:
        raise HpoptError("leaderboard: no prediction file", remedy="write one with hpopt predict")
    with Store.open(store) as opened:
        splits = evaluation_splits(opened)
        train = opened.read(opened.train_split)
        where = f"{opened.path}: {opened.train_split}"
        median = float(np.median(train.energy - adsorption_offset(opened, train.info, where=where)))
        names = [f"model {k}" for k in range(len(submissions))]
        scores: dict[str, dict[str, dict[str, float]]] = {name: {} for name in (*names, "median", "linear")}
        for name, split in progress(splits.items(), total=len(splits), desc="score", unit="split"):
            found = [read_submission(path, name) for path in submissions]
            for path, one in zip(submissions, found):
                if one.rows.keys() != found[0].rows.keys():
                    raise HpoptError(
                        f"{path}: {name}_ids: not the frames of {submissions[0]}",
                        remedy="predict the same frames with every model",
                    )
            for scored, metrics in _score_split(
                opened, split, submissions, name, found, train, median
            ).items():
                scores[scored][name] = metrics
    for by_split in scores.values():
        by_split[AVERAGE] = {m: float(np.mean([by_split[s][m] for s in EVALUATION_SPLITS])) for m in METRICS}
    return {"model": [scores[name] for name in names], "median": scores["median"], "linear": scores["linear"]}


def _score_split(
    store: Store, split: str, paths: Sequence[str | Path], name: str, found: Sequence[SubmittedSplit],
    train: SplitArrays, median: float,
) -> dict[str, dict[str, float]]:  # fmt: skip
    where, number, matched = f"{store.path}: {split}", 0, 0
    sums = {key: ScoreSums() for key in (*(f"model {k}" for k in range(len(found))), "median", "linear")}
    for shard in store.shards(split):
        ids = evaluation_ids(shard, where=where, first=number)
        number += len(ids)
        places = [k for k, one in enumerate(ids) if one in found[0].rows]
        if not places:
            continue
        matched += len(places)
        arrays = shard.take(np.array(places))
        if not np.isfinite(arrays.forces[arrays.free]).all():
            raise HpoptError(f"{where}: forces: missing", remedy="preprocess files with forces")
        offset = adsorption_offset(store, arrays.info, where=where, first=number - len(shard))
        energy, no_force = arrays.energy - offset, np.zeros((len(arrays.numbers), 3))
        for k, (path, one) in enumerate(zip(paths, found)):
            rows = [one.rows[ids[place]] for place in places]
            forces = _forces_of_all_atoms(one, rows, arrays, where=f"{path}: {name}_forces")
            sums[f"model {k}"].add(arrays, energy, one.energy[rows].astype(float), forces)
        linear = baseline_energies(train, store.reference, arrays)["linear"] - offset
        sums["median"].add(arrays, energy, np.full(len(energy), median), no_force)
        sums["linear"].add(arrays, energy, linear, no_force)
    if matched < len(found[0].rows):
        raise HpoptError(
            f"{paths[0]}: {name}_ids: {len(found[0].rows) - matched} frames are not in {store.path}",
            remedy="give the store that was predicted",
        )
    return {key: one.metrics() for key, one in sums.items()}


def _forces_of_all_atoms(
    one: SubmittedSplit, rows: Sequence[int], arrays: SplitArrays, *, where: str
) -> np.ndarray:
    """Predicted forces at their places among all atoms; files may hold those of the free ones only."""
    parts = [one.forces[one.edges[row] : one.edges[row + 1]] for row in rows]
    counts = np.array([len(part) for part in parts])
    if (counts == arrays.n_atoms).all():
        return np.concatenate(parts).astype(float)
    for found, wanted, info in zip(counts, rows_of_frames(arrays, free_only=True), arrays.info):
        if found != wanted:
            raise HpoptError(
                f"{where}: {found} rows for frame {info['frame']} of {info['system_id']}, "
                f"which has {wanted} free atoms",
                remedy="write it with hpopt predict --oc20-submission",
            )
    forces = np.zeros((len(arrays.numbers), 3))
    forces[arrays.free] = np.concatenate(parts)
    return forces
