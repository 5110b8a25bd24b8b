"""What went wrong with an adsorbate: bonds that broke, atoms that left the surface."""

from __future__ import annotations

import numpy as np
from ase import Atoms
from ase.data import covalent_radii
from numpy.typing import NDArray

from hpopt_lib.data.slabs import adsorbate_template

#: Distances in sums of covalent radii: below the first two atoms are bonded, beyond the second a
#: bond is broken, beyond the third an adsorbate has left the surface.
BONDED, BROKEN, DESORBED = 1.25, 1.35, 1.5


def in_covalent_sums(atoms: Atoms) -> NDArray[np.float64]:
    """All distances, nearest images, divided by the sum of covalent radii; shape (n_atoms, n_atoms)."""
    radii = covalent_radii[atoms.numbers]
    return atoms.get_all_distances(mic=bool(atoms.pbc.any())) / (radii[:, None] + radii)


def anomaly(atoms: Atoms) -> str:
    """Say whether a frame of the adsorption set shows its adsorbate broken or desorbed.

    Parameters
    ----------
    atoms : Atoms
        With tags (2 for the adsorbate) and ``info["adsorbate"]``.

    Returns
    -------
    str
        ``"broken"`` when a bond of the adsorbate's template is longer than `BROKEN` sums of
        covalent radii, else ``"desorbed"`` when no adsorbate atom lies within `DESORBED` sums of
        a metal atom, else ``""``.
    """
    distances = in_covalent_sums(atoms)
    on_top = atoms.get_tags() == 2
    bonds = np.triu(in_covalent_sums(adsorbate_template(atoms.info["adsorbate"])) < BONDED, 1)
    if (distances[np.ix_(on_top, on_top)][bonds] > BROKEN).any():
        return "broken"
    return "desorbed" if distances[np.ix_(on_top, ~on_top)].min() > DESORBED else ""
