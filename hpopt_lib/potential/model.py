"""A trained potential: predicts total energies, saves and loads without pickle."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from ase import Atoms

from hpopt_lib.archives import check_format, reading_archive, with_prefix, write_archive
from hpopt_lib.gmp.settings import GMPSettings
from hpopt_lib.potential.network import SingleNetwork, feature_columns
from hpopt_lib.potential.settings import TrainSettings
from hpopt_lib.references import Reference, reference_from_dict
from hpopt_lib.scaling import FeatureScaler
from hpopt_lib.store import SplitArrays

#: Version 2 may hold any kind of reference, version 1 only a linear fit.
FORMAT, VERSION, READABLE = "hpopt-potential", 2, (1, 2)
#: Standardising takes several times the memory of the features, so that many atoms are done at a time.
ATOMS_AT_A_TIME = 4096


@dataclass(frozen=True)
class Prepared:
    """Frames as a network takes them, with their reference energies in eV."""

    inputs: torch.Tensor
    frame_of_atom: torch.Tensor
    reference_ev: np.ndarray


class Potential:
    """Energies of frames: element references plus a network's correction.

    Parameters
    ----------
    network : SingleNetwork
    settings : TrainSettings
    gmp : GMPSettings
        Of the features that the network was trained on.
    scaler : FeatureScaler
        Over all stored columns.
    reference : Reference
        What the network's energies are relative to; predictions are total energies again.
    residual_spread_ev_per_atom : float
        The unit of the network's output: spread of the training frames' energy per atom
        after subtraction of the references.
    dtype : torch.dtype
        float32 or float64.
    """

    def __init__(
        self,
        network: SingleNetwork,
        *,
        settings: TrainSettings,
        gmp: GMPSettings,
        scaler: FeatureScaler,
        reference: Reference,
        residual_spread_ev_per_atom: float,
        dtype: torch.dtype = torch.float32,
    ) -> None:
        self.network = network.to(dtype)
        self.settings, self.gmp, self.scaler, self.reference = settings, gmp, scaler, reference
        self.residual_spread_ev_per_atom = residual_spread_ev_per_atom
        self.dtype = dtype
        self.columns = feature_columns(gmp, settings)

    @property
    def device(self) -> torch.device:
        """Where the network's weights are."""
        return next(self.network.parameters()).device

    def to(self, device: torch.device | str) -> Potential:
        """Move the network to a device, in place; returns the potential."""
        self.network.to(device)
        return self

    def inputs(self, features: np.ndarray, *, out: torch.Tensor | None = None) -> torch.Tensor:
        """Standardised network inputs of raw features, shape (n_atoms, n_columns); into `out` when given."""
        scaler = self.scaler.select(self.columns)
        if out is None:
            out = torch.empty((len(features), len(self.columns)), dtype=self.dtype, device=self.device)
        for start in range(0, len(features), ATOMS_AT_A_TIME):
            part = features[start : start + ATOMS_AT_A_TIME, self.columns]
            out[start : start + len(part)] = torch.from_numpy(scaler(part)).to(self.dtype)
        return out

    def prepare(self, arrays: SplitArrays) -> Prepared:
        """What repeated predictions of the same frames need, computed once."""
        n_atoms = torch.from_numpy(arrays.n_atoms.astype(np.int64))
        return Prepared(
            inputs=self.inputs(arrays.features),
            frame_of_atom=torch.repeat_interleave(torch.arange(len(arrays)), n_atoms).to(self.device),
            reference_ev=self.reference.of_frames(arrays.numbers, arrays.n_atoms, arrays.info),
        )

    @torch.no_grad()
    def predict(self, frames: SplitArrays | Prepared) -> np.ndarray:
        """Total energies in eV of frames with features, shape (n_frames,).

        Raises
        ------
        HpoptError
            When a frame has no reference energy, so that its total energy cannot be told.
        """
        prepared = self.prepare(frames) if isinstance(frames, SplitArrays) else frames
        self.network.eval()
        output = self.network(prepared.inputs, prepared.frame_of_atom, len(prepared.reference_ev))
        return prepared.reference_ev + output.double().cpu().numpy() * self.residual_spread_ev_per_atom

    def energy_and_forces(self, atoms: Atoms) -> tuple[float, np.ndarray]:
        """Energy and forces of one structure.

        Parameters
        ----------
        atoms : ase.Atoms

        Returns
        -------
        energy : float
            Total energy in eV.
        forces : numpy.ndarray, shape (n_atoms, 3)
            In eV/Å: minus the gradient of the energy, through the features.
        """
        from hpopt_lib.gmp.features import GMPFeaturizer

        positions = torch.tensor(atoms.positions, requires_grad=True)
        raw = GMPFeaturizer(self.gmp).features_torch(
            positions, atoms.numbers, torch.from_numpy(atoms.cell.array.copy()), atoms.pbc
        )
        correction = self.atomic_corrections(raw).sum()
        (gradient,) = torch.autograd.grad(correction, positions)
        reference = self.reference.of_frames(atoms.numbers, np.array([len(atoms)]), [atoms.info])
        return float(reference[0] + correction.item()), -gradient.numpy()

    def atomic_corrections(self, features: torch.Tensor) -> torch.Tensor:
        """The network's share of each atom's energy, differentiable with respect to the features.

        Parameters
        ----------
        features : torch.Tensor, shape (n_atoms, n_stored_features), float64
            Raw features, all stored columns.

        Returns
        -------
        torch.Tensor, shape (n_atoms,), float64
            In eV; with the reference energies of the elements they sum to the total energy.
        """
        self.network.eval()
        scaled = self._standardise(features[:, torch.from_numpy(self.columns)]).to(self.dtype)
        return self.network.layers(scaled).squeeze(-1).double() * self.residual_spread_ev_per_atom

    def _standardise(self, features: torch.Tensor) -> torch.Tensor:
        """The scaler's arithmetic on tensors, so that gradients pass."""
        from hpopt_lib.scaling import LOG_SLOPE

        scaler = self.scaler.select(self.columns)
        values = features
        if scaler.kind == "log":
            values = torch.sign(features) * torch.log1p(LOG_SLOPE * features.abs())
        scaled = (values - torch.from_numpy(scaler.mean)) / torch.from_numpy(scaler.std)
        return torch.where(torch.from_numpy(scaler.constant), torch.zeros_like(scaled), scaled)

    def save(self, path: str | Path, *, overwrite: bool = False, extra: dict[str, Any] | None = None) -> Path:
        """Write the potential as a NumPy archive of plain arrays and one JSON text.

        Parameters
        ----------
        path : str or Path
            Ends in ``.npz``.
        overwrite : bool
        extra : dict, optional
            JSON-able notes kept with the model (seed, study, store, …).
        """
        header = {
            "format": FORMAT,
            "version": VERSION,
            "settings": self.settings.to_dict(),
            "gmp": self.gmp.to_dict(),
            "scaler": self.scaler.to_dict(),
            "reference": self.reference.to_dict(),
            "residual_spread_ev_per_atom": self.residual_spread_ev_per_atom,
            "dtype": str(self.dtype).removeprefix("torch."),
            "extra": extra or {},
        }
        weights = {f"weight/{name}": value.cpu().numpy() for name, value in self.network.state_dict().items()}
        return write_archive(path, header, weights, overwrite=overwrite)

    @classmethod
    def load(cls, path: str | Path) -> Potential:
        """Read a potential that `save` wrote.

        Raises
        ------
        HpoptError
            When the file is missing, damaged or of another kind or version.
        """
        with reading_archive(
            path, what="a potential saved by hpopt", noun="model", remedy="train or copy it again"
        ) as (header, arrays):
            check_format(header, FORMAT, *READABLE)
            return cls._from_parts(header, with_prefix(arrays, "weight/"))

    @classmethod
    def _from_parts(cls, header: dict[str, Any], weights: dict[str, np.ndarray]) -> Potential:
        settings, gmp = TrainSettings.from_dict(header["settings"]), GMPSettings.from_dict(header["gmp"])
        dtype = {"float32": torch.float32, "float64": torch.float64}[header["dtype"]]
        network = SingleNetwork(len(feature_columns(gmp, settings)), settings).to(dtype)
        network.load_state_dict({name: torch.from_numpy(np.array(value)) for name, value in weights.items()})
        return cls(
            network,
            settings=settings,
            gmp=gmp,
            scaler=FeatureScaler.from_dict(header["scaler"]),
            reference=reference_from_dict(header["reference"]),
            residual_spread_ev_per_atom=header["residual_spread_ev_per_atom"],
            dtype=dtype,
        )
