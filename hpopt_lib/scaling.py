"""Standardisation of features, fitted on training frames only."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from hpopt_lib.errors import HpoptError

#: Slope at zero of the logarithmic transform: features of wide probes are of order 0.01 to 1.
LOG_SLOPE = 50.0
TRANSFORMS = ("log", "none")
#: A column whose spread is below this share of the largest column's magnitude holds round-off only.
CONSTANT_SPREAD = 1e-10


def transform(features: np.ndarray, kind: str) -> np.ndarray:
    """Compress features that span orders of magnitude.

    Parameters
    ----------
    features : numpy.ndarray, shape (n_atoms, n_features)
    kind : {"log", "none"}
        ``"log"``: ``sign(x) ln(1 + 50 |x|)``, an odd and monotonic function.

    Raises
    ------
    HpoptError
        For another `kind`.
    """
    if kind == "none":
        return features
    if kind == "log":
        return np.sign(features) * np.log1p(LOG_SLOPE * np.abs(features))
    raise HpoptError(f"feature transform {kind!r} is unknown", remedy=f"use one of {', '.join(TRANSFORMS)}")


@dataclass
class FeatureScaler:
    """Mean and spread of transformed features, gathered in one pass.

    Attributes
    ----------
    kind : str
        The `transform` applied before standardising.
    count : int
        Number of atoms seen.
    mean, sum_squares : numpy.ndarray, shape (n_features,)
        Running mean and sum of squared deviations (Chan, Golub and LeVeque 1983).
    magnitude : float
        Largest magnitude among columns that `select` left out: what counts as round-off does
        not depend on the selection.
    """

    kind: str
    count: int
    mean: np.ndarray
    sum_squares: np.ndarray
    magnitude: float = 0.0

    @classmethod
    def empty(cls, n_features: int, *, kind: str = "log") -> FeatureScaler:
        """A scaler that has seen nothing."""
        return cls(kind, 0, np.zeros(n_features), np.zeros(n_features))

    def update(self, features: np.ndarray) -> None:
        """Take in the raw features of some atoms, shape (n_atoms, n_features)."""
        values = transform(np.asarray(features, dtype=float), self.kind)
        if not len(values):
            return
        mean = values.mean(axis=0)
        delta, total = mean - self.mean, self.count + len(values)
        self.sum_squares += ((values - mean) ** 2).sum(axis=0) + delta**2 * (self.count * len(values) / total)
        self.mean += delta * (len(values) / total)
        self.count = total

    @property
    def std(self) -> np.ndarray:
        """Standard deviation of each column; 1 for constant columns, which then become 0."""
        std = np.sqrt(self.sum_squares / max(self.count, 1))
        return np.where(self.constant, 1.0, std)

    @property
    def constant(self) -> np.ndarray:
        """Which columns are the same for every atom seen, up to round-off."""
        std = np.sqrt(self.sum_squares / max(self.count, 1))
        return std <= CONSTANT_SPREAD * max(self._largest(), 1e-300)

    def _largest(self) -> float:
        return max(self.magnitude, float(np.abs(self.mean).max(initial=0.0)))

    def __call__(self, features: np.ndarray) -> np.ndarray:
        """Standardised features of the same shape; a constant column gives zeros."""
        scaled = (transform(np.asarray(features, dtype=float), self.kind) - self.mean) / self.std
        scaled[:, self.constant] = 0.0
        return scaled

    def slope(self, features: np.ndarray) -> np.ndarray:
        """Derivative of the standardised features with respect to the raw ones, of the same shape.

        Where a raw feature is zero the logarithm has a kink; there a norm is constant, so that only its own
        derivative, zero, counts.
        """
        values = np.asarray(features, dtype=float)
        steep = LOG_SLOPE / (1.0 + LOG_SLOPE * np.abs(values)) if self.kind == "log" else np.ones_like(values)
        return np.where(self.constant, 0.0, steep / self.std)

    def to_dict(self) -> dict:
        """Settings and numbers for a JSON header."""
        return {
            "kind": self.kind,
            "count": self.count,
            "mean": self.mean.tolist(),
            "sum_squares": self.sum_squares.tolist(),
        }

    @classmethod
    def from_dict(cls, data: dict) -> FeatureScaler:
        """Inverse of `to_dict`."""
        return cls(data["kind"], int(data["count"]), np.array(data["mean"]), np.array(data["sum_squares"]))

    def select(self, columns: np.ndarray) -> FeatureScaler:
        """The scaler of some columns only."""
        return FeatureScaler(
            self.kind, self.count, self.mean[columns], self.sum_squares[columns], self._largest()
        )
