"""A grid of hyperparameters whose every point was trained in full with several seeds, to be looked up."""

from __future__ import annotations

import itertools
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from hpopt_lib.archives import check_format, reading_archive, with_prefix, write_archive
from hpopt_lib.errors import HpoptError

FORMAT, VERSION = "hpopt-trial-table", 1
_TEXTS = ("grid", "fixed", "seeds", "metric", "baselines", "origin")


@dataclass
class TrialTable:
    """Learning curves and errors of all points of a grid.

    With it hundreds of studies can be replayed in seconds: a trial looks its learning curve up
    instead of training.

    Attributes
    ----------
    grid : dict of str to list
        Values of each hyperparameter; the last one changes fastest from point to point.
    fixed : dict
        Hyperparameters that all points share.
    seeds : list of int
        Of the trainings.
    metric : str
        What curves and errors are, with its unit.
    curves : numpy.ndarray of float32, shape (n_points, n_seeds, n_epochs)
        Validation error after each epoch; NaN from the epoch on in which a training diverged.
    errors : dict of str to numpy.ndarray, shape (n_points, n_seeds)
        For each split the error of the best epoch's weights, best on the first split; NaN if diverged.
    epoch_seconds : numpy.ndarray, shape (n_points,)
        Wall time of an epoch, trained alone on one thread.
    baselines : dict of str to dict of str to float
        For each split the errors of ``median`` and ``linear``.
    origin : dict
        Command, commit, date, hardware, versions, wall and CPU time of the recording.
    """

    grid: dict[str, list[Any]]
    fixed: dict[str, Any]
    seeds: list[int]
    metric: str
    curves: np.ndarray
    errors: dict[str, np.ndarray]
    epoch_seconds: np.ndarray
    baselines: dict[str, dict[str, float]] = field(default_factory=dict)
    origin: dict[str, Any] = field(default_factory=dict)

    def __len__(self) -> int:
        return len(self.curves)

    @property
    def n_epochs(self) -> int:
        """Epochs of each training."""
        return int(self.curves.shape[2])

    @property
    def validation(self) -> str:
        """The split of the curves."""
        return next(iter(self.errors))

    def points(self) -> list[dict[str, Any]]:
        """Hyperparameters of all points, in their order."""
        return grid_points(self.grid)

    def index(self, params: Mapping[str, Any]) -> int:
        """Place of a point.

        Parameters
        ----------
        params : mapping
            A value of each of the grid's hyperparameters.

        Raises
        ------
        HpoptError
            For a value that is not on the grid.
        """
        places = []
        for name, values in self.grid.items():
            if params.get(name) not in values:
                raise HpoptError(
                    f"{name}: {params.get(name)!r} is not in the table",
                    remedy=f"use one of {', '.join(map(str, values))}",
                )
            places.append(values.index(params[name]))
        return int(np.ravel_multi_index(places, [len(values) for values in self.grid.values()]))

    def save(self, path: str | Path, *, overwrite: bool = False) -> Path:
        """Write a NumPy archive of plain arrays and one JSON text."""
        header = {
            "format": FORMAT,
            "version": VERSION,
            **{
                key: getattr(self, key) for key in ("grid", "fixed", "seeds", "metric", "baselines", "origin")
            },
        }
        arrays = {f"errors/{split}": values for split, values in self.errors.items()}
        arrays |= {"curves": self.curves, "epoch_seconds": self.epoch_seconds}
        return write_archive(path, header, arrays, overwrite=overwrite, compressed=True)

    @classmethod
    def load(cls, path: str | Path) -> TrialTable:
        """Read a table that `save` wrote.

        Raises
        ------
        HpoptError
            When the file is missing, damaged or of another kind.
        """
        with reading_archive(
            path, what="a table of trials", noun="table", remedy="record or copy it again", reason=True
        ) as (header, arrays):
            check_format(header, FORMAT, VERSION)
            texts = {key: value for key, value in header.items() if key not in ("format", "version")}
            curves, seconds = arrays["curves"], arrays["epoch_seconds"]
            errors = with_prefix(arrays, "errors/")
            table = cls(**texts, curves=curves, errors=errors, epoch_seconds=seconds)
        n_points = len(grid_points(table.grid))
        if table.curves.shape[:2] != (n_points, len(table.seeds)):
            raise HpoptError(f"{path}: curves: do not fit the grid", remedy="record the table again")
        return table


def grid_points(grid: Mapping[str, list[Any]]) -> list[dict[str, Any]]:
    """All combinations of some values, the last hyperparameter changing fastest."""
    return [dict(zip(grid, values)) for values in itertools.product(*grid.values())]
