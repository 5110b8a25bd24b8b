"""Metal slabs with an adsorbate: bulks, alloys, facets, molecules and how one is put on the other."""

from __future__ import annotations

import itertools
from functools import cache
from typing import NamedTuple

import numpy as np
from ase import Atoms
from ase.build import bulk as ase_bulk
from ase.build import molecule, surface
from ase.calculators.emt import EMT
from ase.constraints import FixAtoms
from ase.data import covalent_radii
from ase.filters import FrechetCellFilter
from ase.geometry import get_distances
from ase.optimize import FIRE
from numpy.typing import NDArray

#: Metals that ASE's effective-medium theory describes.
METALS = ("Al", "Ni", "Cu", "Pd", "Ag", "Pt", "Au")
#: Pairs of metals that no training system holds (both elements occur in training, never together).
HELD_OUT_PAIRS = frozenset(
    frozenset(pair)
    for pair in (("Al", "Pd"), ("Ni", "Cu"), ("Cu", "Pt"), ("Pd", "Ag"), ("Ag", "Au"), ("Ni", "Au"))
)
#: Miller indices by facet name, and how often each is drawn.
FACETS = {"111": (1, 1, 1), "100": (1, 0, 0), "110": (1, 1, 0), "211": (2, 1, 1)}
FACET_PROBABILITIES = (0.4, 0.3, 0.2, 0.1)
#: Adsorbates of the training split; those of the out-of-domain splits.
ADSORBATES = (
    "H", "O", "N", "C", "OH", "NH", "CH", "CO", "NO", "N2", "CH2", "CH3", "NH2", "H2O", "CHO", "COH",
)  # fmt: skip
HELD_OUT_ADSORBATES = ("NNH", "CCO", "OCH3", "HCN", "NHO", "CCH", "OOH", "CH2OH")

#: Starting guesses in Å, binding atom first and below. Other adsorbates come from ASE's molecules.
_TEMPLATES: dict[str, tuple[list[str], list[list[float]]]] = {
    "H": (["H"], [[0, 0, 0]]),
    "O": (["O"], [[0, 0, 0]]),
    "N": (["N"], [[0, 0, 0]]),
    "C": (["C"], [[0, 0, 0]]),
    "OH": (["O", "H"], [[0, 0, 0], [0.55, 0, 0.80]]),
    "NH": (["N", "H"], [[0, 0, 0], [0, 0, 1.03]]),
    "CH": (["C", "H"], [[0, 0, 0], [0, 0, 1.10]]),
    "CO": (["C", "O"], [[0, 0, 0], [0, 0, 1.16]]),
    "NO": (["N", "O"], [[0, 0, 0], [0, 0, 1.17]]),
    "N2": (["N", "N"], [[0, 0, 0], [0, 0, 1.13]]),
    "CHO": (["C", "H", "O"], [[0, 0, 0], [-0.95, 0, 0.55], [0.75, 0, 0.95]]),
    "COH": (["C", "O", "H"], [[0, 0, 0], [0, 0, 1.30], [0.9, 0, 1.6]]),
    "NNH": (["N", "N", "H"], [[0, 0, 0], [0, 0, 1.2], [0.9, 0, 1.7]]),
    "CCO": (["C", "C", "O"], [[0, 0, 0], [0, 0, 1.3], [0, 0, 2.5]]),
    "NHO": (["N", "H", "O"], [[0, 0, 0], [-0.9, 0, 0.45], [0.75, 0, 0.95]]),
    "OOH": (["O", "O", "H"], [[0, 0, 0], [0.4, 0, 1.35], [1.3, 0, 1.55]]),
    "CCH": (["C", "C", "H"], [[0, 0, 0], [0, 0, 1.3], [0, 0, 2.4]]),
}
_ASE_NAMES = {"CH2": "CH2_s1A1d", "OCH3": "CH3O", "CH2OH": "CH3OH"}

#: Smallest slab thickness and in-plane cell edge, vacuum on each side; all in Å.
MIN_THICKNESS, MIN_WIDTH, VACUUM = 4.0, 5.4, 7.5
#: An adsorbate is lowered until its closest contact is this many sums of covalent radii.
CONTACT = 1.10
#: Share of polyatomic bent adsorbates that stand upright; the others are turned at random.
UPRIGHT = 0.6


class Bulk(NamedTuple):
    """A bulk crystal: pure fcc metal, L1₂ alloy (A₃B, majority first) or L1₀ alloy (AB)."""

    prototype: str
    metals: tuple[str, ...]

    @property
    def name(self) -> str:
        """Formula and prototype, e.g. ``Cu3Pt-L12``."""
        first = self.metals[0] + ("3" if self.prototype == "L12" else "")
        return f"{first}{''.join(self.metals[1:])}-{self.prototype}"

    @property
    def held_out(self) -> bool:
        """Whether this alloy's pair of metals is kept out of training."""
        return frozenset(self.metals) in HELD_OUT_PAIRS


def bulks(*, held_out: bool) -> list[Bulk]:
    """All bulks of one side of the split: 7 metals and 45 alloys, or the 18 held-out alloys."""
    pure = [Bulk("fcc", (metal,)) for metal in METALS]
    alloys = [
        alloy
        for a, b in itertools.combinations(METALS, 2)
        for alloy in (Bulk("L12", (a, b)), Bulk("L12", (b, a)), Bulk("L10", (a, b)))
    ]
    return [bulk for bulk in pure + alloys if bulk.held_out == held_out]


def round_positions(positions: NDArray[np.float64]) -> NDArray[np.float64]:
    """Round to the nearest single-precision number, in which positions are shipped.

    Labels are computed on rounded positions, so that the stored frame reproduces its energy.
    """
    return positions.astype(np.float32).astype(np.float64)


@cache
def relaxed_cell(bulk: Bulk) -> Atoms:
    """Cubic or tetragonal unit cell (4 atoms), edges relaxed with EMT. Do not change the result in place."""
    if bulk.prototype == "fcc":
        unit = ase_bulk(bulk.metals[0], cubic=True)
    else:
        a, b = bulk.metals
        symbols, weights = ([b, a, a, a], (3, 1)) if bulk.prototype == "L12" else ([a, a, b, b], (1, 1))
        edge = np.average([ase_bulk(m, cubic=True).cell[0, 0] for m in (a, b)], weights=weights)
        fcc_sites = [[0, 0, 0], [0.5, 0.5, 0], [0.5, 0, 0.5], [0, 0.5, 0.5]]
        unit = Atoms(symbols, cell=[edge] * 3, pbc=True, scaled_positions=fcc_sites)
    unit.calc = EMT()
    FIRE(FrechetCellFilter(unit, mask=[1, 1, 1, 0, 0, 0]), logfile=None).run(fmax=0.01, steps=200)
    unit.calc = None
    return unit


def coordination(atoms: Atoms, *, cutoff: float) -> NDArray[np.int64]:
    """Number of neighbours within `cutoff` Å, periodic images included; shape (n_atoms,)."""
    from ase.neighborlist import neighbor_list

    return np.bincount(neighbor_list("i", atoms, cutoff), minlength=len(atoms))


@cache
def clean_slab(bulk: Bulk, facet: str) -> Atoms:
    """Slab relaxed with EMT, tagged and constrained as in OC20. Do not change the result in place.

    Tag 1 marks surface atoms: atoms of the upper half with fewer than the bulk's 12 nearest
    neighbours. Atoms below (tag 0) are fixed.
    """
    unit = relaxed_cell(bulk)
    for layers in range(1, 8):
        slab = surface(unit, FACETS[facet], layers, vacuum=VACUUM)
        if np.ptp(slab.positions[:, 2]) >= MIN_THICKNESS:
            break
    repeats = np.ceil(MIN_WIDTH / slab.cell.lengths()[:2]).astype(int)
    slab = slab.repeat((int(repeats[0]), int(repeats[1]), 1))
    slab.pbc = True
    nearest = (np.sqrt(2) * unit.get_volume() / len(unit)) ** (1 / 3)
    exposed = coordination(slab, cutoff=1.2 * nearest) < 12
    z = slab.positions[:, 2]
    slab.set_tags((exposed & (z > (z.min() + z.max()) / 2)).astype(int))
    slab.set_constraint(FixAtoms(mask=slab.get_tags() == 0))
    slab.positions = round_positions(slab.positions)
    slab.calc = EMT()
    FIRE(slab, logfile=None).run(fmax=0.03, steps=120)
    slab.calc = None
    slab.positions = round_positions(slab.positions)
    return slab


def adsorbate_template(name: str) -> Atoms:
    """Free adsorbate in a starting geometry (not relaxed), its binding atom first and pointing down."""
    if name in _TEMPLATES:
        return Atoms(*_TEMPLATES[name])
    atoms = molecule(_ASE_NAMES.get(name, name))
    binding = atoms.get_chemical_symbols().index("O") if name == "OCH3" else 0
    atoms = atoms[[binding, *(i for i in range(len(atoms)) if i != binding)]]
    if name == "CH2OH":
        del atoms[next(i for i in range(1, len(atoms)) if atoms.get_distance(0, i) < 1.3)]
    outward = atoms.positions[1:].mean(axis=0) - atoms.positions[0]
    if np.linalg.norm(outward) > 1e-3:
        atoms.rotate(outward, "z")
    return atoms


def random_rotation(rng: np.random.Generator) -> NDArray[np.float64]:
    """Uniformly distributed rotation matrix, from a random unit quaternion; shape (3, 3)."""
    quaternion = rng.normal(size=4)
    w, x, y, z = quaternion / np.linalg.norm(quaternion)
    return np.array(
        [
            [1 - 2 * (y * y + z * z), 2 * (x * y - z * w), 2 * (x * z + y * w)],
            [2 * (x * y + z * w), 1 - 2 * (x * x + z * z), 2 * (y * z - x * w)],
            [2 * (x * z - y * w), 2 * (y * z + x * w), 1 - 2 * (x * x + y * y)],
        ]
    )


def place_adsorbate(slab: Atoms, name: str, rng: np.random.Generator) -> Atoms:
    """Put an adsorbate on a slab, at a random place and turned at random.

    Parameters
    ----------
    slab : Atoms
        Clean slab with tags and constraint; not changed.
    name : str
        One of `ADSORBATES` or `HELD_OUT_ADSORBATES`.
    rng : numpy.random.Generator

    Returns
    -------
    Atoms
        Slab atoms first, adsorbate atoms last with tag 2.
    """
    adsorbate = adsorbate_template(name)
    angle = rng.uniform(0, 2 * np.pi)
    about_z = np.array([[np.cos(angle), -np.sin(angle), 0], [np.sin(angle), np.cos(angle), 0], [0, 0, 1]])
    upright = len(adsorbate) < 3 or rng.random() < UPRIGHT
    rotation = about_z if upright else random_rotation(rng)
    offsets = (adsorbate.positions - adsorbate.positions[0]) @ rotation.T
    offsets[:, 2] -= offsets[:, 2].min()
    lateral = rng.random(2) @ slab.cell[:2, :2]
    top = slab.positions[:, 2].max()
    contact = covalent_radii[adsorbate.numbers][:, None] + covalent_radii[slab.numbers][None]
    for height in np.arange(3.5, 0.3, -0.05):
        trial = offsets + np.array([lateral[0], lateral[1], top + height])
        distances = get_distances(trial, slab.positions, cell=slab.cell, pbc=[True, True, False])[1]
        if (distances / contact).min() < CONTACT:
            break
        adsorbate.positions = trial
    adsorbate.set_tags(2)
    combined = slab.copy()
    combined.extend(adsorbate)
    return combined
