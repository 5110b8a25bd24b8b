"""Settings of the Gaussian multipole features: everything that fixes what a feature column means."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, fields
from typing import Any

from hpopt_lib.errors import HpoptError
from hpopt_lib.gmp.densities import shipped_label

MAX_ORDER = 8
DEFAULT_SIGMAS = (0.2, 0.4, 0.69, 1.1, 1.66, 2.66)


@dataclass(frozen=True)
class GMPSettings:
    """Widths, orders and cutoff of the features.

    Parameters
    ----------
    sigmas : tuple of float
        Widths of the Gaussian probe in Å; kept in ascending order.
    max_order : int
        Angular orders 0..max_order are used, at most 8.
    cutoff : float
        Radius in Å beyond which atoms do not contribute.
    smooth_cutoff : bool
        Switch contributions off smoothly over the last fifth of the cutoff (see
        :func:`hpopt_lib.gmp.radial.smooth_switch`); False gives the sharp step of other GMP codes.
    densities : str
        Fingerprint of the table of element densities, by default that of the shipped table.

    Raises
    ------
    HpoptError
        A value is out of range.

    Examples
    --------
    >>> settings = GMPSettings(sigmas=(0.69, 1.1), max_order=1, cutoff=6.0)
    >>> settings.feature_names()
    ['l0_sigma0.69', 'l0_sigma1.1', 'l1_sigma0.69', 'l1_sigma1.1']
    """

    sigmas: tuple[float, ...] = DEFAULT_SIGMAS
    max_order: int = 3
    cutoff: float = 6.0
    smooth_cutoff: bool = True
    densities: str = field(default_factory=shipped_label)

    def __post_init__(self) -> None:
        try:
            sigmas = tuple(sorted(float(sigma) for sigma in self.sigmas))
            cutoff = float(self.cutoff)
        except (TypeError, ValueError) as error:
            raise HpoptError(f"GMP settings: {error}", remedy="give numbers in Å") from error
        if not sigmas or not all(math.isfinite(s) and s > 0.0 for s in sigmas):
            raise HpoptError(
                f"GMP settings: sigmas: {sigmas}", remedy="give at least one positive width in Å"
            )
        if len(set(sigmas)) != len(sigmas):
            raise HpoptError(f"GMP settings: sigmas: {sigmas} repeats a width", remedy="list each width once")
        if isinstance(self.max_order, bool) or not isinstance(self.max_order, int):
            raise HpoptError(f"GMP settings: max_order: {self.max_order!r}", remedy="give a whole number")
        if not 0 <= self.max_order <= MAX_ORDER:
            raise HpoptError(f"GMP settings: max_order: {self.max_order}", remedy=f"choose 0 to {MAX_ORDER}")
        if not (math.isfinite(cutoff) and cutoff > 0):
            raise HpoptError(f"GMP settings: cutoff: {cutoff}", remedy="give a positive radius in Å")
        if not isinstance(self.smooth_cutoff, bool):
            raise HpoptError(
                f"GMP settings: smooth_cutoff: {self.smooth_cutoff!r}", remedy="give true or false"
            )
        object.__setattr__(self, "sigmas", sigmas)
        object.__setattr__(self, "cutoff", cutoff)

    @property
    def num_features(self) -> int:
        """Number of feature columns, ``len(sigmas) * (max_order + 1)``."""
        return len(self.sigmas) * (self.max_order + 1)

    def feature_names(self) -> list[str]:
        """Column names such as ``l2_sigma0.69``: order ascending, then sigma ascending."""
        return [f"l{order}_sigma{sigma:g}" for order in range(self.max_order + 1) for sigma in self.sigmas]

    def to_dict(self) -> dict[str, Any]:
        """The settings as JSON-able values, read back by :meth:`from_dict`."""
        return {**asdict(self), "sigmas": list(self.sigmas)}

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> GMPSettings:
        """Make settings from a dictionary.

        Raises
        ------
        HpoptError
            A key is unknown or a value is out of range.
        """
        known = {f.name for f in fields(cls)}
        unknown = sorted(set(values) - known)
        if unknown:
            raise HpoptError(
                f"GMP settings: unknown key {', '.join(map(repr, unknown))}",
                remedy=f"known keys are {', '.join(sorted(known))}",
            )
        return cls(**values)
