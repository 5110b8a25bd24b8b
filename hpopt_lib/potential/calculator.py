"""A trained potential as an ASE calculator: relaxations, dynamics and cell optimisation with ASE's tools."""

from __future__ import annotations

import warnings
from pathlib import Path
from typing import Any

import numpy as np
import torch
from ase import Atoms
from ase.calculators.calculator import Calculator, all_changes
from ase.stress import full_3x3_to_voigt_6_stress

from hpopt_lib.gmp.features import GMPFeaturizer
from hpopt_lib.potential.model import Potential


class UnseenElementWarning(UserWarning):
    """The structure holds an element that no training frame had."""


class HpoptCalculator(Calculator):
    """Energy, forces and stress of a trained potential for ASE.

    All derivatives come from one backward pass through network and features, so that forces and
    stress are those of the energy to rounding, and dynamics conserves energy.

    Parameters
    ----------
    potential : Potential or path
        A trained potential, or the ``.npz`` file of one.
    backend : {"auto", "exact", "torch", "numba"}
        Of the features and their gradients (see :class:`hpopt_lib.gmp.backends.Backend`): `auto` and `exact`
        are right to rounding, `numba` (when installed) is several times faster.
    **options
        Of :class:`ase.calculators.calculator.Calculator`.

    Raises
    ------
    HpoptError
        The file is missing or no saved potential, or the backend is not there; on use: an element has no
        density or no reference energy, a potential of adsorption energies meets a structure without
        ``info["reference_energy"]``, or the cell is unusable.

    Warns
    -----
    UnseenElementWarning
        Once for each element that was not among the training frames: its reference energy is the mean of the
        others and its surroundings are extrapolated.

    Notes
    -----
    Properties, in ASE's units (eV, Å): `energy`, `free_energy` (the same), `energies` (shares of the atoms),
    `forces` and, for cells of three vectors, `stress` in Voigt order. With a sharp cutoff the energy jumps
    when an atom crosses it; potentials made with ``smooth_cutoff=True``, the default, have no such jumps.

    Examples
    --------
    >>> from ase.optimize import BFGS  # doctest: +SKIP
    >>> atoms.calc = HpoptCalculator("model.npz")  # doctest: +SKIP
    >>> BFGS(atoms).run(fmax=0.05)  # doctest: +SKIP
    """

    implemented_properties = ["energy", "free_energy", "energies", "forces", "stress"]

    def __init__(self, potential: Potential | str | Path, *, backend: str = "auto", **options: Any) -> None:
        super().__init__(**options)
        self.potential = potential if isinstance(potential, Potential) else Potential.load(potential)
        self._featurizer = GMPFeaturizer(self.potential.gmp, backend=backend)
        self._known = set(self.potential.reference.baseline.elements)

    def calculate(
        self,
        atoms: Atoms | None = None,
        properties: list[str] | None = None,
        system_changes: list[str] = all_changes,
    ) -> None:
        """Fill ``results`` for `atoms` (called by ASE)."""
        super().calculate(atoms, properties or ["energy"], system_changes)
        structure: Any = self.atoms
        self._warn_of_unseen(structure)
        strained = structure.cell.rank == 3
        positions = torch.tensor(structure.positions, requires_grad=True)
        cell = torch.tensor(structure.cell.array)
        variables, places, vectors = [positions], positions, cell
        if strained:
            strain = torch.zeros(3, 3, dtype=torch.float64, requires_grad=True)
            variables.append(strain)
            places, vectors = positions + positions @ strain, cell + cell @ strain
        features = self._featurizer.features_torch(places, structure.numbers, vectors, structure.pbc)
        corrections = self.potential.atomic_corrections(features)
        gradients = torch.autograd.grad(corrections.sum(), variables)
        reference = self.potential.reference.of_atoms(structure.numbers, structure.info)
        energies = reference + corrections.detach().numpy()
        energy = float(energies.sum())
        self.results = {
            "energy": energy,
            "free_energy": energy,
            "energies": energies,
            "forces": -gradients[0].numpy(),
        }
        if strained:
            virial = gradients[1].numpy()
            self.results["stress"] = full_3x3_to_voigt_6_stress(
                (virial + virial.T) / (2.0 * structure.cell.volume)
            )

    def _warn_of_unseen(self, atoms: Atoms) -> None:
        from ase.data import chemical_symbols

        unseen = sorted({int(number) for number in np.unique(atoms.numbers)} - self._known)
        if unseen:
            names = ", ".join(chemical_symbols[number] for number in unseen)
            warnings.warn(
                f"{names}: in no training frame of this potential, its energies are extrapolated",
                UnseenElementWarning,
                stacklevel=2,
            )
            self._known |= set(unseen)
