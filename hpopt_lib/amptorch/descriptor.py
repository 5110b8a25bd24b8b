"""AMPtorch's own Gaussian multipole descriptor on the settings and densities of a feature store.

Of the forms of upstream's `GMPOrderNorm`, only the squared one with solid harmonics has right derivatives,
and its cutoff is sharp. So the features are the squares of ours, apart from the switching function.
"""

from __future__ import annotations

import tempfile
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import torch
from ase import Atoms
from ase.data import chemical_symbols

from hpopt_lib.amptorch.compat import running
from hpopt_lib.errors import HpoptError
from hpopt_lib.gmp.densities import ElementDensity, load_densities, require_elements, table_label
from hpopt_lib.gmp.settings import GMPSettings

#: Empty space in Å around a molecule or slab along directions that do not repeat.
VACUUM = 1.0
SCHEME = "gmpordernorm"


def write_g(density: ElementDensity, folder: str | Path) -> Path:
    """Write one element's density as AMPtorch reads it: a pair "B beta" (e/Å³, Å⁻²) a line.

    Parameters
    ----------
    density : ElementDensity
    folder : path
        An existing folder; the file is called ``Cu_density.g``, say.

    Returns
    -------
    Path
    """
    path = Path(folder) / f"{density.symbol}_density.g"
    rows = zip(density.amplitudes, density.exponents, strict=True)
    path.write_text("".join(f"{float(b)!r} {float(beta)!r}\n" for b, beta in rows), encoding="utf-8")
    return path


def columns_settings(settings: GMPSettings, columns: np.ndarray) -> dict[str, Any]:
    """AMPtorch's ``fp_params`` for some columns of a store, without the densities' files.

    Parameters
    ----------
    settings : GMPSettings
        Of the store.
    columns : numpy.ndarray of int
        From `hpopt_lib.potential.network.feature_columns`.

    Returns
    -------
    dict
    """
    sigmas = [settings.sigmas[int(c)] for c in columns if c < len(settings.sigmas)]
    orders = sorted({int(c) // len(settings.sigmas) for c in columns})
    return {
        "MCSHs": {"orders": orders, "sigmas": sigmas},
        "cutoff": settings.cutoff,
        "solid_harmonics": True,
        "square": True,
    }


def densities_of(settings: GMPSettings) -> Mapping[int, ElementDensity]:
    """The table of densities that settings name.

    Raises
    ------
    HpoptError
        When it is not the shipped one.
    """
    densities = load_densities()
    if table_label(densities) != settings.densities:
        raise HpoptError(
            f"GMP settings: densities: {settings.densities} is not the shipped table",
            remedy="preprocess with the shipped densities to use --backend amptorch",
        )
    return densities


@contextmanager
def upstream_setup(
    settings: GMPSettings, columns: np.ndarray, numbers: Iterable[int]
) -> Iterator[tuple[str, dict[str, Any], dict[str, Any], list[str]]]:
    """AMPtorch's descriptor setup, with its element files in a folder that goes when the block ends.

    Parameters
    ----------
    settings : GMPSettings
    columns : numpy.ndarray of int
    numbers : iterable of int
        Atomic numbers of the elements.

    Yields
    ------
    tuple
        Scheme, parameters, cutoff parameters and element symbols, as AMPtorch keeps them.

    Raises
    ------
    HpoptError
        When an element has no density.
    """
    densities = densities_of(settings)
    numbers = sorted({int(number) for number in numbers})
    require_elements(densities, numbers)
    with tempfile.TemporaryDirectory(prefix="hpopt-amptorch-") as folder:
        files = {chemical_symbols[z]: str(write_g(densities[z], folder)) for z in numbers}
        parameters = {**columns_settings(settings, columns), "atom_gaussians": files}
        yield SCHEME, parameters, {}, list(files)


def upstream_features(
    frames: Iterable[Atoms], settings: GMPSettings, numbers: Iterable[int]
) -> list[np.ndarray]:
    """Features by AMPtorch's compiled descriptor, columns in the order of ours.

    Parameters
    ----------
    frames : iterable of ase.Atoms
    settings : GMPSettings
        Widths, orders, cutoff (taken as sharp) and densities.
    numbers : iterable of int
        Atomic numbers of all elements that occur.

    Returns
    -------
    list of numpy.ndarray
        For each frame an array of shape (n_atoms, n_features): squared order norms.

    Raises
    ------
    HpoptError
        When AMPtorch is not installed or an element has no density.
    """
    with (
        running() as amptorch,
        upstream_setup(settings, np.arange(settings.num_features), numbers) as setup,
    ):
        to_data = amptorch.preprocessing.AtomsToData(
            descriptor=amptorch.dataset.construct_descriptor(setup), save_fps=False, fprimes=False
        )
        torch.set_default_dtype(torch.float64)
        return [to_data.convert(placed(atoms), idx=0).fingerprint.numpy() for atoms in frames]


def placed(atoms: Atoms) -> Atoms:
    """The same structure where AMPtorch's search for neighbours finds all of them.

    It needs a cell of three vectors with all atoms inside, and it loses neighbours of atoms that lie on a
    face of the cell up to rounding (in 19 of 300 OC20 frames at 5 Å). A shift of the whole structure, to
    which features and forces do not react, moves the faces into the widest gap between atoms.

    Parameters
    ----------
    atoms : ase.Atoms

    Returns
    -------
    ase.Atoms
        A copy without calculator and constraints.
    """
    copy = Atoms(atoms.numbers, positions=atoms.positions, cell=atoms.cell, pbc=atoms.pbc)
    if not copy.pbc.all():
        copy.center(vacuum=VACUUM, axis=tuple(int(axis) for axis in np.flatnonzero(~copy.pbc)))
    scaled = copy.cell.scaled_positions(copy.positions)
    for axis in np.flatnonzero(copy.pbc):
        inside = np.sort(scaled[:, axis] % 1.0)
        gaps = np.diff(np.append(inside, inside[0] + 1.0))
        widest = int(np.argmax(gaps))
        scaled[:, axis] = (scaled[:, axis] - inside[widest] - 0.5 * gaps[widest]) % 1.0
    copy.positions = scaled @ copy.cell.array
    return copy
