"""Trainings that are cheaper or larger than those of the search spaces, and what a budget of time affords."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from hpopt_lib.experiments.drawn_table import HALVES, train_point
from hpopt_lib.experiments.feature_cache import FeatureCache
from hpopt_lib.progress import progress

#: Parts of the epochs and of the frames that a cheaper training has.
PARTS = (1 / 8, 1 / 4, 1 / 2)
#: Networks whose learning curves are measured; small sizes are fitted, larger ones checked.
NETWORKS: dict[str, dict[str, Any]] = {
    "2 layers of 32": {"num_layers": 2, "num_nodes": 32, "lr": 5e-3},
    "1 layer of 8": {"num_layers": 1, "num_nodes": 8, "lr": 1e-2},
}
CURVE_SIZES = [28, 40, 56, 80, 112, 160, 320, 640]
CURVE_SEEDS = [0, 1, 2, 3, 4]
CURVE_STRIDES = {"train": 5, "val_id": 8}
#: Sizes, from the smallest, that an extrapolation may see.
N_FITTED = 6
#: Frames that each training of a learning curve sees, over all epochs: every size gets as many steps.
FRAMES_SEEN = 4_000
_PLAIN = {
    "activation": "silu", "normalization": "layer", "dropout_rate": 0.0, "schedule": "cosine", "gamma": 1.0,
    "batch_size": 16, "weight_decay": 1e-4, "loss": "huber",
}  # fmt: skip


def fidelities(epochs: int) -> dict[str, dict[str, Any]]:
    """Cheaper versions of a training of so many epochs: what they change, by name.

    A shorter training has a schedule of its own that ends with it.
    """
    shorter = {f"1/{1 / part:.0f} of the epochs": {"epochs": max(1, int(epochs * part))} for part in PARTS}
    smaller = {f"1/{1 / part:.0f} of the frames": {"train_share": part, "epochs": epochs} for part in PARTS}
    return {**shorter, **smaller}


def cheap_errors(
    cache: FeatureCache, params: Sequence[dict[str, Any]], change: Mapping[str, Any], seeds: Sequence[int]
) -> dict[str, list[Any]]:
    """Errors of points of the space ``network`` whose trainings are made cheaper.

    Parameters
    ----------
    cache : FeatureCache
    params : sequence of dict
        The first points of the space's table.
    change : mapping
        One of the `fidelities`.
    seeds : sequence of int

    Returns
    -------
    dict of str to list
        ``choose`` and ``report`` with a row for each point (None for an infinite error), and ``cpu_s``.
    """
    found: dict[str, list[Any]] = {**{half: [] for half in HALVES}, "cpu_s": []}
    for k, point in enumerate(progress(params, desc=str(dict(change)), unit="point")):
        errors, cpu_s = train_point(cache, "network", {**point, **change}, seeds, draw=k)
        for half in HALVES:
            found[half].append([round(e, 3) if np.isfinite(e) else None for e in errors[half]])
        found["cpu_s"].append(round(cpu_s, 4))
    return found


def curve_errors(
    cache: FeatureCache, network: str, sizes: Sequence[int], seeds: Sequence[int]
) -> dict[str, Any]:
    """Errors of one of the `NETWORKS` by number of training frames; each seed draws its own frames.

    Returns
    -------
    dict
        ``sizes``, ``report`` with a row for each size and an error for each seed (meV/atom, on frames that
        choose no epoch), and ``cpu_s`` of a training at each size.
    """
    from hpopt_lib.gmp.settings import GMPSettings

    whole = len(cache.arrays("train", GMPSettings()))
    found: dict[str, Any] = {"sizes": list(sizes), "report": [], "cpu_s": []}
    for size in progress(sizes, desc=network, unit="size"):
        point = {**_PLAIN, **NETWORKS[network], "train_share": size / whole}
        point["epochs"] = max(1, round(FRAMES_SEEN / size))
        made = [train_point(cache, "network", point, [seed], draw=seed) for seed in seeds]
        found["report"].append([round(errors[HALVES[1]][0], 3) for errors, _ in made])
        found["cpu_s"].append(round(float(np.mean([cpu for _, cpu in made])), 3))
    return found


def as_errors(rows: Sequence[Sequence[float | None]]) -> np.ndarray:
    """Errors of a record as numbers, infinite where a training diverged."""
    found = np.array(rows, dtype=float)
    return np.where(np.isnan(found), np.inf, found)


def budget_rows(
    seconds_per_frame_epoch: float, budgets: Mapping[str, float], trainings: Mapping[str, tuple[int, int]]
) -> list[dict[str, Any]]:
    """How many trainings of each size fit into some budgets.

    Parameters
    ----------
    seconds_per_frame_epoch : float
        Measured CPU seconds of one core for one frame in one epoch, validation included.
    budgets : mapping of str to float
        Core seconds.
    trainings : mapping of str to (int, int)
        Frames and epochs of a training, by name.

    Returns
    -------
    list of dict
        With the key ``budget`` and one for each training: a whole number of trainings.
    """
    return [
        {
            "budget": name,
            **{
                what: int(seconds / (seconds_per_frame_epoch * frames * epochs))
                for what, (frames, epochs) in trainings.items()
            },
        }
        for name, seconds in budgets.items()
    ]
