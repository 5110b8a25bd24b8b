"""Random settings, each trained in full on every division by every rule, to be looked up."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from hpopt_lib.archives import check_format, reading_archive, with_prefix, write_archive
from hpopt_lib.errors import HpoptError

FORMAT, VERSION = "hpopt-split-table", 1
_TEXTS = ("configs", "fixed", "divisions", "splits", "baselines", "origin")


@dataclass
class SplitTable:
    """Errors of all settings on the parts of all divisions.

    Attributes
    ----------
    configs : list of dict
        Hyperparameters that differ.
    fixed : dict
        Those that all share.
    divisions : list of int
        Numbers of the divisions, see `hpopt_lib.experiments.split_divisions`.
    splits : list of str
        Validation splits of the store.
    errors : dict of str to numpy.ndarray of float16, shape (n_divisions, n_configs)
        Energy MAE in meV/atom under ``RULE/CRITERION/PART``: the division's rule, what the best epoch was
        best by, and what the error is of. NaN if diverged.
    microseconds_per_atom : numpy.ndarray, shape (n_configs,)
        Of the network alone, on one thread.
    baselines : dict of str to dict of str to list of float
        Under ``RULE/PART`` the errors of ``median`` and ``linear`` on each division.
    origin : dict
        Command, commit, date, hardware, versions, wall and CPU time of the recording.
    """

    configs: list[dict[str, Any]]
    fixed: dict[str, Any]
    divisions: list[int]
    splits: list[str]
    errors: dict[str, np.ndarray]
    microseconds_per_atom: np.ndarray
    baselines: dict[str, dict[str, list[float]]] = field(default_factory=dict)
    origin: dict[str, Any] = field(default_factory=dict)

    def __len__(self) -> int:
        return len(self.configs)

    def get(self, rule: str, criterion: str, part: str) -> np.ndarray:
        """Errors as float64, shape (n_divisions, n_configs); infinite where a training diverged."""
        found = self.errors[f"{rule}/{criterion}/{part}"].astype(float)
        return np.where(np.isfinite(found), found, np.inf)

    def save(self, path: str | Path, *, overwrite: bool = False) -> Path:
        """Write a NumPy archive of plain arrays and one JSON text."""
        header = {"format": FORMAT, "version": VERSION, **{key: getattr(self, key) for key in _TEXTS}}
        arrays = {f"errors/{name}": values for name, values in self.errors.items()}
        arrays["microseconds_per_atom"] = self.microseconds_per_atom
        return write_archive(path, header, arrays, overwrite=overwrite, compressed=True)

    @classmethod
    def load(cls, path: str | Path) -> SplitTable:
        """Read a table that `save` wrote.

        Raises
        ------
        HpoptError
            When the file is missing, damaged or of another kind.
        """
        with reading_archive(
            path, what="a table of splits", noun="table", remedy="record or copy it again", reason=True
        ) as (header, arrays):
            check_format(header, FORMAT, VERSION)
            texts = {key: value for key, value in header.items() if key not in ("format", "version")}
            errors, times = with_prefix(arrays, "errors/"), arrays["microseconds_per_atom"]
            table = cls(**texts, errors=errors, microseconds_per_atom=times)
        shape = (len(table.divisions), len(table.configs))
        if any(values.shape != shape for values in errors.values()):
            raise HpoptError(f"{path}: errors: do not fit the settings", remedy="record the table again")
        return table


def draw_configs(
    shapes: Mapping[str, list[Any]], ranges: Mapping[str, tuple[float, float]], n: int, *, seed: int
) -> list[dict[str, Any]]:
    """Random settings: all combinations of some values about equally often, the rest log-uniform.

    Parameters
    ----------
    shapes : mapping of str to list
        What fixes the shape of a network; those of one shape can be trained at once.
    ranges : mapping of str to (low, high)
    n, seed : int
    """
    from hpopt_lib.experiments.trial_table import grid_points

    rng, points = np.random.default_rng(seed), grid_points(shapes)
    places = rng.permutation([k % len(points) for k in range(n)])
    return [
        {
            **points[place],
            **{
                name: float(f"{np.exp(rng.uniform(np.log(low), np.log(high))):.4g}")
                for name, (low, high) in ranges.items()
            },
        }
        for place in places
    ]
