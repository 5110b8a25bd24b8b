"""OC20-like adsorption set: which systems there are, and their geometries and labels."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from ase import Atoms
from ase.calculators.emt import EMT
from ase.optimize import FIRE
from numpy.typing import NDArray

from hpopt_lib.data.dynamics import langevin
from hpopt_lib.data.frames import Frame, System, fixed_mask
from hpopt_lib.data.labels import EMT_LABELLER, Labeller, reference_energy
from hpopt_lib.data.pool import ordered_map
from hpopt_lib.data.slabs import (
    ADSORBATES,
    FACET_PROBABILITIES,
    FACETS,
    HELD_OUT_ADSORBATES,
    Bulk,
    bulks,
    clean_slab,
    place_adsorbate,
    round_positions,
)

#: Frames beyond these are dropped: adsorption energy in eV, largest force component in eV/Å.
MAX_ABS_ADSORPTION_ENERGY, MAX_FORCE = 8.0, 25.0
#: Relaxation stops when no force exceeds this (eV/Å) or after this many steps.
RELAXATION_FMAX, RELAXATION_STEPS = 0.05, 90
#: Standard deviation of rattles (Å), temperatures of short dynamics (K).
RATTLE_RANGE, TEMPERATURES = (0.02, 0.15), (300.0, 600.0, 900.0)
#: Steps of 2 fs between stored frames of dynamics; light atoms are made heavier (u) to allow 2 fs.
DYNAMICS_STRIDE, MIN_MASS = 16, 4.0


@dataclass(frozen=True)
class SplitRule:
    """Size of a split, what is held out in it, and how many frames each system gives at most."""

    n_systems: int
    held_out_bulk: bool
    held_out_adsorbate: bool
    n_relaxation: int
    n_rattle: int
    n_dynamics: int


SPLITS = {
    "train": SplitRule(240, False, False, 8, 3, 3),
    "val_id": SplitRule(112, False, False, 5, 2, 2),
    "val_ood_ads": SplitRule(112, False, True, 5, 2, 2),
    "val_ood_cat": SplitRule(112, True, False, 5, 2, 2),
    "val_ood_both": SplitRule(112, True, True, 5, 2, 2),
}


@dataclass(frozen=True)
class Task:
    """One system to be made: its number seeds its random choices, whatever else is made with it."""

    index: int
    split: str
    bulk: Bulk
    facet: str
    adsorbate: str

    @property
    def system_id(self) -> str:
        """Name that no other system of the set has."""
        return f"adsorption-{self.index:04d}"

    @property
    def triple(self) -> tuple[str, str, str]:
        """Bulk, facet and adsorbate: never used twice in the set."""
        return self.bulk.name, self.facet, self.adsorbate


def design(*, seed: int, scale: float = 1.0) -> list[Task]:
    """Draw the systems of all splits; a smaller scale gives the first systems of each split.

    No triple of bulk, facet and adsorbate is drawn twice, within or across splits.
    """
    rng = np.random.default_rng(seed)
    used: set[tuple[Bulk, str, str]] = set()
    tasks: list[Task] = []
    index = 0
    for split, rule in SPLITS.items():
        crystals = bulks(held_out=rule.held_out_bulk)
        adsorbates = HELD_OUT_ADSORBATES if rule.held_out_adsorbate else ADSORBATES
        wanted = max(1, round(rule.n_systems * scale))
        for position in range(max(wanted, rule.n_systems)):
            while True:
                triple = (
                    crystals[rng.integers(len(crystals))],
                    tuple(FACETS)[rng.choice(len(FACETS), p=FACET_PROBABILITIES)],
                    adsorbates[rng.integers(len(adsorbates))],
                )
                if triple not in used:
                    break
            used.add(triple)
            if position < wanted:
                tasks.append(Task(index, split, *triple))
            index += 1
    return tasks


@dataclass(frozen=True)
class Geometry:
    """One unlabelled frame; `temperature` is the kinetic one in K, NaN outside dynamics."""

    kind: str
    positions: NDArray[np.float64]
    temperature: float = float("nan")


def relaxation(atoms: Atoms, *, n_frames: int) -> list[Geometry]:
    """Relax `atoms` in place with FIRE and keep frames, logarithmically spaced from first to last.

    FIRE may climb for a few steps after it turned; only steps that reached a new lowest energy
    are kept, so that energies fall along the frames.
    """
    lowest, path = float("inf"), []
    optimizer = FIRE(atoms, logfile=None, maxstep=0.15)
    for _ in optimizer.irun(fmax=RELAXATION_FMAX, steps=RELAXATION_STEPS):
        energy = atoms.get_potential_energy()
        if energy < lowest:
            lowest = energy
            path.append(atoms.positions.copy())
    atoms.positions = path[-1]
    steps = np.unique(np.concatenate([[0], np.geomspace(1, max(len(path) - 1, 1), n_frames - 1).round()]))
    return [Geometry("relaxation", path[int(step)]) for step in steps if step < len(path)]


def geometries(task: Task, *, seed: int) -> tuple[Atoms, list[Geometry]]:
    """Make the frames of one system: a relaxation, then rattles of and dynamics from its end.

    Parameters
    ----------
    task : Task
    seed : int
        Together with ``task.index`` the seed of all that is random here.

    Returns
    -------
    template : Atoms
        Species, cell, tags and constraint.
    frames : list of Geometry
        Positions in Å, single-precision numbers; fixed atoms are at the same place in all.
    """
    rng = np.random.default_rng([seed, task.index])
    rule = SPLITS[task.split]
    atoms = place_adsorbate(clean_slab(task.bulk, task.facet), task.adsorbate, rng)
    template = atoms.copy()
    free = ~fixed_mask(atoms)
    atoms.calc = EMT()
    found = relaxation(atoms, n_frames=rule.n_relaxation)
    relaxed = atoms.positions.copy()
    for _ in range(rule.n_rattle):
        shift = rng.normal(scale=rng.uniform(*RATTLE_RANGE), size=relaxed.shape)
        found.append(Geometry("rattle", relaxed + shift * free[:, None]))
    temperature = float(rng.choice(TEMPERATURES))
    steps = langevin(
        atoms,
        temperature_k=temperature,
        timestep_fs=2.0,
        friction_per_fs=0.01,
        rng=rng,
        masses=np.maximum(atoms.get_masses(), MIN_MASS),
        free=free,
    )
    for _ in range(rule.n_dynamics):
        kinetic = [next(steps) for _ in range(DYNAMICS_STRIDE)][-1]
        found.append(Geometry("dynamics", atoms.positions.copy(), kinetic))
    template.info["dynamics_temperature_k"] = temperature
    return template, [Geometry(g.kind, round_positions(g.positions), g.temperature) for g in found]


def label_system(
    task: Task, template: Atoms, frames: Sequence[Geometry], labeller: Labeller = EMT_LABELLER
) -> System:
    """Label the frames of one system and drop those outside the limits of energy and force."""
    reference = reference_energy(task.bulk, task.facet, task.adsorbate, labeller)
    kept: list[Frame] = []
    for geometry in frames:
        atoms = template.copy()
        atoms.positions = geometry.positions
        energy, forces = labeller(atoms)
        if abs(energy - reference) <= MAX_ABS_ADSORPTION_ENERGY and np.abs(forces).max() <= MAX_FORCE:
            kept.append(
                Frame(len(kept), geometry.kind, geometry.positions, energy, forces, geometry.temperature)
            )
    info = {"bulk": task.bulk.name, "facet": task.facet, "adsorbate": task.adsorbate, **template.info}
    return System(task.system_id, task.split, template, reference, kept, info)


def make_system(task: Task, seed: int) -> System:
    """Geometries and EMT labels of one system."""
    template, frames = geometries(task, seed=seed)
    return label_system(task, template, frames)


def make_systems(tasks: Sequence[Task], *, seed: int, processes: int = 1) -> list[System]:
    """Make several systems; the result does not depend on their number or on `processes`.

    Systems of the same slab are made one after the other, since a worker keeps its slabs.
    """
    by_slab = sorted(tasks, key=lambda task: (task.bulk, task.facet, task.index))
    jobs = [(task, seed) for task in by_slab]
    made = ordered_map(make_system, jobs, processes=processes, desc="adsorption set", unit="system", chunk=4)
    return sorted((system for system in made if system.frames), key=lambda system: system.system_id)
