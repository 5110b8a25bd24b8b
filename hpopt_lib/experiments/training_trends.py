"""How the error falls with the widths and orders of the features, and with the training frames."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace

from hpopt_lib.metrics import energy_metrics
from hpopt_lib.potential.dataset import Dataset
from hpopt_lib.potential.evaluation import HEADLINE
from hpopt_lib.potential.settings import TrainSettings
from hpopt_lib.potential.training import train
from hpopt_lib.store import Store

#: Test errors in meV/atom by split, one for each seed.
Errors = dict[str, list[float]]


def grid_name(widths: int, order: int) -> str:
    """Name of a feature set in results."""
    return f"{widths} widths, order {order}"


def size_name(n_train: int) -> str:
    """Name of a training size in results."""
    return f"{n_train} frames"


def run_grid(
    store: Store,
    *,
    validation: str,
    tests: Sequence[str],
    base: TrainSettings,
    cells: Sequence[tuple[int, int]],
    seeds: Sequence[int],
    on_training: Callable[[], None] = lambda: None,
) -> dict[str, Errors]:
    """The same network on columns of the stored features.

    Parameters
    ----------
    store : Store
    validation : str
        Split on which the best epoch is chosen.
    tests : sequence of str
    base : TrainSettings
    cells : sequence of (int, int)
        Number of widths and highest order of each feature set.
    seeds : sequence of int
    on_training : callable
        Called after each training.

    Returns
    -------
    dict of str to dict of str to list of float
        By `grid_name`.
    """
    data = Dataset.from_store(store, validation=validation)
    results = {}
    for widths, order in cells:
        settings = replace(base, num_sigmas=widths, max_order=order)
        results[grid_name(widths, order)] = _errors(
            store, tests, [(data, settings, seed) for seed in seeds], on_training
        )
    return results


def run_sizes(
    store: Store,
    *,
    validation: str,
    tests: Sequence[str],
    base: TrainSettings,
    sizes: Sequence[int],
    full: int,
    seeds: Sequence[int],
    on_training: Callable[[], None] = lambda: None,
) -> dict[str, Errors]:
    """All stored features and fewer training frames, each seed with other ones.

    Parameters
    ----------
    sizes : sequence of int
        Numbers of training frames.
    full : int
        Number of frames at which `base` has its epochs; with fewer frames there are more epochs, so that
        every training takes the same number of steps.
    store, validation, tests, base, seeds, on_training
        As in `run_grid`.

    Returns
    -------
    dict of str to dict of str to list of float
        By `size_name`.
    """
    results = {}
    for size in sizes:
        settings = replace(base, epochs=max(1, round(base.epochs * full / size)))
        runs = [
            (Dataset.from_store(store, validation=validation, n_train=size, seed=seed), settings, seed)
            for seed in seeds
        ]
        results[size_name(size)] = _errors(store, tests, runs, on_training)
    return results


def _errors(
    store: Store,
    tests: Sequence[str],
    runs: Sequence[tuple[Dataset, TrainSettings, int]],
    on_training: Callable[[], None],
) -> Errors:
    arrays = {name: store.read(name) for name in tests}
    found: Errors = {name: [] for name in tests}
    for data, settings, seed in runs:
        potential = train(data, settings, seed=seed).potential
        for name, some in arrays.items():
            error = energy_metrics(some.energy, potential.predict(some), some.n_atoms)[HEADLINE]
            found[name].append(error)
        on_training()
    return found
