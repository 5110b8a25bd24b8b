"""Goedecker-Teter-Hutter (GTH) pseudopotentials from the tables bundled with PySCF, on a radial grid.

Everything is in atomic units (bohr, hartree). Form: S. Goedecker, M. Teter, J. Hutter, Phys. Rev. B 54,
1703 (1996); parameters for PBE as PySCF (optional extra ``densities``) bundles them from CP2K.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from scipy.special import erf

from hpopt_lib.errors import HpoptError

#: Radii of the grid in bohr.
RADII = np.exp(np.linspace(math.log(1e-4), math.log(40.0), 1600))
STEP = math.log(RADII[1] / RADII[0])
#: Weights in r of the trapezoidal rule in ln r, in bohr.
WEIGHTS = RADII * STEP
WEIGHTS[[0, -1]] *= 0.5
#: Weights that integrate a spherical function over space, in bohr³.
SHELL = 4.0 * math.pi * RADII**2 * WEIGHTS

# Electrons per angular momentum (s, p, d, f) of the cores that pseudopotentials remove.
_CORES = (
    (0, 0, 0, 0), (2, 0, 0, 0), (4, 6, 0, 0), (6, 12, 0, 0), (6, 12, 10, 0), (8, 18, 10, 0),
    (8, 18, 20, 0), (8, 18, 20, 14), (10, 24, 20, 0), (10, 24, 20, 14), (10, 24, 30, 14),
)  # fmt: skip


@dataclass(frozen=True)
class Projector:
    """Separable part of a pseudopotential for one angular momentum: radius (bohr) and matrix h (hartree)."""

    radius: float
    coupling: np.ndarray


@dataclass(frozen=True)
class Potential:
    """A GTH pseudopotential; without coefficients and projectors it is a bare, slightly blurred nucleus."""

    symbol: str
    charge: int
    radius: float
    occupations: tuple[float, ...]
    coefficients: tuple[float, ...] = ()
    projectors: tuple[Projector, ...] = ()
    name: str = ""

    def local(self) -> np.ndarray:
        """Local part on the grid, in hartree."""
        scaled = RADII / self.radius
        polynomial = sum(c * scaled ** (2 * k) for k, c in enumerate(self.coefficients))
        return -self.charge / RADII * erf(scaled / math.sqrt(2)) + np.exp(-0.5 * scaled**2) * polynomial


def require_pyscf() -> str:
    """Version of PySCF.

    Raises
    ------
    HpoptError
        PySCF is not installed.
    """
    try:
        import pyscf
    except ImportError as error:
        raise HpoptError("element densities: PySCF is not installed", remedy="pip install pyscf") from error
    return str(pyscf.__version__)


def load_potential(symbol: str, *, semicore_electrons: int | None = None) -> Potential:
    """A pseudopotential from the tables bundled with PySCF.

    Parameters
    ----------
    symbol : str
        Chemical symbol.
    semicore_electrons : int, optional
        Take the potential with this many electrons from the table of the University of Zurich
        (``POTENTIAL_UZH``, as distributed with CP2K) instead of the default GTH-PBE potential.

    Raises
    ------
    HpoptError
        PySCF is not installed, or the tables have no such potential.
    """
    require_pyscf()
    from pyscf.data.elements import CONFIGURATION, charge
    from pyscf.gto.basis import parse_cp2k_pp
    from pyscf.lib.exceptions import BasisNotFoundError
    from pyscf.pbc.gto import pseudo

    try:
        if semicore_electrons is None:
            name = "GTH-PBE"
            entry = pseudo.load("gth-pbe", symbol)
        else:
            name = f"UZH GTH-PBE-q{semicore_electrons}"
            entry = parse_cp2k_pp.parse(_uzh_block(symbol, semicore_electrons))
    except (BasisNotFoundError, KeyError) as error:
        raise HpoptError(
            f"element densities: {symbol}: no {name} potential", remedy="choose another"
        ) from error
    valence = int(sum(entry[0]))
    removed = next((core for core in _CORES if sum(core) == charge(symbol) - valence), None)
    if removed is None:
        raise HpoptError(f"element densities: {symbol}: no closed core leaves {valence} electrons")
    shells = tuple(float(n - c) for n, c in zip(CONFIGURATION[charge(symbol)], removed))
    return Potential(
        symbol=symbol,
        charge=valence,
        radius=float(entry[1]),
        occupations=shells,
        coefficients=tuple(entry[3]),
        projectors=tuple(Projector(r, np.array(h, dtype=float).reshape(n, n)) for r, n, h in entry[5:]),
        name=name,
    )


def _uzh_block(symbol: str, electrons: int) -> str:
    """The lines of one potential in PySCF's copy of POTENTIAL_UZH."""
    from importlib.resources import files

    lines = (files("pyscf.pbc.gto.pseudo") / "POTENTIAL_UZH").read_text(encoding="utf-8").splitlines()
    wanted = [symbol, f"GTH-PBE-q{electrons}"]
    start = next((k for k, line in enumerate(lines) if line.split()[:2] == wanted), None)
    if start is None:
        raise KeyError(symbol)
    block = [lines[start]]
    for line in lines[start + 1 :]:
        if line.startswith("#") or (line[:1].isalpha()):
            break
        block.append(line)
    return "\n".join(block)
