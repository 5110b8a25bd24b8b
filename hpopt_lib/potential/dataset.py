"""What a training needs, in memory."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch

from hpopt_lib.errors import HpoptError
from hpopt_lib.gmp.settings import GMPSettings
from hpopt_lib.references import Reference
from hpopt_lib.scaling import FeatureScaler
from hpopt_lib.store import SplitArrays, Store


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
        others = store.validation_splits()
        if not others:
            raise HpoptError(
                f"{store.path}: only the training split {store.train_split!r}",
                remedy="preprocess again with a validation file as second input",
            )
        validation = store.check_split(validation or others[0])
        if validation == store.train_split:
            raise HpoptError(
                f"--validation: {validation!r} is the training split",
                remedy=f"use one of {', '.join(others)}",
            )
        train = store.read(store.train_split)
        if n_train is not None:
            if not 2 <= n_train <= len(train):
                raise HpoptError(f"n_train: {n_train} is out of range", remedy=f"give 2 to {len(train)}")
            train = train.take(np.sort(np.random.default_rng(seed).permutation(len(train))[:n_train]))
        dtype = {"float32": torch.float32, "float64": torch.float64}[store.header["dtype"]]
        return cls(train, store.read(validation), store.settings, store.scaler, store.reference, dtype)
