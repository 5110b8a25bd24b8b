"""A network for each element, as Behler and Parrinello have it, trained by the same code as a single one."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import torch
from ase import Atoms
from torch import nn

from hpopt_lib.errors import HpoptError
from hpopt_lib.potential.dataset import Dataset
from hpopt_lib.potential.model import Potential
from hpopt_lib.potential.network import SingleNetwork
from hpopt_lib.potential.settings import TrainSettings
from hpopt_lib.potential.training import Training
from hpopt_lib.scaling import FeatureScaler
from hpopt_lib.store import SplitArrays


class ElementNetworks(nn.Module):
    """Energy of an atom from its features by the network of its element (Behler and Parrinello 2007).

    Parameters
    ----------
    n_features : int
    numbers : sequence of int
        Atomic numbers; each has a network of its own.
    settings : TrainSettings
        Of each network, as of a `hpopt_lib.potential.network.SingleNetwork`.
    """

    def __init__(self, n_features: int, numbers: Sequence[int], settings: TrainSettings) -> None:
        super().__init__()
        self.networks = nn.ModuleDict(
            {str(z): SingleNetwork(n_features, settings).layers for z in sorted(numbers)}
        )

    def atomic(self, inputs: torch.Tensor) -> torch.Tensor:
        """Energies of atoms, shape (n_atoms,).

        Parameters
        ----------
        inputs : torch.Tensor, shape (n_atoms, 1 + n_features)
            Atomic number, then standardised features.
        """
        numbers, features = inputs[:, 0], inputs[:, 1:]
        energies = inputs.new_zeros(len(inputs))
        for z, network in self.networks.items():
            atoms = torch.nonzero(numbers == int(z)).squeeze(1)
            if len(atoms):
                energies = energies.index_add(0, atoms, network(features[atoms]).squeeze(-1))
        return energies

    def forward(self, inputs: torch.Tensor, frame_of_atom: torch.Tensor, n_frames: int) -> torch.Tensor:
        """Sum of atomic energies, shape (n_frames,)."""
        return inputs.new_zeros(n_frames).index_add(0, frame_of_atom, self.atomic(inputs))


class ElementDataset(Dataset):
    """A data set whose first stored feature is the atomic number, the rest symmetry functions.

    Attributes
    ----------
    scalers : dict of int to FeatureScaler
        By atomic number: each network has inputs standardised over the training atoms of its element.
    """

    scalers: dict[int, FeatureScaler]


def element_dataset(
    data: Dataset, train: np.ndarray, validation: np.ndarray, *, transform: str = "none"
) -> ElementDataset:
    """The same frames, energies and references with other features and a network for each element.

    Parameters
    ----------
    data : Dataset
    train, validation : numpy.ndarray, shape (n_atoms_total, n_features)
        Features of its atoms.
    transform : {"log", "none"}
        See `hpopt_lib.scaling.transform`.
    """
    made = ElementDataset(
        with_numbers(data.train, train),
        with_numbers(data.validation, validation),
        data.gmp,
        data.scaler,
        data.reference,
        data.dtype,
    )
    made.scalers = {}
    for z in np.unique(data.train.numbers):
        made.scalers[int(z)] = FeatureScaler.empty(train.shape[1], kind=transform)
        made.scalers[int(z)].update(train[data.train.numbers == z])
    return made


def with_numbers(arrays: SplitArrays, features: np.ndarray) -> SplitArrays:
    """Frames with other features, the atomic number before them."""
    columns = np.concatenate([arrays.numbers[:, None].astype(float), features], axis=1)
    return replace(arrays, features=columns)


class ElementPotential(Potential):
    """Element references plus the energies of one network for each element.

    It knows the elements that it was trained on and no other.
    """

    network: ElementNetworks  # type: ignore[assignment]

    def __init__(self, data: ElementDataset, settings: TrainSettings, spread_ev_per_atom: float) -> None:
        n_features = data.train.features.shape[1] - 1
        self.network = ElementNetworks(n_features, list(data.scalers), settings).to(data.dtype)
        self.settings, self.gmp, self.reference = settings, data.gmp, data.reference
        self.scaler, self.scalers, self.dtype = data.scaler, data.scalers, data.dtype
        self.residual_spread_ev_per_atom = spread_ev_per_atom
        self.columns = np.arange(1 + n_features)

    def inputs(self, features: np.ndarray, *, out: torch.Tensor | None = None) -> torch.Tensor:
        """Atomic numbers and standardised features, into `out` when given.

        Raises
        ------
        HpoptError
            For atoms of an element that has no network.
        """
        numbers = features[:, 0].astype(int)
        if unknown := sorted(set(numbers.tolist()) - set(self.scalers)):
            raise HpoptError(
                f"element networks: none for atomic number {', '.join(map(str, unknown))}",
                remedy="train with frames that hold this element",
            )
        scaled = np.array(features, dtype=float)
        for z, scaler in self.scalers.items():
            atoms = numbers == z
            scaled[atoms, 1:] = scaler(features[atoms, 1:])
        found = torch.from_numpy(scaled).to(self.device, self.dtype)
        return found if out is None else out.copy_(found)

    def save(self, *args: object, **options: object) -> Path:
        """Refused: the file format is that of a single network."""
        raise _for_comparisons_only()

    def energy_and_forces(self, atoms: Atoms) -> tuple[float, np.ndarray]:
        """Refused: no gradients of symmetry functions are computed."""
        raise _for_comparisons_only()

    def atomic_corrections(self, features: torch.Tensor) -> torch.Tensor:
        """Refused, as `energy_and_forces` is."""
        raise _for_comparisons_only()


def _for_comparisons_only() -> HpoptError:
    return HpoptError(
        "element networks: they are here for comparison, and predict energies of frames only",
        remedy="train a single network on GMP features",
    )


class ElementTraining(Training):
    """`hpopt_lib.potential.training.Training` of one network for each element.

    Batches, loss, optimiser, schedule and the choice of the epoch are those of a single network's training:
    the code is the same.
    """

    data: ElementDataset

    def _new_potential(self, spread_ev_per_atom: float) -> ElementPotential:
        return ElementPotential(self.data, self.settings, spread_ev_per_atom)
