"""Read the LMDBs that AMPtorch trains on: scaled features and energies, pickled, back in their own units."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import lmdb
import numpy as np

from hpopt_lib.amptorch.pickles import Record, read_pickle, require_trust
from hpopt_lib.errors import HpoptError

META = ("feature_scaler", "target_scaler", "length", "descriptor_setup", "elements")


@dataclass(frozen=True)
class AmptorchLmdb:
    """What an LMDB of AMPtorch holds. There are no positions in it: features cannot be computed anew.

    Attributes
    ----------
    scheme : str
        Of the features: ``gmp``, ``gmpordernorm`` or ``gaussian``.
    parameters : dict
        The scheme's parameters, AMPtorch's ``fp_params``.
    elements : list of str
    n_atoms : numpy.ndarray of int, shape (n_frames,)
    numbers : numpy.ndarray of int, shape (n_atoms_total,)
    features : numpy.ndarray, shape (n_atoms_total, n_features)
        Not scaled, in the type in which they were stored.
    energy : numpy.ndarray of float64, shape (n_frames,)
        In the unit of the file that was featurised, usually eV.
    forces : numpy.ndarray of float64, shape (n_atoms_total, 3), or None
    """

    scheme: str
    parameters: dict[str, Any]
    elements: list[str]
    n_atoms: np.ndarray
    numbers: np.ndarray
    features: np.ndarray
    energy: np.ndarray
    forces: np.ndarray | None

    def __len__(self) -> int:
        return len(self.n_atoms)

    def describe(self) -> str:
        """The contents as text for a person."""
        energy, per_atom = self.energy, self.energy / self.n_atoms
        forces = "no" if self.forces is None else "yes"
        return "\n".join(
            [
                f"frames   {len(self)}, {len(self.numbers)} atoms, forces {forces}",
                f"features {self.features.shape[1]} ({self.features.dtype}), scheme {self.scheme}",
                f"elements {' '.join(self.elements)}",
                f"energy   {energy.min():.3f} to {energy.max():.3f}, for an atom {per_atom.min():.3f} to"
                f" {per_atom.max():.3f}, in the unit of the source (usually eV)",
            ]
        )


def read_amptorch_lmdb(path: str | Path, *, trust_pickle: bool = False) -> AmptorchLmdb:
    """Read an LMDB that AMPtorch, or the earlier project AmpOpt, made.

    Parameters
    ----------
    path : path
        The file (AMPtorch writes no folders).
    trust_pickle : bool
        Says that the file comes from somebody you trust; without it nothing is read.

    Returns
    -------
    AmptorchLmdb

    Raises
    ------
    HpoptError
        Without `trust_pickle`; for a file that is missing, damaged, not AMPtorch's, or that names objects
        which AMPtorch does not store.
    """
    path = Path(path)
    if not path.is_file():
        raise HpoptError(f"{path}: no such file", remedy="give the .lmdb file itself")
    require_trust(path, trust_pickle=trust_pickle)
    with _transaction(path) as txn:
        meta = {key: _entry(txn, path, key) for key in META}
        frames = [_attributes(_entry(txn, path, str(i))) for i in range(int(meta["length"]))]
    if not frames:
        raise HpoptError(f"{path}: length: no frame in it", remedy="make the file again")
    try:
        return _content(meta, frames)
    except (KeyError, AttributeError, TypeError, ValueError) as error:
        raise HpoptError(
            f"{path}: not in AMPtorch's layout ({type(error).__name__}: {error})",
            remedy="give a file that AMPtorch trains on",
        ) from error


@contextmanager
def _transaction(path: Path) -> Iterator[Any]:
    try:
        with (
            lmdb.open(str(path), subdir=False, readonly=True, lock=False, max_dbs=0) as env,
            env.begin() as txn,
        ):
            yield txn
    except lmdb.Error as error:
        raise HpoptError(
            f"{path}: not a readable LMDB file ({error})", remedy="copy the file again"
        ) from error


def _entry(txn: Any, path: Path, key: str) -> Any:
    data = txn.get(key.encode("ascii"))
    if data is None:
        raise HpoptError(f"{path}: {key}: missing, so not an LMDB of AMPtorch", remedy="give another file")
    return read_pickle(data, where=f"{path}: {key}")


def _attributes(data: Record) -> dict[str, Any]:
    """Attributes of a torch_geometric `Data`, of version 2 or 1."""
    values = vars(data)
    return vars(values["_store"])["_mapping"] if "_store" in values else values


def _content(meta: dict[str, Any], frames: list[dict[str, Any]]) -> AmptorchLmdb:
    scheme, parameters, _, elements = meta["descriptor_setup"]
    scaler, target = meta["feature_scaler"], meta["target_scaler"]
    numbers = np.concatenate([frame["atomic_numbers"].numpy() for frame in frames])
    mean, std = float(target.target_mean), float(target.target_std)
    forces = None
    if frames[0].get("forces") is not None:
        forces = np.concatenate([frame["forces"].double().numpy() for frame in frames]) * std
    return AmptorchLmdb(
        scheme=str(scheme),
        parameters=dict(parameters),
        elements=[str(element) for element in elements],
        n_atoms=np.array([len(frame["atomic_numbers"]) for frame in frames]),
        numbers=numbers,
        features=_unscaled(scaler, np.concatenate([f["fingerprint"].numpy() for f in frames]), numbers),
        energy=np.array([float(frame["energy"]) for frame in frames]) * std + mean,
        forces=forces,
    )


def _unscaled(scaler: Record, scaled: np.ndarray, numbers: np.ndarray) -> np.ndarray:
    """Features before AMPtorch's `FeatureScaler`."""
    values = vars(scaler)
    scales = values["scales"] if values["elementwise"] else dict.fromkeys(np.unique(numbers), values["scale"])
    features = scaled.copy()
    for number, scale in scales.items():
        atoms = numbers == int(number)
        offset, factor = scale["offset"].numpy(), scale["scale"].numpy()
        if values["transform"] == "standardize":
            features[atoms] = scaled[atoms] * factor + offset
        else:
            features[atoms] = (scaled[atoms] - offset) / factor
    return features
