"""Similarities of frames for the small-data model: what each assumes about energies per atom.

With shares x_Z of the elements:

* `environment`: every element contributes ``x_Z f_env(d_Z)``, d_Z its mean surroundings in the frame, so that
  ``K = sum_ZZ' x_Z x'_Z' exp(-|d_Z - d'_Z'|^2 / 2)``: similar elements in similar surroundings are alike.
* `bonding`: linear in the second-moment energy of bonding, which knows about surfaces and vacancies.
* `similar elements`: ``K = sum_ZZ' x_Z x'_Z' exp(-|p_Z - p'_Z'|^2 / (2 L^2))`` with properties p: energies
  of elements as a smooth function over the periodic table. Several widths L.
* `own element`: ``K = sum_Z x_Z x'_Z``, an energy for each element that similar ones say nothing about.
"""

from __future__ import annotations

import numpy as np

from hpopt_lib.data.elements import property_table
from hpopt_lib.potential.environments import Environments

#: Widths of `similar elements`, in root-mean-square steps of the properties.
ELEMENT_WIDTHS = (0.35, 0.7, 1.5)
TERMS = ("environment", "bonding", *(f"similar elements, {w:g}" for w in ELEMENT_WIDTHS), "own element")


def kernels(a: Environments, b: Environments, centre: float, spread: float) -> np.ndarray:
    """Covariances of energies per atom between frames, with amplitudes of one.

    Parameters
    ----------
    a, b : Environments
    centre, spread : float
        What bonding energies per atom are centred and scaled by, in eV.

    Returns
    -------
    numpy.ndarray, shape (n_terms, n_a, n_b)
        In the order of `TERMS`.
    """
    bonding = [(frames.bonding_ev_per_atom - centre) / spread for frames in (a, b)]
    elements = np.flatnonzero(a.counts.any(axis=0) | b.counts.any(axis=0))
    x_a, x_b = a.fractions[:, elements], b.fractions[:, elements]
    properties = property_table()[elements]
    squares = _squares(properties, properties) / properties.shape[1]
    similar = [x_a @ np.exp(-0.5 * squares / width**2) @ x_b.T for width in ELEMENT_WIDTHS]
    return np.array([_environment_kernel(a, b), np.outer(*bonding), *similar, x_a @ x_b.T])


def _environment_kernel(a: Environments, b: Environments) -> np.ndarray:
    starts = [np.searchsorted(frames.frame, np.arange(len(frames))) for frames in (a, b)]
    groups = np.append(starts[0], len(a.frame))
    result = np.empty((len(a), len(b)))
    for i in range(len(a)):  # a frame at a time: all groups against all would not fit for large sets
        ours = slice(groups[i], groups[i + 1])
        near = np.exp(-0.5 * _squares(a.descriptors[ours], b.descriptors))
        result[i] = np.add.reduceat(a.share[ours] @ near * b.share, starts[1])
    return result


def _squares(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    """Squared distances of rows; differences, not products, so that a row is at 0 from itself."""
    from scipy.spatial.distance import cdist

    return cdist(a, b, "sqeuclidean")
