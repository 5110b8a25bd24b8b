"""ASE calculators: of a potential trained with the backend, and of AMPtorch's own checkpoint folders."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
from ase import Atoms
from ase.calculators.calculator import Calculator, all_changes

from hpopt_lib.amptorch.compat import running
from hpopt_lib.amptorch.descriptor import placed
from hpopt_lib.amptorch.pickles import require_trust
from hpopt_lib.amptorch.potential import AmptorchPotential
from hpopt_lib.errors import HpoptError

#: What AMPtorch writes into a checkpoint folder.
CHECKPOINT_FILES = ("config.pt", "params.pt", "normalizers.pt")


class AmptorchCalculator(Calculator):
    """Energy and forces of a potential that AMPtorch trained.

    Parameters
    ----------
    potential : AmptorchPotential or path
        A trained potential, or the ``.npz`` file of one.
    **options
        Of :class:`ase.calculators.calculator.Calculator`.

    Raises
    ------
    HpoptError
        The file is missing or no such potential, or AMPtorch is not installed; on use: an element has no
        density.

    Notes
    -----
    In eV and eV/Å. AMPtorch's cutoff is sharp: the energy jumps when an atom crosses it. Forces are those of
    the energy to rounding elsewhere, see :meth:`AmptorchPotential.energy_and_forces`.
    """

    implemented_properties = ["energy", "free_energy", "forces"]

    def __init__(self, potential: AmptorchPotential | str | Path, **options: Any) -> None:
        super().__init__(**options)
        if not isinstance(potential, AmptorchPotential):
            potential = AmptorchPotential.load(potential)
        self.potential = potential

    def calculate(
        self,
        atoms: Atoms | None = None,
        properties: list[str] | None = None,
        system_changes: list[str] = all_changes,
    ) -> None:
        """Fill ``results`` for `atoms` (called by ASE)."""
        super().calculate(atoms, properties or ["energy"], system_changes)
        structure: Any = self.atoms
        energy, forces = self.potential.energy_and_forces(structure)
        self.results = {"energy": energy, "free_energy": energy, "forces": forces}


class UpstreamCalculator(Calculator):
    """Energy, and forces where the network was trained with them, of a checkpoint folder of AMPtorch.

    Parameters
    ----------
    folder : path
        As AMPtorch wrote it: ``checkpoints/TIME-IDENTIFIER``. The files of element densities must lie where
        they lay when it was trained.
    trust_pickle : bool
        Says that the folder comes from somebody you trust: AMPtorch keeps pickled objects in it, and
        reading those runs code.
    **options
        Of :class:`ase.calculators.calculator.Calculator`.

    Raises
    ------
    HpoptError
        Without `trust_pickle`, when a file is missing, or when AMPtorch is not installed.
    """

    implemented_properties = ["energy", "free_energy", "forces"]

    def __init__(self, folder: str | Path, *, trust_pickle: bool = False, **options: Any) -> None:
        super().__init__(**options)
        folder = Path(folder).absolute()
        for name in CHECKPOINT_FILES:
            if not (folder / name).is_file():
                raise HpoptError(f"{folder}: {name}: missing", remedy="give a checkpoint folder of AMPtorch")
        require_trust(folder, trust_pickle=trust_pickle)
        with running(trust_pickle=True) as amptorch:
            self.trainer = amptorch.trainer.AtomsTrainer()
            self.trainer.load_pretrained(str(folder))

    def calculate(
        self,
        atoms: Atoms | None = None,
        properties: list[str] | None = None,
        system_changes: list[str] = all_changes,
    ) -> None:
        """Fill ``results`` for `atoms` (called by ASE)."""
        super().calculate(atoms, properties or ["energy"], system_changes)
        structure: Any = self.atoms
        with running() as amptorch:
            # where its configuration says nothing, AMPtorch computes in double precision
            dtype = self.trainer.config["cmd"].get("dtype", "torch.DoubleTensor")
            amptorch.trainer.torch.set_default_tensor_type(dtype)
            predicted = self.trainer.predict([placed(structure)])
        energy = float(predicted["energy"][0])
        self.results = {"energy": energy, "free_energy": energy}
        if len(predicted["forces"][0]) == len(structure):
            self.results["forces"] = np.asarray(predicted["forces"][0], dtype=float)
