"""Trainings that are watched on several domains at once, each epoch, by several criteria."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from hpopt_lib.experiments.split_divisions import Division, halves
from hpopt_lib.potential.batched_training import BatchedTraining, Member
from hpopt_lib.potential.dataset import Dataset
from hpopt_lib.potential.evaluation import baseline_energies
from hpopt_lib.references import LinearReference, composition
from hpopt_lib.scaling import FeatureScaler
from hpopt_lib.store import SplitArrays, Store
from hpopt_lib.store.arrays import ATOM_FIELDS, FRAME_FIELDS

#: Of the four validation splits every second frame is watched, a half of the systems to select on and a half
#: to test on.
WATCHED_STRIDE = 2

Criterion = Callable[[np.ndarray], float]


@dataclass
class WatchedData:
    """A division of the training split together with the parts that a training is watched on.

    Attributes
    ----------
    data : Dataset
        Its validation part is all watched parts, one after the other.
    parts : dict of str to slice
        Frames of each part: ``validation``, ``test``, and for each split ``SPLIT/select`` and ``SPLIT/test``.
    """

    data: Dataset
    parts: dict[str, slice]

    def baselines(self) -> dict[str, dict[str, float]]:
        """Errors in meV/atom of the median and of the per-element linear fit on each part."""
        train, watched = self.data.train, self.data.validation
        guesses = baseline_energies(train, self.data.reference, watched)
        found = {name: _errors(watched, guess[None])[0] for name, guess in guesses.items()}
        return {
            part: {name: float(errors[rows].mean()) for name, errors in found.items()}
            for part, rows in self.parts.items()
        }


def watched_data(store: Store, division: Division) -> WatchedData:
    """The data of a division; scaler and references are fitted on its training part alone."""
    pool = store.read(store.train_split)
    pieces = {"validation": pool.take(division.validation), "test": pool.take(division.test)}
    for split in store.validation_splits():
        arrays = store.read(split)
        for name, rows in zip(("select", "test"), halves(arrays, division.number)):
            pieces[f"{split}/{name}"] = arrays.take(rows[::WATCHED_STRIDE])
    ends = np.cumsum([0, *(len(piece) for piece in pieces.values())])
    train = pool.take(division.train)
    scaler = FeatureScaler.empty(train.features.shape[1], kind=store.scaler.kind)
    scaler.update(train.features)
    reference = LinearReference.fit(composition(train.numbers, train.n_atoms), train.energy)
    data = Dataset(train, _joined(list(pieces.values())), store.settings, scaler, reference)
    return WatchedData(data, {name: slice(a, b) for name, a, b in zip(pieces, ends[:-1], ends[1:])})


class WatchedTraining(BatchedTraining):
    """`BatchedTraining` that keeps, for each criterion, the errors of all parts in its best epoch.

    The training itself does not depend on what is watched (no patience is used).

    Parameters
    ----------
    watched : WatchedData
    members : sequence of Member
    criteria : mapping of str to callable
        Each gives one number, to be small, from the errors of all parts.

    Attributes
    ----------
    found : dict of str to numpy.ndarray, shape (n_members, n_parts)
        In meV/atom.
    """

    def __init__(
        self, watched: WatchedData, members: Sequence[Member], criteria: Mapping[str, Criterion]
    ) -> None:
        super().__init__(watched.data, members)
        self._parts, self._criteria = list(watched.parts.values()), dict(criteria)
        shape = (len(members), len(self._parts))
        self.found = {name: np.full(shape, np.nan) for name in criteria}
        self._least = {name: np.full(len(members), np.inf) for name in criteria}

    def _validate(self) -> list[float]:
        with np.errstate(over="ignore", invalid="ignore"):
            frames = _errors(self.data.validation, self._validation_energies())
        errors = np.stack([frames[:, rows].mean(axis=1) for rows in self._parts], axis=1)
        for row, member in enumerate(self.active):
            for name, criterion in self._criteria.items():
                value = criterion(errors[row])
                if value < self._least[name][member]:
                    self._least[name][member] = value
                    self.found[name][member] = errors[row]
        return [float(value) for value in errors[:, 0]]


def train_watched(
    watched: WatchedData, members: Sequence[Member], criteria: Mapping[str, Criterion]
) -> dict[str, np.ndarray]:
    """Train members of one shape; for each criterion the errors of all parts, NaN for those that diverged."""
    training = WatchedTraining(watched, members, criteria)
    while training.active:
        training.step()
    for errors in training.found.values():
        errors[list(training.failures)] = np.nan
    return training.found


def _errors(arrays: SplitArrays, energies_ev: np.ndarray) -> np.ndarray:
    return np.asarray(1000.0 * np.abs(energies_ev - arrays.energy) / arrays.n_atoms)


def _joined(pieces: list[SplitArrays]) -> SplitArrays:
    fields = {
        name: np.concatenate([getattr(piece, name) for piece in pieces])
        for name in (*FRAME_FIELDS, *ATOM_FIELDS)
    }
    return SplitArrays(**fields, info=[entry for piece in pieces for entry in piece.info])
