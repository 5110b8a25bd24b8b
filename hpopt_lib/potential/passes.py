"""Numbers that passes over a split give in memory that does not grow with it."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass

import numpy as np

from hpopt_lib.store import Blocks

#: So many values are kept, and not counted in several passes.
KEPT_VALUES = 2**20


@dataclass
class RunningSpread:
    """Mean and spread of values that come in parts (Chan, Golub and LeVeque 1983)."""

    count: int = 0
    mean: float = 0.0
    sum_squares: float = 0.0

    def update(self, values: np.ndarray) -> None:
        """Take in some values."""
        if not len(values):
            return
        mean, total = float(values.mean()), self.count + len(values)
        delta = mean - self.mean
        self.sum_squares += float(((values - mean) ** 2).sum())
        self.sum_squares += delta**2 * self.count * len(values) / total
        self.mean += delta * len(values) / total
        self.count = total

    @property
    def std(self) -> float:
        """Standard deviation, as `numpy.std` gives it."""
        return float(np.sqrt(self.sum_squares / max(self.count, 1)))


def train_median_ev_per_atom(blocks: Blocks) -> float:
    """Median energy per atom of a split, the baseline of `hpopt_lib.references.median_baseline`."""

    def energies() -> Iterable[np.ndarray]:
        for arrays in blocks.copies(("energy", "n_atoms")):
            yield arrays["energy"] / arrays["n_atoms"]

    return streamed_median(energies, blocks.n_frames)


def streamed_median(
    values: Callable[[], Iterable[np.ndarray]], count: int, *, kept: int = KEPT_VALUES
) -> float:
    """Exact median of values that do not fit into memory.

    Up to `kept` values are kept. Of more, the 64 bits of the median are found 16 at a time, by counting in
    four passes (radix selection).

    Parameters
    ----------
    values : callable
        Gives all values, part after part, each time it is called: finite float64 arrays.
    count : int
        Number of the values.
    """
    if count <= kept:
        return float(np.median(np.concatenate(list(values()))))
    ranks = [(count - 1) // 2, count // 2]
    prefixes = [0, 0]
    for shift in (48, 32, 16, 0):
        counts = np.zeros((2, 65536), dtype=np.int64)
        for part in values():
            keys = _ordered(part)
            for which, prefix in enumerate(prefixes):
                inside = keys if shift == 48 else keys[keys >> np.uint64(shift + 16) == prefix]
                np.add.at(counts[which], (inside >> np.uint64(shift)).astype(np.int64) & 0xFFFF, 1)
        for which in (0, 1):
            below = np.cumsum(counts[which])
            digit = int(np.searchsorted(below, ranks[which], side="right"))
            ranks[which] -= int(below[digit] - counts[which][digit])
            prefixes[which] = prefixes[which] << 16 | digit
    return float(np.mean(_values(np.array(prefixes, dtype=np.uint64))))


_SIGN = np.uint64(1 << 63)


def _ordered(values: np.ndarray) -> np.ndarray:
    """Whole numbers in the order of the finite floats that they stand for."""
    bits = (np.asarray(values, dtype=np.float64) + 0.0).view(np.uint64)
    return np.where(bits & _SIGN, ~bits, bits | _SIGN)


def _values(keys: np.ndarray) -> np.ndarray:
    return np.where(keys & _SIGN, keys & ~_SIGN, ~keys).view(np.float64)
