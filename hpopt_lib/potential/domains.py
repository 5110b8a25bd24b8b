"""Trainings that are validated on several splits at once, their errors combined into one."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import Any

import numpy as np

from hpopt_lib.potential.batches import split_error
from hpopt_lib.potential.dataset import Dataset
from hpopt_lib.potential.settings import TrainSettings
from hpopt_lib.potential.training import OBJECTIVE, Training
from hpopt_lib.store import SplitArrays

#: Name of the validation error in a training's records; ``NAME/SPLIT`` is that of one domain.
ERROR = f"validation_{OBJECTIVE}"


class DomainTraining(Training):
    """A training whose validation error combines those of several splits.

    The best epoch, early stopping and pruning go by the combined error; the history has that of each
    split too.

    Parameters
    ----------
    data : Dataset
        Its validation split is the first domain.
    settings : TrainSettings
    seed : int
    device : str
    first : str
        Name of the first domain.
    others : mapping of str to SplitArrays
        The other domains.
    combine : callable
        Gives one number, to be small, from the errors of the domains in meV/atom.

    Examples
    --------
    >>> training = DomainTraining(
    ...     data, settings, seed=0, first="val_id", others={"val_ood": arrays}, combine=np.max
    ... )  # doctest: +SKIP
    """

    def __init__(
        self,
        data: Dataset,
        settings: TrainSettings,
        *,
        seed: int,
        device: str = "cpu",
        first: str,
        others: Mapping[str, SplitArrays],
        combine: Callable[[Any], Any],
    ) -> None:
        super().__init__(data, settings, seed=seed, device=device)
        self._first, self._combine = first, combine
        self._others = {name: (self.potential.prepare(arrays), arrays) for name, arrays in others.items()}

    def validate(self) -> dict[str, float]:
        """The combined error, and that of each domain under ``NAME/SPLIT``."""
        errors = {self._first: super().validate()[ERROR]}
        for name, (prepared, arrays) in self._others.items():
            errors[name] = split_error(self.potential, prepared, arrays)
        combined = float(self._combine(np.array(list(errors.values()))))
        return {ERROR: combined, **{f"{ERROR}/{name}": error for name, error in errors.items()}}


def domain_errors(history: Iterable[Mapping[str, float]], epoch: int) -> dict[str, float]:
    """Error of each domain after an epoch (from 1) in meV/atom; empty when there was one domain only."""
    record = next(record for record in history if int(record["epoch"]) == epoch)
    return {
        name.removeprefix(f"{ERROR}/"): value
        for name, value in record.items()
        if name.startswith(f"{ERROR}/")
    }
