"""A potential trained with AMPtorch: predicts total energies and forces, saves and loads without pickle."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from ase import Atoms

from hpopt_lib.amptorch.compat import COMMIT, running
from hpopt_lib.amptorch.descriptor import placed, upstream_features, upstream_setup
from hpopt_lib.amptorch.features import UpstreamArrays, frames_of
from hpopt_lib.amptorch.recipe import upstream_config
from hpopt_lib.amptorch.trainer import batch_of
from hpopt_lib.archives import check_format, reading_archive, with_prefix, write_archive
from hpopt_lib.gmp.features import GMPFeaturizer
from hpopt_lib.gmp.settings import GMPSettings
from hpopt_lib.potential.network import feature_columns
from hpopt_lib.potential.settings import TrainSettings
from hpopt_lib.references import Reference, reference_from_dict
from hpopt_lib.store import SplitArrays

FORMAT, VERSION = "hpopt-amptorch-potential", 1


class AmptorchPotential:
    """Energies by AMPtorch's `SingleNN`, on AMPtorch's features and scales, plus element references.

    Parameters
    ----------
    weights : dict of str to torch.Tensor
        State of the network.
    scales : dict of str to numpy.ndarray
        ``offset`` and ``scale`` of the features, each of shape (n_columns,), and ``mean`` and ``std`` of the
        energies in eV, each of shape ().
    settings : TrainSettings
    gmp : GMPSettings
        Of the store.
    reference : Reference or None
        Energies that were subtracted before training; None when the network was trained on
        total energies, as AMPtorch does by itself.
    dtype : torch.dtype
        float32 or float64.
    """

    def __init__(
        self,
        weights: dict[str, torch.Tensor],
        scales: dict[str, np.ndarray],
        *,
        settings: TrainSettings,
        gmp: GMPSettings,
        reference: Reference | None,
        dtype: torch.dtype,
    ) -> None:
        self.settings, self.gmp, self.reference, self.dtype = settings, gmp, reference, dtype
        self.scales, self.columns = scales, feature_columns(gmp, settings)
        self.network = build_network(settings, len(self.columns), dtype)
        self.network.load_state_dict(weights)
        self.network.eval()

    def predict(self, arrays: SplitArrays) -> np.ndarray:
        """Total energies in eV, shape (n_frames,).

        AMPtorch's features are computed first when `arrays` holds others
        (`hpopt_lib.amptorch.features.upstream_split` gives frames that have them).
        """
        features = arrays.features
        if not isinstance(arrays, UpstreamArrays):
            frames = frames_of(arrays)
            features = np.concatenate(upstream_features(frames, self.gmp, np.unique(arrays.numbers)))
        batch = batch_of(self._scaled(features[:, self.columns]), arrays.n_atoms)
        self.network.get_forces = False
        energy, _ = self.network(batch)
        return self._total(energy, arrays.numbers, arrays.n_atoms, arrays.info)

    def energy_and_forces(self, atoms: Atoms, *, upstream: bool = False) -> tuple[float, np.ndarray]:
        """Energy and forces of one structure.

        Parameters
        ----------
        atoms : ase.Atoms
        upstream : bool
            Take features and their derivatives from AMPtorch, which sets derivatives below 1e-5 to zero:
            where a feature hardly varies, forces are then off by some percent. By default both come from
            this package, whose features are the same to rounding and whose derivatives are exact.

        Returns
        -------
        energy : float
            Total energy in eV.
        forces : numpy.ndarray, shape (n_atoms, 3)
            In eV/Å.
        """
        if upstream:
            return self._upstream_forces(atoms)
        positions = torch.tensor(atoms.positions, requires_grad=True)
        featurizer = GMPFeaturizer(replace(self.gmp, smooth_cutoff=False))
        cell = torch.from_numpy(atoms.cell.array.copy())
        features = featurizer.features_torch(positions, atoms.numbers, cell, atoms.pbc) ** 2
        offset, scale = (torch.from_numpy(self.scales[name]) for name in ("offset", "scale"))
        scaled = (features[:, torch.from_numpy(self.columns)] - offset) / scale
        energy = self.network.model(scaled.to(self.dtype)).sum().double()
        (gradient,) = torch.autograd.grad(energy, positions)
        total = self._total(energy[None], atoms.numbers, np.array([len(atoms)]), [atoms.info])
        return float(total[0]), -gradient.numpy() * float(self.scales["std"])

    def _upstream_forces(self, atoms: Atoms) -> tuple[float, np.ndarray]:
        with running() as amptorch, upstream_setup(self.gmp, self.columns, atoms.numbers) as setup:
            torch.set_default_dtype(torch.float64)
            to_data = amptorch.preprocessing.AtomsToData(
                descriptor=amptorch.dataset.construct_descriptor(setup), save_fps=False, fprimes=True
            )
            data = to_data.convert(placed(atoms), idx=0)
            primes = data.fprimes.coalesce()
            scale = torch.from_numpy(self.scales["scale"])
            values = primes.values() / scale[primes.indices()[0] % len(scale)]
            derivatives = torch.sparse_coo_tensor(
                primes.indices(), values.to(self.dtype), primes.shape, check_invariants=False
            )
            features = self._scaled(data.fingerprint.numpy())
            batch = batch_of(features, np.array([len(atoms)]), fprimes=derivatives)
            self.network.get_forces = True
            energy, forces = self.network(batch)
        total = self._total(energy, atoms.numbers, np.array([len(atoms)]), [atoms.info])
        return float(total[0]), forces.detach().double().numpy() * float(self.scales["std"])

    def _scaled(self, features: np.ndarray) -> torch.Tensor:
        scaled = (features - self.scales["offset"]) / self.scales["scale"]
        return torch.from_numpy(scaled).to(self.dtype)

    def _total(
        self,
        output: torch.Tensor,
        numbers: np.ndarray,
        n_atoms: np.ndarray,
        info: Sequence[Mapping[str, Any]],
    ) -> np.ndarray:
        energy = output.detach().double().numpy() * float(self.scales["std"]) + float(self.scales["mean"])
        if self.reference is not None:
            energy = energy + self.reference.of_frames(numbers, n_atoms, info)
        return energy

    def save(self, path: str | Path, *, overwrite: bool = False, extra: dict[str, Any] | None = None) -> Path:
        """Write the potential as a NumPy archive of plain arrays and one JSON text.

        Parameters
        ----------
        path : str or Path
            Ends in ``.npz``.
        overwrite : bool
        extra : dict, optional
            JSON-able notes kept with the model.
        """
        header = {
            "format": FORMAT,
            "version": VERSION,
            "settings": self.settings.to_dict(),
            "gmp": self.gmp.to_dict(),
            "reference": None if self.reference is None else self.reference.to_dict(),
            "dtype": str(self.dtype).removeprefix("torch."),
            "amptorch": COMMIT,
            "extra": extra or {},
        }
        arrays = {f"weight/{name}": value.cpu().numpy() for name, value in self.network.state_dict().items()}
        arrays |= {f"scale/{name}": np.asarray(value) for name, value in self.scales.items()}
        return write_archive(path, header, arrays, overwrite=overwrite)

    @classmethod
    def load(cls, path: str | Path) -> AmptorchPotential:
        """Read a potential that `save` wrote.

        Raises
        ------
        HpoptError
            When the file is missing, damaged or of another kind or version, or AMPtorch is not installed.
        """
        with reading_archive(
            path, what="a potential of the backend amptorch", noun="model", remedy="train or copy it again"
        ) as (header, arrays):
            check_format(header, FORMAT, VERSION)
            scales, reference = with_prefix(arrays, "scale/"), header["reference"]
            return cls(
                {name: torch.from_numpy(array) for name, array in with_prefix(arrays, "weight/").items()},
                {name: scales[name] for name in ("offset", "scale", "mean", "std")},
                settings=TrainSettings.from_dict(header["settings"]),
                gmp=GMPSettings.from_dict(header["gmp"]),
                reference=None if reference is None else reference_from_dict(reference),
                dtype={"float32": torch.float32, "float64": torch.float64}[header["dtype"]],
            )


def build_network(settings: TrainSettings, n_columns: int, dtype: torch.dtype) -> Any:
    """AMPtorch's `SingleNN` with fresh weights."""
    model = upstream_config(settings, dtype=dtype, seed=0, run_dir=".")["model"]
    with running() as amptorch:
        torch.set_default_dtype(dtype)
        return amptorch.model.SingleNN(elements=[], input_dim=n_columns, **model)
