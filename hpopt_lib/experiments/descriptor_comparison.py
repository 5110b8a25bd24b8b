"""GMP features with one network against symmetry functions with a network for each element."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from ase.data import chemical_symbols

from hpopt_lib.experiments.element_networks import (
    ElementDataset,
    ElementTraining,
    element_dataset,
    with_numbers,
)
from hpopt_lib.experiments.symmetry_functions import (
    SymmetryFunctions,
    candidates,
    structures,
)
from hpopt_lib.gmp.features import GMPFeaturizer
from hpopt_lib.gmp.settings import GMPSettings
from hpopt_lib.metrics import energy_metrics
from hpopt_lib.potential.dataset import Dataset
from hpopt_lib.potential.epochs import TrainingDivergedError
from hpopt_lib.potential.evaluation import HEADLINE, baseline_energies
from hpopt_lib.potential.network import feature_columns
from hpopt_lib.potential.settings import TrainSettings
from hpopt_lib.potential.training import TrainResult, train
from hpopt_lib.store import SplitArrays, Store

#: Stored widths in Å and orders; the sets of 36 features below are columns of these.
GMP = GMPSettings(sigmas=tuple(float(s) for s in np.geomspace(0.2, 2.7, 18).round(3)), max_order=8)
#: Sets of 36 GMP features: widths and highest order.
GMP_CANDIDATES = {"9 widths, order 3": (9, 3), "6 widths, order 5": (6, 5), "4 widths, order 8": (4, 8)}
RATES = (1e-3, 3e-3, 1e-2, 3e-2)
#: The two sides, and between them GMP features with a network for each element, which tells whether the
#: features or the networks make a difference.
SIDES = ("gmp", "symmetry", "gmp elements")
#: Of the search; the comparison has others.
SEARCH_SEED = 1000


@dataclass(frozen=True)
class Choice:
    """What one side may choose on the validation split.

    Attributes
    ----------
    side : str
        One of `SIDES`.
    features : str
        Name among `GMP_CANDIDATES` or of `hpopt_lib.experiments.symmetry_functions.candidates`.
    lr : float
    """

    side: str
    features: str
    lr: float


class Comparison:
    """Both sides on one set of molecules.

    Parameters
    ----------
    store : Store
        With the features of `GMP`.
    validation : str
        Split on which the best epoch and the choices are found.
    tests : sequence of str
    base : TrainSettings
        Of both sides: network, epochs, batches, loss and schedule.
    """

    def __init__(self, store: Store, *, validation: str, tests: Sequence[str], base: TrainSettings) -> None:
        if store.settings != GMP:
            raise ValueError("the store has other features")
        self.data = Dataset.from_store(store, validation=validation)
        self.tests = {name: store.read(name) for name in tests}
        self.base = base
        symbols = [chemical_symbols[z] for z in np.unique(self.data.train.numbers)]
        self.symmetry = candidates(symbols, GMP.cutoff)
        self._symmetry: dict[str, dict[str, np.ndarray]] = {}

    def choices(self, side: str) -> Iterator[Choice]:
        """All that a side may choose from: as many for each."""
        for name in self.symmetry if side == "symmetry" else GMP_CANDIDATES:
            for lr in RATES:
                yield Choice(side, name, lr)

    def search(
        self, side: str, on_training: Callable[[], None] = lambda: None
    ) -> tuple[Choice, dict[str, float]]:
        """The choice with the smallest validation error after one training each.

        Returns
        -------
        best : Choice
        errors : dict of str to float
            Validation error in meV/atom by feature set and learning rate; infinite when it diverged.
        """
        found: dict[Choice, float] = {}
        for choice in self.choices(side):
            try:
                found[choice] = self._train(choice, SEARCH_SEED).best_error
            except TrainingDivergedError:
                found[choice] = float("inf")
            on_training()
        best = min(found, key=lambda choice: found[choice])
        return best, {f"{c.features}; lr {c.lr:g}": round(error, 4) for c, error in found.items()}

    def run(self, choice: Choice, seed: int, epochs: int = 0) -> dict[str, float]:
        """One training: test errors in meV/atom by split, and its CPU time in seconds."""
        data = self._inputs(choice)
        start = time.process_time()
        result = self._train(choice, seed, data, epochs)
        seconds = time.process_time() - start
        found = {"train_cpu_s": seconds}
        for name, arrays in self.tests.items():
            predicted = result.potential.predict(self._arrays(choice, name, arrays))
            found[name] = energy_metrics(arrays.energy, predicted, arrays.n_atoms)[HEADLINE]
        return found

    def baselines(self) -> dict[str, dict[str, float]]:
        """Errors of median and linear baseline by split, in meV/atom."""
        return {
            name: {
                kind: energy_metrics(arrays.energy, energies, arrays.n_atoms)[HEADLINE]
                for kind, energies in baseline_energies(self.data.train, self.data.reference, arrays).items()
            }
            for name, arrays in self.tests.items()
        }

    def cost(self, choice: Choice, *, frames: int, repeats: int) -> dict[str, list[float]]:
        """CPU milliseconds for a frame: of the features, and of the network in a prediction of all frames.

        Returns
        -------
        dict of str to list of float
            ``features_ms`` and ``network_ms``, one for each repeat.
        """
        some = self.data.validation.take(np.arange(min(frames, len(self.data.validation))))
        atoms = list(structures(some))
        compute = self._descriptor(choice)
        compute(atoms[0])
        potential = self._train(choice, 0, epochs=1).potential
        arrays = self._arrays(choice, "validation", self.data.validation).take(np.arange(len(some)))
        prepared = potential.prepare(arrays)
        found: dict[str, list[float]] = {"features_ms": [], "network_ms": []}
        for _ in range(repeats):
            start = time.process_time()
            for one in atoms:
                compute(one)
            between = time.process_time()
            potential.predict(prepared)
            found["features_ms"].append(1000 * (between - start) / len(atoms))
            found["network_ms"].append(1000 * (time.process_time() - between) / len(atoms))
        return found

    def num_features(self, choice: Choice) -> int:
        """Features of an atom."""
        if choice.side == "symmetry":
            return self.symmetry[choice.features].num_features
        return len(_columns(choice))

    def num_weights(self, choice: Choice) -> int:
        """Numbers that are trained."""
        potential = self._train(choice, 0, epochs=1).potential
        return sum(weight.numel() for weight in potential.network.parameters())

    def _settings(self, choice: Choice) -> TrainSettings:
        settings = replace(self.base, lr=choice.lr)
        if choice.side == "gmp":
            widths, order = GMP_CANDIDATES[choice.features]
            settings = replace(settings, num_sigmas=widths, max_order=order)
        return settings

    def _descriptor(self, choice: Choice) -> Callable[[Any], np.ndarray]:
        if choice.side == "symmetry":
            return SymmetryFunctions(self.symmetry[choice.features])
        widths, order = GMP_CANDIDATES[choice.features]
        columns = feature_columns(GMP, TrainSettings(num_sigmas=widths, max_order=0))
        sigmas = tuple(GMP.sigmas[column] for column in columns)
        return GMPFeaturizer(replace(GMP, sigmas=sigmas, max_order=order))

    def _inputs(self, choice: Choice) -> Dataset:
        if choice.side == "gmp":
            return self.data
        features = [self._features_of(choice, split, a) for split, a in self._parts().items()][:2]
        transform = "none" if choice.side == "symmetry" else self.data.scaler.kind
        return element_dataset(self.data, features[0], features[1], transform=transform)

    def _parts(self) -> dict[str, SplitArrays]:
        return {"train": self.data.train, "validation": self.data.validation, **self.tests}

    def _features_of(self, choice: Choice, split: str, arrays: SplitArrays) -> np.ndarray:
        """Features of all atoms of a split, for element networks; symmetry functions are computed once."""
        if choice.side == "gmp elements":
            return arrays.features[:, _columns(choice)]
        if choice.features not in self._symmetry:
            compute = SymmetryFunctions(self.symmetry[choice.features])
            self._symmetry[choice.features] = {
                name: np.concatenate([compute(atoms) for atoms in structures(part)])
                for name, part in self._parts().items()
            }
        return self._symmetry[choice.features][split]

    def _arrays(self, choice: Choice, split: str, arrays: SplitArrays) -> SplitArrays:
        if choice.side == "gmp":
            return arrays
        return with_numbers(arrays, self._features_of(choice, split, arrays))

    def _train(self, choice: Choice, seed: int, data: Dataset | None = None, epochs: int = 0) -> TrainResult:
        data = data or self._inputs(choice)
        settings = replace(self._settings(choice), epochs=epochs or self.base.epochs)
        training = ElementTraining if isinstance(data, ElementDataset) else None
        return train(data, settings, seed=seed, training=training)


def _columns(choice: Choice) -> np.ndarray:
    """Stored columns of a set of GMP features."""
    widths, order = GMP_CANDIDATES[choice.features]
    return feature_columns(GMP, TrainSettings(num_sigmas=widths, max_order=order))
