"""Make the table of element densities: PBE atoms fitted by a few Gaussians with the exact charge.

Run ``python -m hpopt_lib.gmp.density_fit --out element_densities.json`` (needs PySCF, extra ``densities``).
"""

from __future__ import annotations

import argparse
import json
import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from ase.data import atomic_numbers
from ase.units import Bohr
from scipy.optimize import least_squares

from hpopt_lib.errors import HpoptError
from hpopt_lib.files import atomic_path
from hpopt_lib.gmp.atoms_pbe import solve_atom
from hpopt_lib.gmp.densities import TABLE_FORMAT, TABLE_VERSION
from hpopt_lib.gmp.gth_potentials import RADII, SHELL, Potential, load_potential, require_pyscf
from hpopt_lib.progress import progress, say

_OC20 = """
H B C N O Na Al Si P S Cl K Ca Sc Ti V Cr Mn Fe Co Ni Cu Zn Ga Ge As Se Rb Sr Y Zr Nb Mo Tc Ru Rh Pd Ag Cd
In Sn Sb Te Cs Hf Ta W Re Os Ir Pt Au Hg Tl Pb Bi
"""
_OTHER = "He Li Be F Ne Mg Ar Br Kr I Xe Ba La Ce Pr Nd Pm Sm Eu Gd Tb Dy Ho Er Tm Yb Lu Po At Rn"
OC20_ELEMENTS = tuple(_OC20.split())
#: Elements with a GTH-PBE potential that OC20 does not use; with those of OC20 all of H to Rn.
OTHER_ELEMENTS = tuple(_OTHER.split())
ALL_ELEMENTS = OC20_ELEMENTS + OTHER_ELEMENTS
LANTHANIDES = OTHER_ELEMENTS[13:27]  # Ce to Lu
# With their outer core shells these elements get distinct densities: with the valence alone Si and Ge, Sn and
# Pb, Sb and Bi would look nearly the same to the features.
SEMICORE_ELECTRONS = {
    "Cu": 19, "Zn": 20, "Ga": 13, "Ge": 14, "As": 15, "Se": 16, "Ag": 19, "Cd": 20, "In": 13,
    "Sn": 14, "Sb": 15, "Te": 16, "Au": 19, "Hg": 20, "Tl": 13, "Pb": 14, "Bi": 15,
    "Br": 17, "Kr": 18, "I": 17, "Xe": 18, "Po": 16, "At": 17, "Rn": 18,
}  # fmt: skip
GAUSSIANS = (4, 5, 6)
# A compact 4f shell inside 5s, 5p and 6s takes more Gaussians to follow.
GAUSSIANS_LANTHANIDES = (6, 7, 8)
SMALLEST_RATIO = 1.35
EXPONENT_RANGE = (0.03, 40.0)  # bohr⁻²
TARGET_L1 = 0.01
_ALUMINIUM_SMOOTHING = 0.35  # bohr


@dataclass(frozen=True)
class DensityFit:
    """Gaussians fitted to a density, in atomic units, with ``l1 = integral |difference| / electrons``."""

    amplitudes: np.ndarray
    exponents: np.ndarray
    l1_residual: float


def fit_density(
    density: np.ndarray, electrons: int, n_gaussians: int, *, starts: int = 32, seed: int = 0
) -> DensityFit:
    """Fit a spherical density by Gaussians that hold exactly its electrons.

    Variable projection: the exponents are searched from several starts, the amplitudes follow from linear
    least squares in space with the charge as a constraint. Of the minima found the one with the smallest
    L1 residual is returned.

    Parameters
    ----------
    density : numpy.ndarray
        Electrons per bohr³ on :data:`hpopt_lib.gmp.gth_potentials.RADII`.
    electrons : int
        Charge that the fit must hold.
    n_gaussians : int
        Number of Gaussians; exponents of neighbours differ by a factor of at least 1.35.
    starts : int
        Random starts of the search.
    seed : int
        Seed of the starts.
    """
    lowest, highest = np.log(EXPONENT_RANGE)
    rng = np.random.default_rng([seed, n_gaussians])
    weight = np.sqrt(SHELL) / math.sqrt(float(np.sum(SHELL * density**2)))

    def exponents(parameters: np.ndarray) -> np.ndarray:
        logarithms = np.cumsum(np.r_[parameters[0], math.log(SMALLEST_RATIO) + np.abs(parameters[1:])])
        return np.exp(np.clip(logarithms, lowest, highest))

    def residual(parameters: np.ndarray) -> np.ndarray:
        return _amplitudes(exponents(parameters), density, electrons, weight, every=4)[1]

    fits = []
    for _ in range(starts):
        logarithms = np.sort(rng.uniform(math.log(0.08), math.log(12.0), n_gaussians))
        gaps = np.maximum(np.diff(logarithms) - math.log(SMALLEST_RATIO), 0.05)
        found = least_squares(residual, np.r_[logarithms[0], gaps], max_nfev=100).x
        # Six digits say which Gaussians were used; the amplitudes belong to the rounded exponents.
        rounded = np.array([float(f"{value / Bohr**2:.6g}") * Bohr**2 for value in exponents(found)])
        amplitudes, _ = _amplitudes(rounded, density, electrons, weight)
        difference = np.exp(-rounded * RADII[:, None] ** 2) @ amplitudes - density
        fits.append(DensityFit(amplitudes, rounded, float(np.sum(SHELL * np.abs(difference))) / electrons))
    return min(fits, key=lambda fit: fit.l1_residual)


def element_entry(symbol: str, *, starts: int = 32) -> dict[str, Any]:
    """One element of the table: solve the atom and fit it, with as few Gaussians as reach 1 %.

    Parameters
    ----------
    symbol : str
        Chemical symbol.
    starts : int
        Random starts of each fit.

    Returns
    -------
    dict
        number, n_electrons, amplitudes (e/Å³), exponents (Å⁻²), l1_residual, source.

    Raises
    ------
    HpoptError
        PySCF is not installed, or the atom has no potential.
    """
    density, electrons, source = _target(symbol)
    fits = []
    for n_gaussians in GAUSSIANS_LANTHANIDES if symbol in LANTHANIDES else GAUSSIANS:
        fits.append(fit_density(density, electrons, n_gaussians, starts=starts))
        if fits[-1].l1_residual < TARGET_L1:
            break
    fit = min(fits, key=lambda candidate: candidate.l1_residual)
    return {
        "number": atomic_numbers[symbol],
        "n_electrons": electrons,
        "amplitudes": (fit.amplitudes / Bohr**3).tolist(),
        "exponents": [float(f"{value:.6g}") for value in fit.exponents / Bohr**2],
        "l1_residual": round(fit.l1_residual, 6),
        "source": source,
    }


def make_table(symbols: Sequence[str] = ALL_ELEMENTS, *, starts: int = 32) -> dict[str, Any]:
    """The whole table as the JSON object that :func:`hpopt_lib.gmp.densities.load_densities` reads.

    Raises
    ------
    HpoptError
        PySCF is not installed, or an element has no potential.
    """
    version = require_pyscf()
    order = sorted(symbols, key=atomic_numbers.__getitem__)
    entries = {s: element_entry(s, starts=starts) for s in progress(order, desc="densities", unit="element")}
    return {
        "format": TABLE_FORMAT,
        "version": TABLE_VERSION,
        "name": "B+Al11",
        "formula": "rho(r) = sum_g amplitudes[g] * exp(-exponents[g] * r**2)",
        "units": {
            "amplitudes": "e/Å^3",
            "exponents": "Å^-2",
            "r": "Å",
            "l1_residual": "fraction of n_electrons",
        },
        "provenance": {
            "script": "python -m hpopt_lib.gmp.density_fit",
            "method": "spherical spin-restricted PBE atoms, GTH pseudopotentials as bundled with PySCF, "
            f"radial grid; variable-projection fit in space from {starts} starts, exact charge, "
            f"exponents at least {SMALLEST_RATIO} apart",
            "configurations": "ground states of the free atoms as PySCF lists them",
            "aluminium": "no semicore GTH potential exists: density of the 2s 2p 3s 3p shells of the "
            f"all-electron atom, smoothed inside {_ALUMINIUM_SMOOTHING} bohr",
            "pyscf": version,
        },
        "elements": entries,
    }


def main(arguments: Sequence[str] | None = None) -> None:
    """Command line of the module."""
    parser = argparse.ArgumentParser(description="Make the table of element densities (needs PySCF).")
    parser.add_argument("--out", type=Path, required=True, help="file to write")
    parser.add_argument("--starts", type=int, default=32, help="random starts of each fit")
    parser.add_argument("--overwrite", action="store_true", help="replace an existing file")
    parser.add_argument("elements", nargs="*", default=ALL_ELEMENTS, help="symbols (default: H to Rn)")
    options = parser.parse_args(arguments)
    try:
        unknown = sorted(set(options.elements) - set(atomic_numbers))
        if unknown:
            raise HpoptError(
                f"elements: {', '.join(unknown)}: no such element", remedy="give chemical symbols"
            )
        table = make_table(options.elements, starts=options.starts)
        with atomic_path(options.out, overwrite=options.overwrite) as path:
            path.write_text(json.dumps(table, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")
    except HpoptError as error:
        raise SystemExit(f"error: {error}") from None
    residuals = [entry["l1_residual"] for entry in table["elements"].values()]
    say(f"{options.out}: {len(residuals)} elements, L1 residual median {np.median(residuals):.2%}, "
        f"largest {max(residuals):.2%}")  # fmt: skip


def _target(symbol: str) -> tuple[np.ndarray, int, str]:
    if symbol == "Al":
        return _aluminium()
    potential = load_potential(symbol, semicore_electrons=SEMICORE_ELECTRONS.get(symbol))
    return solve_atom(potential).density, potential.charge, f"{potential.name}, {potential.charge} electrons"


def _aluminium() -> tuple[np.ndarray, int, str]:
    nucleus = Potential(symbol="Al", charge=13, radius=1e-3, occupations=(6.0, 7.0))
    atom = solve_atom(nucleus, largest=4e5, ratio=1.7)
    core = min(atom.orbitals, key=lambda orbital: orbital.energy)
    density = atom.density - core.electrons * core.density
    # An even polynomial with the value, slope and charge of the density replaces its innermost wiggles.
    edge = int(np.searchsorted(RADII, _ALUMINIUM_SMOOTHING))
    r = RADII[edge]
    powers = np.arange(0, 5, 2)
    charge = float(np.sum((SHELL * density)[:edge]))
    conditions = np.array(
        [r**powers, powers * r ** (powers - 1.0), 4 * math.pi * r ** (powers + 3) / (powers + 3)]
    )
    polynomial = np.linalg.solve(conditions, [density[edge], np.gradient(density, RADII)[edge], charge])
    smooth = np.where(r > RADII, (RADII[:, None] ** powers) @ polynomial, density)
    return smooth, 11, "all-electron PBE atom, shells 2s 2p 3s 3p, 11 electrons"


def _amplitudes(
    exponents: np.ndarray, density: np.ndarray, electrons: int, weight: np.ndarray, *, every: int = 1
) -> tuple[np.ndarray, np.ndarray]:
    """Constrained linear least squares in Gaussians of unit charge; returns amplitudes and residual."""
    unit = (exponents / math.pi) ** 1.5
    grid = slice(None, None, every)
    design = np.exp(-exponents * RADII[grid, None] ** 2) * unit * weight[grid, None]
    target = (density * weight)[grid]
    size = len(exponents)
    # Columns of `free` keep the sum of the charges: an orthonormal basis of what is orthogonal to (1, .., 1).
    free = np.linalg.qr(np.c_[np.ones(size), np.eye(size)[:, 1:]])[0][:, 1:]
    start = np.full(size, electrons / size)
    solution = np.linalg.lstsq(design @ free, target - design @ start, rcond=1e-9)[0]
    charges = start + free @ solution
    return charges * unit, design @ charges - target


if __name__ == "__main__":
    main()
