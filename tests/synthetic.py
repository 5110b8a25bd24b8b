"""Small synthetic data for the tests: metal slabs with one atom on top, labelled by ASE's EMT."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import ase.io
import numpy as np
from ase import Atoms
from ase.build import add_adsorbate, fcc111, molecule
from ase.calculators.emt import EMT
from ase.calculators.singlepoint import SinglePointCalculator
from ase.constraints import FixAtoms

from hpopt_lib.gmp.settings import GMPSettings

METALS, ADSORBATES = ("Cu", "Ni", "Pd"), ("O", "N")
GMP = GMPSettings(sigmas=(0.4, 0.8, 1.6), max_order=1, cutoff=4.0)
GMP_OPTIONS = ["--sigmas", "0.4,0.8,1.6", "--max-order", "1", "--cutoff", "4"]


def labelled(atoms: Atoms, energy: float | None, forces: np.ndarray | None = None) -> Atoms:
    """Attach results as a file would."""
    results = {"energy": energy} if energy is not None else {}
    if forces is not None:
        results["forces"] = forces
    atoms.calc = SinglePointCalculator(atoms, **results)
    return atoms


def slab(number: int) -> Atoms:
    """A rattled slab of 8 metal atoms with one adsorbed atom; every number another frame."""
    rng = np.random.default_rng(number)
    metal, adsorbate = METALS[number % 3], ADSORBATES[number % 2]
    atoms = fcc111(metal, (2, 2, 2), vacuum=4.0)
    add_adsorbate(atoms, adsorbate, 1.5, "fcc")
    atoms.pbc = True
    atoms.set_tags([0] * 4 + [1] * 4 + [2])
    atoms.positions += rng.normal(0, 0.07, atoms.positions.shape) * (atoms.get_tags() > 0)[:, None]
    atoms.set_constraint(FixAtoms(mask=atoms.get_tags() == 0))
    atoms.calc = EMT()
    energy, forces = atoms.get_potential_energy(), atoms.get_forces(apply_constraint=False)
    atoms.info = {"system_id": f"{metal}-{adsorbate}-{number // 4}", "frame": number % 4}
    return labelled(atoms, energy, forces)


def slabs(start: int, stop: int) -> list[Atoms]:
    return [slab(number) for number in range(start, stop)]


def water(number: int, *, scale: float = 1.0) -> Atoms:
    """A rattled water molecule with an energy of the size of an all-electron calculation in eV."""
    rng = np.random.default_rng(number)
    atoms = molecule("H2O")
    atoms.positions = (atoms.positions + rng.normal(0, 0.02, (3, 3))) * scale
    return labelled(atoms, -2080.0 + rng.normal(), rng.normal(0, 1.0, (3, 3)))


def write(path: Path, frames: list[Atoms]) -> Path:
    ase.io.write(path, frames)
    return path


def run_hpopt(
    *arguments: object, cwd: Path, timeout: float = 120, code: str = ""
) -> subprocess.CompletedProcess[str]:
    """The command in a process of its own; `code` runs before it."""
    return subprocess.run(
        hpopt_command(*arguments, code=code), cwd=cwd, env=environment(), capture_output=True, text=True,
        timeout=timeout,
    )  # fmt: skip


def hpopt_command(*arguments: object, code: str = "") -> list[str]:
    program = f"{code}\nfrom hpopt_lib.cli import main\nmain(prog_name='hpopt')"
    return [sys.executable, "-c", program, *map(str, arguments)]


def environment() -> dict[str, str]:
    root = str(Path(__file__).resolve().parents[1])
    return {**os.environ, "PYTHONPATH": root, "OMP_NUM_THREADS": "1"}
