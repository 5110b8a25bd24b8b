"""What trains the potentials of a study: this package's own network, or AMPtorch."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from hpopt_lib.errors import HpoptError

if TYPE_CHECKING:
    from hpopt_lib.potential.dataset import Dataset
    from hpopt_lib.store import SplitArrays, Store
    from hpopt_lib.tuning.space import SearchSpace

DEFAULT = "hpopt"
BACKENDS = (DEFAULT, "amptorch")


@dataclass(frozen=True)
class TrainingBackend:
    """The parts of a study that depend on its backend.

    Attributes
    ----------
    name : str
    training : callable or None
        Makes a training from a data set, settings, ``seed`` and ``device``, with the methods of
        `hpopt_lib.potential.training.Training`; None means that class itself.
    read : callable or None
        Reads a whole split with the features that the potentials take; None for those of the store.
    dataset : callable
        Gives a data set, its store and the name of the validation split the same features.
    load : callable
        Reads a saved potential.
    check_space : callable
        Raises when a search space holds what the backend does not have.
    forces : bool
        Whether forces can be evaluated on the frames of a store.
    streams : bool
        Whether it can train on frames that do not fit into memory.
    space : Path or None
        Search space that is used when none is named; None for the package's default.
    """

    name: str
    training: Callable[..., Any] | None
    read: Callable[[Store, str], SplitArrays] | None
    dataset: Callable[[Dataset, Store, str], Dataset]
    load: Callable[[Path], Any]
    check_space: Callable[[SearchSpace], None]
    forces: bool = True
    streams: bool = True
    space: Path | None = None


def training_backend(name: str) -> TrainingBackend:
    """A backend by its name.

    Raises
    ------
    HpoptError
        For an unknown name, or when AMPtorch is not installed.
    """
    if name == DEFAULT:
        from hpopt_lib.potential.model import Potential

        return TrainingBackend(
            name,
            training=None,
            read=None,
            dataset=lambda data, store, validation: data,
            load=Potential.load,
            check_space=lambda space: None,
        )
    if name == "amptorch":
        from hpopt_lib.amptorch import compat, features, recipe
        from hpopt_lib.amptorch.potential import AmptorchPotential
        from hpopt_lib.amptorch.training import AmptorchTraining

        compat.require()
        return TrainingBackend(
            name,
            training=AmptorchTraining,
            read=features.upstream_split,
            dataset=features.upstream_dataset,
            load=AmptorchPotential.load,
            check_space=recipe.check_space,
            forces=False,
            streams=False,
            space=recipe.DEFAULT_SPACE,
        )
    raise HpoptError(f"--backend: {name!r} is unknown", remedy=f"use {' or '.join(BACKENDS)}")
