"""What a training needs, in memory."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch

from hpopt_lib.errors import HpoptError
from hpopt_lib.gmp.settings import GMPSettings
from hpopt_lib.metrics import energy_metrics
from hpopt_lib.potential.batches import MemoryBatches
from hpopt_lib.potential.evaluation import HEADLINE, baseline_energies
from hpopt_lib.potential.forces import FORCE_ERROR, force_scores, predict_forces
from hpopt_lib.potential.model import Potential
from hpopt_lib.references import Reference
from hpopt_lib.scaling import FeatureScaler
from hpopt_lib.store import SplitArrays, Store, read_frames

#: Frames that the references explain fully leave no spread to divide by.
LEAST_SPREAD_EV_PER_ATOM = 1e-6


@dataclass
class Dataset:
    """What a training needs, in memory: two splits and what was fitted on the first.

    Memory is about ``n_atoms_total * n_features`` numbers for each split; the arrays are
    shared by all trainings of a process.
    """

    train: SplitArrays
    validation: SplitArrays
    gmp: GMPSettings
    scaler: FeatureScaler
    reference: Reference
    dtype: torch.dtype = torch.float32

    @classmethod
    def from_store(
        cls, store: Store, *, validation: str | None = None, n_train: int | None = None, seed: int = 0
    ):
        """Load the training split and one validation split.

        Parameters
        ----------
        store : Store
        validation : str, optional
            Name of the validation split; the store's second split by default.
        n_train : int, optional
            Use only so many training frames, drawn at random; the scaler and the references
            stay those of the whole training split.
        seed : int
            Of that draw.

        Raises
        ------
        HpoptError
            When the store has no validation split, or too few frames.
        """
        validation = validation_split(store, validation)
        if n_train is None:
            train = store.read(store.train_split)
        else:
            train = read_frames(store, store.train_split, drawn_frames(store, n_train, seed))
        return cls(
            train, store.read(validation), store.settings, store.scaler, store.reference, dtype_of(store)
        )

    @property
    def largest_frame(self) -> int:
        """Atoms of the largest training frame."""
        return int(self.train.n_atoms.max())

    def residuals_ev_per_atom(self) -> np.ndarray:
        """What the references leave of each training frame's energy, shape (n_frames,)."""
        known = self.reference.of_frames(self.train.numbers, self.train.n_atoms, self.train.info)
        return (self.train.energy - known) / self.train.n_atoms.astype(np.int64)

    def residual_spread_ev_per_atom(self) -> float:
        """Standard deviation of the residuals of the training frames, at least `LEAST_SPREAD_EV_PER_ATOM`."""
        return max(float(np.std(self.residuals_ev_per_atom())), LEAST_SPREAD_EV_PER_ATOM)

    def batches(self, potential: Potential) -> MemoryBatches:
        """The batches of one training."""
        return MemoryBatches(self, potential)

    def validation_errors(self, potential: Potential) -> dict[str, float]:
        """Mean errors of a potential and of both baselines on the validation split.

        After a training on forces also that of the forces.
        """
        split = self.validation
        predicted = potential.predict(split)
        metrics = energy_metrics(split.energy, predicted, split.n_atoms)
        errors = {name: metrics[name] for name in (HEADLINE, "energy_mae_ev")}
        for name, energies in baseline_energies(self.train, self.reference, split).items():
            errors[f"{name}_{HEADLINE}"] = energy_metrics(split.energy, energies, split.n_atoms)[HEADLINE]
        if potential.settings.force_weight > 0:
            forces = predict_forces(potential, split)
            errors[FORCE_ERROR] = force_scores(split, predicted, forces)[FORCE_ERROR]
        return errors


def dtype_of(store: Store) -> torch.dtype:
    """Type of the numbers that a network computes with: that of the stored features."""
    return {"float32": torch.float32, "float64": torch.float64}[store.header["dtype"]]


def drawn_frames(store: Store, n_train: int, seed: int) -> np.ndarray:
    """Sorted numbers of `n_train` training frames that are drawn at random.

    Raises
    ------
    HpoptError
        When there are not so many.
    """
    n_frames = store.header["splits"][store.train_split]["n_frames"]
    if not 2 <= n_train <= n_frames:
        raise HpoptError(f"n_train: {n_train} is out of range", remedy=f"give 2 to {n_frames}")
    return np.sort(np.random.default_rng(seed).permutation(n_frames)[:n_train])


def validation_split(store: Store, name: str | None = None) -> str:
    """The validation split `name`, or the store's second split.

    Raises
    ------
    HpoptError
        When there is none, or `name` is the training split.
    """
    others = store.validation_splits()
    if not others:
        raise HpoptError(
            f"{store.path}: only the training split {store.train_split!r}",
            remedy="preprocess again with a validation file as second input",
        )
    name = store.check_split(name or others[0])
    if name == store.train_split:
        raise HpoptError(
            f"--validation: {name!r} is the training split", remedy=f"use one of {', '.join(others)}"
        )
    return name
