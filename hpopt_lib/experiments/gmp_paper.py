"""The claims of Lei and Medford (2022) that small data can check: the set-ups, in full and reduced."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, replace
from typing import Any

import numpy as np

from hpopt_lib.experiments.agreement import check_agreement
from hpopt_lib.experiments.descriptor_comparison import GMP, SIDES, Choice, Comparison
from hpopt_lib.experiments.training_trends import run_grid, run_sizes
from hpopt_lib.experiments.unseen_element import Setup, run_unseen
from hpopt_lib.potential.settings import TrainSettings
from hpopt_lib.progress import progress
from hpopt_lib.store import Store

#: Features of the molecules' stores.
MOLECULE_FEATURES = GMP
#: Epochs at the full training size, by claim.
EPOCHS = {"a": 30, "b": 20, "c": 15}
#: Epochs of the longer trainings of claim a, of these sides, recorded only.
LONG, LONG_SIDES = 100, ("gmp", "symmetry")
#: One network for all claims, found on the split ``val`` of embedded ethanol before any check was made.
NETWORK = TrainSettings(num_layers=2, num_nodes=64, normalization="batch", lr=1e-2)
WIDTHS, ORDERS = (2, 4, 9), (0, 1, 2, 3)
#: Shares of the training frames, as divisors.
DIVISORS = (8, 4, 2, 1)
UNSEEN = Setup(
    test="val_id",
    n_train=800,
    held_out=0.2,
    calibration=5,
    settings=replace(NETWORK, epochs=EPOCHS["c"]),
)
#: Left out one by one: all elements of the embedded adsorption set.
ELEMENTS = {
    "H": 1,
    "C": 6,
    "N": 7,
    "O": 8,
    "Al": 13,
    "Ni": 28,
    "Cu": 29,
    "Pd": 46,
    "Ag": 47,
    "Pt": 78,
    "Au": 79,
}


def compare(
    store: Store,
    validation: str,
    tests: Sequence[str],
    *,
    seeds: Sequence[int],
    choices: Mapping[str, Mapping[str, Any]] | None = None,
    long: bool = False,
) -> dict[str, Any]:
    """Claim a: GMP features with one network against symmetry functions with element networks.

    Parameters
    ----------
    store : Store
        With `MOLECULE_FEATURES`.
    validation, tests : str and sequence of str
        Splits.
    seeds : sequence of int
    choices : mapping, optional
        Feature set and rate of each side, from a record; by default all are searched for on `validation`.
    long : bool
        Whether `LONG` trainings with the same choices are done too.

    Returns
    -------
    dict
        For each side of `hpopt_lib.experiments.descriptor_comparison.SIDES`: ``choice``, ``search``
        (validation errors), ``n_features``, ``n_weights``, test errors by split and ``train_cpu_s`` by seed,
        ``features_ms`` and ``network_ms`` of a frame, and under ``long`` errors and seconds again; and
        ``baselines`` and ``n_frames`` of training and validation.
    """
    base = replace(NETWORK, epochs=EPOCHS["a"])
    comparison = Comparison(store, validation=validation, tests=tests, base=base)
    found: dict[str, Any] = {
        "baselines": comparison.baselines(),
        "n_frames": len(comparison.data.train) + len(comparison.data.validation),
    }
    sides = [side for side in SIDES if choices is None or side in choices]
    searched = 0 if choices else sum(len(list(comparison.choices(side))) for side in sides)
    n_runs = len(sides) + (len(LONG_SIDES) if long else 0)
    tick = _counter("claim a", searched + n_runs * len(seeds))

    def runs_of(choice: Choice, epochs: int) -> dict[str, list[float]]:
        runs = []
        for seed in seeds:
            runs.append(comparison.run(choice, seed, epochs))
            tick()
        return {key: [run[key] for run in runs] for key in (*tests, "train_cpu_s")}

    for side in sides:
        search: dict[str, float] = {}
        if choices:
            choice = Choice(**choices[side])
        else:
            choice, search = comparison.search(side, tick)
        found[side] = {
            "choice": asdict(choice),
            "search": search,
            "n_features": comparison.num_features(choice),
            "n_weights": comparison.num_weights(choice),
            **runs_of(choice, base.epochs),
            **comparison.cost(choice, frames=100, repeats=5),
            "long": runs_of(choice, LONG) if long and side in LONG_SIDES else {},
        }
    return found


def trends(
    store: Store,
    validation: str,
    tests: Sequence[str],
    *,
    seeds: Sequence[int],
    cells: Sequence[tuple[int, int]] | None = None,
    divisors: Sequence[int] = DIVISORS,
) -> dict[str, Any]:
    """Claim b: errors by widths and order, and by the number of training frames.

    Parameters
    ----------
    store, validation, tests, seeds
        As in `compare`.
    cells : sequence of (int, int), optional
        Widths and order; all combinations of `WIDTHS` and `ORDERS` by default.
    divisors : sequence of int
        Of the number of training frames.

    Returns
    -------
    dict
        ``grid`` and ``sizes``: test errors in meV/atom by setting, split and seed; ``baselines`` by split.
    """
    chosen = [(n, order) for n in WIDTHS for order in ORDERS] if cells is None else list(cells)
    n_frames = store.header["splits"][store.train_split]["n_frames"]
    splits: dict[str, Any] = {"validation": validation, "tests": tests}
    base = replace(NETWORK, epochs=EPOCHS["b"])
    # the largest feature set, whose features are those of a cell of the grid
    most = replace(base, num_sigmas=max(WIDTHS), max_order=max(ORDERS))
    sizes = [n_frames // divisor for divisor in divisors]
    tick = _counter("claim b", (len(chosen) + len(sizes)) * len(seeds))
    grid = run_grid(store, **splits, base=base, cells=chosen, seeds=seeds, on_training=tick)
    by_size = run_sizes(store, **splits, base=most, sizes=sizes, full=n_frames, seeds=seeds, on_training=tick)
    comparison = Comparison(store, validation=validation, tests=tests, base=base)
    return {"grid": grid, "sizes": by_size, "baselines": comparison.baselines()}


def unseen(
    store: Store, *, seeds: Sequence[int], elements: Sequence[str] = tuple(ELEMENTS)
) -> dict[str, dict[str, dict[str, list[float]]]]:
    """Claim c: errors on frames of an element that was left out of training.

    Parameters
    ----------
    store : Store
        Of the embedded adsorption set.
    seeds : sequence of int
    elements : sequence of str
        Symbols.

    Returns
    -------
    dict
        By symbol, as `hpopt_lib.experiments.unseen_element.run_unseen`.
    """
    numbers = {ELEMENTS[symbol]: symbol for symbol in elements}
    tick = _counter("claim c", (1 + len(numbers)) * len(seeds))
    found = run_unseen(store, UNSEEN, elements=list(numbers), seeds=seeds, on_training=tick)
    return {numbers[z]: rows for z, rows in found.items()}


#: What depends on the machine, or is not a result by seed.
_NOT_COMPARED = ("train_cpu_s", "features_ms", "network_ms", "long", "search", "baselines", "choice")


def errors_by_name(results: Mapping[str, Any], before: str = "") -> dict[str, list[float]]:
    """All errors of nested results under one name each, one value for each seed."""
    found: dict[str, list[float]] = {}
    for name, value in results.items():
        if name in _NOT_COMPARED:
            continue
        if isinstance(value, Mapping):
            found |= errors_by_name(value, f"{before}{name}: ")
        elif isinstance(value, list):
            found[before + name] = [float(one) for one in value]
    return found


def check_rerun(recorded: Mapping[str, Any], reduced: Mapping[str, Any], *, where: str) -> int:
    """Make sure that trainings with other seeds do not contradict the record.

    Intervals of the means at 99 % must overlap. On either side each is at least three standard deviations
    over the recorded seeds wide, or a twentieth of the mean: two seeds have no interval to speak of.

    Parameters
    ----------
    recorded, reduced : mapping
        Results by part, such as ``a:ethanol-like``; the second may hold fewer.
    where : str
        Name of the record, for the message.

    Returns
    -------
    int
        Number of errors that agree.

    Raises
    ------
    HpoptError
        For the first that does not.
    """
    known, agreed = errors_by_name(recorded), 0
    for name, values in errors_by_name(reduced).items():
        spread = np.array(known.get(name, values))
        tolerance = max(
            3 * float(spread.std(ddof=1)) if len(spread) > 1 else 0.0, 0.05 * float(spread.mean())
        )
        agreed += check_agreement(known, {name: values}, tolerance=tolerance, where=where)
    return agreed


def _counter(desc: str, total: int) -> Callable[[], None]:
    """Something to call after each training, which shows how far the work is."""
    ticks = progress(range(total), desc=desc, unit="training")

    def tick() -> None:
        next(ticks, None)

    return tick


def rounded(results: Any, digits: int = 4) -> Any:
    """Nested results with numbers of so many digits behind the point."""
    if isinstance(results, Mapping):
        return {key: rounded(value, digits) for key, value in results.items()}
    if isinstance(results, list):
        return [rounded(value, digits) for value in results]
    return round(results, digits) if isinstance(results, float) else results
