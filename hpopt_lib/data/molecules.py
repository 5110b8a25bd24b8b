"""MD17-like set: ethanol in Langevin dynamics on the GFN2-xTB energy surface."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from ase import Atoms
from ase.build import molecule
from ase.optimize import BFGS

from hpopt_lib.data.dynamics import langevin
from hpopt_lib.data.frames import Frame, System
from hpopt_lib.data.pool import one_thread, ordered_map
from hpopt_lib.data.slabs import round_positions
from hpopt_lib.errors import HpoptError

#: Time step, time between stored frames and time before the first, in fs; friction in 1/fs.
TIMESTEP_FS, STRIDE_FS, BURN_IN_FS, FRICTION_PER_FS = 0.5, 30.0, 500.0, 0.02
#: Frames of one walker at scale 1.
WALKER_FRAMES = 250
#: Walkers and their temperature in K, by split.
SPLITS = {"train": (4, 500.0), "val": (2, 500.0), "test": (2, 500.0), "test_hot": (2, 800.0)}
#: Convergence of labels; 1.0 is tblite's default and serves the dynamics.
LABEL_ACCURACY = 0.01


@dataclass(frozen=True)
class Walker:
    """One trajectory: its number seeds its velocities and its thermostat."""

    index: int
    split: str
    temperature_k: float

    @property
    def system_id(self) -> str:
        """Name that no other trajectory of the set has."""
        return f"ethanol-{self.index:02d}"


def walkers() -> list[Walker]:
    """All trajectories of the set; no two splits share one."""
    plan = [(split, kelvin) for split, (number, kelvin) in SPLITS.items() for _ in range(number)]
    return [Walker(index, split, kelvin) for index, (split, kelvin) in enumerate(plan)]


def gfn2_calculator(*, accuracy: float = 1.0) -> Any:
    """GFN2-xTB calculator of the tblite package.

    Raises
    ------
    HpoptError
        When tblite is not installed.
    """
    try:
        with one_thread():
            from tblite.ase import TBLite
    except ImportError as error:
        raise HpoptError(
            f"ethanol-like: generating it needs the package tblite ({error})",
            remedy="pip install tblite, or use the shipped arrays (leave out --regenerate)",
        ) from error
    return TBLite(method="GFN2-xTB", accuracy=accuracy, verbosity=0)


def label(atoms: Atoms) -> tuple[float, np.ndarray]:
    """GFN2-xTB total energy in eV and forces in eV/Å, from scratch: no memory of earlier frames."""
    bare = Atoms(atoms.numbers, positions=atoms.positions)
    bare.calc = gfn2_calculator(accuracy=LABEL_ACCURACY)
    return float(bare.get_potential_energy()), np.asarray(bare.get_forces())


def relaxed_ethanol() -> Atoms:
    """Ethanol relaxed with GFN2-xTB, where every walker starts."""
    atoms = molecule("CH3CH2OH")
    atoms.calc = gfn2_calculator()
    BFGS(atoms, logfile=None).run(fmax=0.01, steps=100)
    return atoms


def run_walker(walker: Walker, seed: int, n_frames: int = WALKER_FRAMES) -> System:
    """Run one trajectory and label its frames; fewer frames give the beginning of the same trajectory.

    Parameters
    ----------
    walker : Walker
    seed : int
        Together with ``walker.index`` the seed of the trajectory.
    n_frames : int
        Frames after the burn-in, `STRIDE_FS` apart.
    """
    atoms = relaxed_ethanol()
    template = Atoms(atoms.numbers, positions=round_positions(atoms.positions))
    steps = langevin(
        atoms,
        temperature_k=walker.temperature_k,
        timestep_fs=TIMESTEP_FS,
        friction_per_fs=FRICTION_PER_FS,
        rng=np.random.default_rng([seed, walker.index]),
    )
    for _ in range(round(BURN_IN_FS / TIMESTEP_FS)):
        next(steps)
    frames = []
    for number in range(n_frames):
        kinetic = [next(steps) for _ in range(round(STRIDE_FS / TIMESTEP_FS))][-1]
        # the walker drifts through space; its centre is moved to the origin to keep digits
        centred = template.copy()
        centred.positions = round_positions(atoms.positions - atoms.get_center_of_mass())
        energy, forces = label(centred)
        frames.append(Frame(number, "dynamics", centred.positions, energy, forces, kinetic))
    info = {"thermostat_temperature_k": walker.temperature_k}
    return System(walker.system_id, walker.split, template, float("nan"), frames, info)


def make_walkers(
    chosen: Sequence[Walker], *, seed: int, scale: float = 1.0, processes: int = 1
) -> list[System]:
    """Run several trajectories; the result does not depend on their number or on `processes`."""
    n_frames = max(1, round(WALKER_FRAMES * scale))
    jobs = [(walker, seed, n_frames) for walker in chosen]
    gfn2_calculator()
    return ordered_map(run_walker, jobs, processes=processes, desc="ethanol-like set", unit="walker")
