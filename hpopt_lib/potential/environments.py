"""What a model for few frames sees: each element of a frame with its mean surroundings.

Neighbours count by the reduced distance s = d / (r_i + r_j) of covalent radii with the weight
w(s) = 1 below 1.1, 0 above 1.6, and half a cosine between, so that w sums to a coordination number.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, fields

import numpy as np
from ase import Atoms

from hpopt_lib.data.elements import (
    SPREADS,
    atomisation_ev,
    covalent_radii_angstrom,
    property_table,
    require_properties,
)
from hpopt_lib.errors import HpoptError
from hpopt_lib.references import composition
from hpopt_lib.store import SplitArrays

#: Reduced distances between which a neighbour fades out: bonds have about 1, second shells 1.4 to 1.6.
INNER, OUTER = 1.1, 1.6
#: Coordination number of a close-packed metal.
CLOSE_PACKED = 12.0
#: Coordination and difference of electronegativity (Pauling) that are worth one step of a descriptor; for
#: OC20, the spread over atoms and twice the spread over atoms.
COORDINATION_STEP, ELECTRONEGATIVITY_STEP = 4.0, 0.83


@dataclass(frozen=True)
class Environments:
    """Frames as composition, descriptors of their elements, and one energy of bonding.

    Attributes
    ----------
    n_atoms : numpy.ndarray of int, shape (n_frames,)
    counts : numpy.ndarray, shape (n_frames, 119)
        `hpopt_lib.references.composition`.
    frame : numpy.ndarray of int, shape (n_groups,)
        Frame of each group; a group is all atoms of one element in one frame. Ascending.
    share : numpy.ndarray, shape (n_groups,)
        Its share of the frame's atoms.
    descriptors : numpy.ndarray, shape (n_groups, n_descriptors)
        Properties of the element, mean and spread of its neighbours' properties (each block over the root
        of the number of properties), coordination number, and mean difference of electronegativity to the
        neighbours; a step of one is a typical difference.
    bonding_ev_per_atom : numpy.ndarray, shape (n_frames,)
        See `bonding_energy`.
    """

    n_atoms: np.ndarray
    counts: np.ndarray
    frame: np.ndarray
    share: np.ndarray
    descriptors: np.ndarray
    bonding_ev_per_atom: np.ndarray

    def __len__(self) -> int:
        return len(self.n_atoms)

    @property
    def fractions(self) -> np.ndarray:
        """Shares of the elements in each frame, shape (n_frames, 119)."""
        return self.counts / self.n_atoms[:, None]

    def take(self, frames: np.ndarray) -> Environments:
        """The given frames (indices), in that order."""
        frames = np.asarray(frames, dtype=int)
        groups = [np.flatnonzero(self.frame == i) for i in frames]
        picked = np.concatenate([*groups, np.array([], int)])
        return Environments(
            n_atoms=self.n_atoms[frames],
            counts=self.counts[frames],
            frame=np.repeat(np.arange(len(frames)), [len(g) for g in groups]),
            share=self.share[picked],
            descriptors=self.descriptors[picked],
            bonding_ev_per_atom=self.bonding_ev_per_atom[frames],
        )

    def arrays(self) -> dict[str, np.ndarray]:
        """All arrays by name."""
        return {f.name: getattr(self, f.name) for f in fields(self)}


def environments(frames: Iterable[Atoms], *, where: str = "frames") -> Environments:
    """Describe frames.

    Parameters
    ----------
    frames : iterable of ase.Atoms
    where : str
        Where they come from, for messages.

    Raises
    ------
    HpoptError
        When there is no frame, or one has an element without tabulated properties.
    """
    n_atoms, numbers, frame, share, descriptors, bonding = [], [], [], [], [], []
    for number, atoms in enumerate(frames):
        require_properties(np.unique(atoms.numbers), where=f"{where}: frame {number}")
        values, coordinated = _describe(atoms)
        elements, group = np.unique(atoms.numbers, return_inverse=True)
        sizes = np.bincount(group)
        means = np.zeros((len(elements), values.shape[1]))
        np.add.at(means, group, values)
        descriptors.append(means / sizes[:, None])
        share.append(sizes / len(atoms))
        frame += [number] * len(elements)
        bonding.append(float(coordinated.mean()))
        n_atoms.append(len(atoms))
        numbers.append(atoms.numbers)
    if not n_atoms:
        raise HpoptError(f"{where}: there is no frame", remedy="give some")
    counts = composition(np.concatenate(numbers), np.array(n_atoms))
    return Environments(
        np.array(n_atoms), counts, np.array(frame), np.concatenate(share), np.concatenate(descriptors),
        np.array(bonding),
    )  # fmt: skip


def of_split(arrays: SplitArrays, *, where: str = "store") -> Environments:
    """Describe the frames of a split of a store."""
    return environments(_structures(arrays), where=where)


def _structures(arrays: SplitArrays) -> Iterable[Atoms]:
    starts = np.concatenate([[0], np.cumsum(arrays.n_atoms)])
    for i in range(len(arrays)):
        atoms = slice(starts[i], starts[i + 1])
        yield Atoms(
            arrays.numbers[atoms], positions=arrays.positions[atoms], cell=arrays.cells[i], pbc=arrays.pbc[i]
        )


def _describe(atoms: Atoms) -> tuple[np.ndarray, np.ndarray]:
    """Descriptors of atoms, shape (n_atoms, n_descriptors), and their bonding energies in eV."""
    from scipy.sparse import csr_array

    i, j, weight = _neighbours(atoms)
    n, z = len(atoms), atoms.numbers
    own = property_table()[z]
    coordination = np.bincount(i, weight, n)
    # a lone atom has no neighbours to average over: its means fade to zero, the centre of the table
    norm = np.maximum(coordination, 0.5)[:, None]

    pairs = csr_array((weight, (i, j)), shape=(n, n))  # images of one atom add up
    mean = pairs @ own / norm
    spread = np.sqrt(np.maximum(pairs @ own**2 / norm - mean**2, 0.0))
    difference = SPREADS[0] * np.abs(own[i, 0] - own[j, 0]) / ELECTRONEGATIVITY_STEP
    polarity = np.bincount(i, weight * difference, n)[:, None] / norm
    block = np.sqrt(own.shape[1])
    columns = (own / block, mean / block, spread / block, coordination[:, None] / COORDINATION_STEP, polarity)
    return np.concatenate(columns, axis=1), bonding_energy(z, i, j, weight)


def bonding_energy(numbers: np.ndarray, i: np.ndarray, j: np.ndarray, weight: np.ndarray) -> np.ndarray:
    """How much less atoms are bound than in their elements, in the second-moment approximation.

    The width of a band, and with it the energy of bonding, goes with the root of the second moment of the
    density of states, a sum over neighbours (F. Cyrot-Lackmann; J. Friedel). With H the atomisation
    enthalpy, sqrt(H_i H_j / 12) for a bond, and 12 neighbours in the element::

        e_i = sqrt( sum_j w_ij H_i H_j / 12 ) - H_i

    Parameters
    ----------
    numbers : numpy.ndarray of int, shape (n_atoms,)
    i, j : numpy.ndarray of int, shape (n_pairs,)
        Each pair in both directions.
    weight : numpy.ndarray, shape (n_pairs,)

    Returns
    -------
    numpy.ndarray, shape (n_atoms,)
        In eV; zero in a close-packed metal.
    """
    enthalpy = atomisation_ev()[numbers]
    moment = np.bincount(i, weight * enthalpy[j], len(numbers)) * enthalpy / CLOSE_PACKED
    return np.sqrt(moment) - enthalpy


def _neighbours(atoms: Atoms) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    from vesin import NeighborList

    radii = covalent_radii_angstrom()[atoms.numbers]
    i, j, distances = NeighborList(cutoff=2.0 * OUTER * float(radii.max()), full_list=True).compute(
        points=np.ascontiguousarray(atoms.positions),
        box=np.where(atoms.pbc[:, None], atoms.cell.array, 0.0),
        periodic=atoms.pbc.copy(),
        quantities="ijd",
    )
    i, j = i.astype(int), j.astype(int)
    faded = np.clip((distances / (radii[i] + radii[j]) - INNER) / (OUTER - INNER), 0.0, 1.0)
    weight = 0.5 * (1.0 + np.cos(np.pi * faded))
    kept = weight > 0.0
    return i[kept], j[kept], weight[kept]
