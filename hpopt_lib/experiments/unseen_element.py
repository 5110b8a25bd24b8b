"""Leave one element out of training, and test on the frames that hold it.

The energy of an element that was never seen cannot be known: a constant for each of its atoms may be added
to all total energies, and no training frame says which. Two errors do without this constant, or fit it alone:

* *within systems*: of energy differences between frames of one composition, where the constant cancels;
* *fitted*: of total energies after the constant, one number, was fitted on frames of a few other systems.
  All models that are compared, the baselines too, get the same fit.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from hpopt_lib.errors import HpoptError
from hpopt_lib.potential.dataset import Dataset
from hpopt_lib.potential.settings import TrainSettings
from hpopt_lib.potential.training import train
from hpopt_lib.references import LinearReference, composition, median_baseline
from hpopt_lib.scaling import FeatureScaler
from hpopt_lib.store import SplitArrays, Store

#: What is compared; *seen* was trained on as many frames, drawn from those with the element too.
MODELS = ("unseen", "seen", "linear", "linear seen", "median")
#: Errors in meV/atom: raw totals, totals with the energy of the element fitted, and within systems.
ERRORS = ("total", "fitted", "within")


@dataclass(frozen=True)
class Setup:
    """How an element is left out.

    Attributes
    ----------
    test : str
        Split of the store, of other systems than the training split; it serves for the test alone.
    n_train : int
        Training frames of every model.
    held_out : float
        Share of the training systems that validate and calibrate.
    calibration : int
        Systems with the element, among those held out, on which its energy is fitted.
    settings : TrainSettings
    """

    test: str
    n_train: int
    held_out: float
    calibration: int
    settings: TrainSettings


def holds(arrays: SplitArrays, number: int) -> np.ndarray:
    """Which frames hold an element, shape (n_frames,)."""
    return composition(arrays.numbers, arrays.n_atoms)[:, number] > 0


def fit_element_energy(error_ev: np.ndarray, count: np.ndarray, n_atoms: np.ndarray) -> float:
    """Energy in eV of one element that least squares of errors per atom ask for.

    Parameters
    ----------
    error_ev : numpy.ndarray, shape (n_frames,)
        True minus predicted total energy.
    count, n_atoms : numpy.ndarray, shape (n_frames,)
        Atoms of the element, and of all elements.
    """
    share = count / n_atoms
    return float((share * error_ev / n_atoms).sum() / (share**2).sum())


def within_systems(error_ev: np.ndarray, n_atoms: np.ndarray, systems: np.ndarray) -> float:
    """Mean absolute error in meV/atom after the mean error of each system is taken away.

    Systems of a single frame do not count.

    Raises
    ------
    HpoptError
        When no system has two frames.
    """
    per_atom, parts = 1000 * error_ev / n_atoms, []
    for system in np.unique(systems):
        own = per_atom[systems == system]
        if len(own) > 1:
            parts.append(np.abs(own - own.mean()))
    if not parts:
        raise HpoptError("within systems: no system has two frames", remedy="give more frames")
    return float(np.concatenate(parts).mean())


def run_unseen(
    store: Store,
    setup: Setup,
    *,
    elements: Sequence[int],
    seeds: Sequence[int],
    on_training: Callable[[], None] = lambda: None,
) -> dict[int, dict[str, dict[str, list[float]]]]:
    """Leave out each element with each seed.

    The seed draws the systems held out, the training frames, the systems that calibrate, and the weights.

    Parameters
    ----------
    store : Store
    setup : Setup
    elements : sequence of int
        Atomic numbers.
    seeds : sequence of int
    on_training : callable
        Called after each training.

    Returns
    -------
    dict of int to dict of str to dict of str to list of float
        By element, `MODELS` and `ERRORS`: meV/atom, one for each seed.

    Raises
    ------
    HpoptError
        When too few frames are left.
    """
    pool, test = store.read(store.train_split), store.read(setup.test)
    results: dict[int, dict[str, dict[str, list[float]]]] = {
        z: {model: {error: [] for error in ERRORS} for model in MODELS} for z in elements
    }
    for seed in seeds:
        rng = np.random.default_rng(seed)
        systems = np.unique(pool.system_ids)
        away = rng.permutation(systems)[: round(setup.held_out * len(systems))]
        held = np.isin(pool.system_ids, away)
        training, aside = pool.take(np.flatnonzero(~held)), pool.take(np.flatnonzero(held))
        seen = _fit(store, training, aside, setup, seed)
        on_training()
        for z in elements:
            unseen = _fit(store, _without(training, z), _without(aside, z), setup, seed)
            on_training()
            calibration = _some_systems(aside.take(np.flatnonzero(holds(aside, z))), setup.calibration, rng)
            tested = test.take(np.flatnonzero(holds(test, z)))
            for model in MODELS:
                predict = (seen if model.endswith("seen") and model != "unseen" else unseen)[model]
                for error, value in _scores(predict, calibration, tested, z).items():
                    results[z][model][error].append(value)
    return results


Predict = Callable[[SplitArrays], np.ndarray]


def _fit(
    store: Store, frames: SplitArrays, validation: SplitArrays, setup: Setup, seed: int
) -> Mapping[str, Predict]:
    """A network and the baselines of the same training frames, as functions to total energies in eV."""
    if len(frames) < setup.n_train or len(validation) < 2:
        raise HpoptError(
            f"unseen element: {len(frames)} training and {len(validation)} validation frames are left",
            remedy=f"lower n_train ({setup.n_train}) or leave another element out",
        )
    rows = np.random.default_rng(seed).permutation(len(frames))[: setup.n_train]
    train_frames = frames.take(np.sort(rows))
    scaler = FeatureScaler.empty(store.settings.num_features, kind=store.scaler.kind)
    scaler.update(train_frames.features)
    counts = composition(train_frames.numbers, train_frames.n_atoms)
    # an element that does not occur gets the mean energy per atom, which the fit of one energy replaces
    linear = LinearReference.fit(counts, train_frames.energy)
    data = Dataset(train_frames, validation, store.settings, scaler, linear)
    potential = train(data, setup.settings, seed=seed).potential

    def by_elements(arrays: SplitArrays) -> np.ndarray:
        return linear.energy(composition(arrays.numbers, arrays.n_atoms))

    def median(arrays: SplitArrays) -> np.ndarray:
        return median_baseline(train_frames.energy, train_frames.n_atoms, arrays.n_atoms)

    return {
        "unseen": potential.predict, "seen": potential.predict,
        "linear": by_elements, "linear seen": by_elements, "median": median,
    }  # fmt: skip


def _without(arrays: SplitArrays, number: int) -> SplitArrays:
    return arrays.take(np.flatnonzero(~holds(arrays, number)))


def _some_systems(arrays: SplitArrays, number: int, rng: np.random.Generator) -> SplitArrays:
    chosen = rng.permutation(np.unique(arrays.system_ids))[:number]
    return arrays.take(np.flatnonzero(np.isin(arrays.system_ids, chosen)))


def _scores(predict: Predict, calibration: SplitArrays, test: SplitArrays, number: int) -> dict[str, float]:
    error = test.energy - predict(test)
    counts = [composition(part.numbers, part.n_atoms)[:, number] for part in (calibration, test)]
    shift = fit_element_energy(calibration.energy - predict(calibration), counts[0], calibration.n_atoms)
    return {
        "total": float(1000 * np.abs(error / test.n_atoms).mean()),
        "fitted": float(1000 * np.abs((error - counts[1] * shift) / test.n_atoms).mean()),
        "within": within_systems(error, test.n_atoms, test.system_ids),
    }
