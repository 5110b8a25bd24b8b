"""Valence densities of the elements as short sums of Gaussians.

The density of element Z is ``rho_Z(r) = sum_g B_g exp(-beta_g r^2)`` with amplitudes B in e/Å³ and
exponents beta in Å⁻². The shipped table was derived for this project (see ``density_fit``) and covers
hydrogen to radon, the 56 elements of OC20 among them.
"""

from __future__ import annotations

import hashlib
import json
import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np

from hpopt_lib.errors import HpoptError

SHIPPED_TABLE = Path(__file__).with_name("element_densities.json")
TABLE_FORMAT = "hpopt-element-densities"
TABLE_VERSION = 1
_REMEDY = "restore the file from the package or make it again with `python -m hpopt_lib.gmp.density_fit`"


@dataclass(frozen=True, eq=False)
class ElementDensity:
    """Valence density of one element, ``rho(r) = sum_g amplitudes[g] * exp(-exponents[g] * r**2)``.

    Parameters
    ----------
    symbol : str
        Chemical symbol.
    number : int
        Atomic number.
    n_electrons : int
        Electrons in the density (the valence of the pseudopotential it came from).
    amplitudes : numpy.ndarray, shape (n_gaussians,)
        Amplitudes B_g in e/Å³; they may be negative.
    exponents : numpy.ndarray, shape (n_gaussians,)
        Exponents beta_g in Å⁻², ascending.
    l1_residual : float
        Integral of the absolute deviation from the density that was fitted, per electron.
    source : str
        The calculation that gave the fitted density.
    """

    symbol: str
    number: int
    n_electrons: int
    amplitudes: np.ndarray
    exponents: np.ndarray
    l1_residual: float
    source: str

    @property
    def charge(self) -> float:
        """Integral of the density over space, in electrons."""
        return float(np.sum(self.amplitudes * (math.pi / self.exponents) ** 1.5))

    def __call__(self, radius: np.ndarray | float) -> np.ndarray:
        """Density in e/Å³ at the distances `radius` (Å) from the nucleus, same shape."""
        squared = np.asarray(radius, dtype=float)[..., None] ** 2
        return np.exp(-squared * self.exponents) @ self.amplitudes


def load_densities(path: str | Path | None = None) -> dict[int, ElementDensity]:
    """Read a table of element densities.

    Parameters
    ----------
    path : path, optional
        A file in the format of the shipped table, which is read when no path is given.

    Returns
    -------
    dict
        Atomic number -> :class:`ElementDensity`.

    Raises
    ------
    HpoptError
        The file is missing, is no such table, or one of its fields is damaged.
    """
    return dict(_load_cached(SHIPPED_TABLE if path is None else Path(path)))


def table_label(densities: Mapping[int, ElementDensity]) -> str:
    """Short fingerprint of a table, stored with features so that no other table is mixed in later.

    Returns
    -------
    str
        ``"sha256:"`` and the first 12 hex digits of the digest of all amplitudes and exponents.
    """
    digest = hashlib.sha256()
    for number in sorted(densities):
        density = densities[number]
        digest.update(f"{number} {density.amplitudes.tolist()!r} {density.exponents.tolist()!r};".encode())
    return f"sha256:{digest.hexdigest()[:12]}"


@lru_cache(maxsize=1)
def shipped_label() -> str:
    """Fingerprint of the shipped table (see :func:`table_label`)."""
    return table_label(load_densities())


def require_elements(densities: Mapping[int, ElementDensity], numbers: Iterable[int]) -> None:
    """Check that every atomic number of `numbers` has a density.

    Raises
    ------
    HpoptError
        Names the elements that have none.
    """
    missing = sorted({int(number) for number in numbers} - set(densities))
    if missing:
        from ase.data import chemical_symbols

        names = ", ".join(
            f"{chemical_symbols[z]} (Z={z})" if 0 < z < len(chemical_symbols) else f"Z={z}" for z in missing
        )
        raise HpoptError(
            f"GMP features: no element density for {names}",
            remedy=f"remove these structures or use a table that has them (this one has {len(densities)})",
        )


@lru_cache(maxsize=8)
def _load_cached(path: Path) -> tuple[tuple[int, ElementDensity], ...]:
    try:
        table = json.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise HpoptError(f"{path}: cannot be read: {error.strerror or error}", remedy=_REMEDY) from error
    except (UnicodeDecodeError, json.JSONDecodeError) as error:
        raise HpoptError(f"{path}: not a JSON table of densities: {error}", remedy=_REMEDY) from error
    if not isinstance(table, dict) or table.get("format") != TABLE_FORMAT:
        raise HpoptError(f"{path}: format: not a table of element densities", remedy=_REMEDY)
    if table.get("version") != TABLE_VERSION:
        raise HpoptError(
            f"{path}: version: {table.get('version')!r} instead of {TABLE_VERSION}", remedy=_REMEDY
        )
    elements = table.get("elements")
    if not isinstance(elements, dict) or not elements:
        raise HpoptError(f"{path}: elements: no entries", remedy=_REMEDY)
    densities = [_density(path, symbol, entry) for symbol, entry in elements.items()]
    return tuple((density.number, density) for density in densities)


def _density(path: Path, symbol: str, entry: Any) -> ElementDensity:
    try:
        amplitudes = np.array(entry["amplitudes"], dtype=float)
        exponents = np.array(entry["exponents"], dtype=float)
        density = ElementDensity(
            symbol=symbol,
            number=int(entry["number"]),
            n_electrons=int(entry["n_electrons"]),
            amplitudes=amplitudes,
            exponents=exponents,
            l1_residual=float(entry["l1_residual"]),
            source=str(entry["source"]),
        )
    except KeyError as error:
        raise HpoptError(f"{path}: {symbol}: {error.args[0]} is missing", remedy=_REMEDY) from error
    except (TypeError, ValueError) as error:
        raise HpoptError(f"{path}: {symbol}: {error}", remedy=_REMEDY) from error
    if amplitudes.ndim != 1 or amplitudes.shape != exponents.shape or not amplitudes.size:
        raise HpoptError(f"{path}: {symbol}: amplitudes and exponents differ in number", remedy=_REMEDY)
    if not (np.isfinite(amplitudes).all() and np.isfinite(exponents).all() and (exponents > 0).all()):
        raise HpoptError(f"{path}: {symbol}: amplitudes or exponents are not usable numbers", remedy=_REMEDY)
    if abs(density.charge - density.n_electrons) > 1e-8:
        raise HpoptError(
            f"{path}: {symbol}: the density holds {density.charge:.10g} electrons, not {density.n_electrons}",
            remedy=_REMEDY,
        )
    amplitudes.flags.writeable = exponents.flags.writeable = False
    return density
