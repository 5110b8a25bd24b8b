"""Total energies from one or two hundred frames: a Gaussian process with priors from the periodic table.

With N atoms, shares x_Z of the elements and known energies c_Z (or none)::

    E / N = m + sum_Z x_Z c_Z + f(frame) + noise,   f ~ GP(0, sum_k a_k K_k),   noise variance a_0 / N

The kernels K_k are those of `hpopt_lib.potential.small_data_kernels`. The amplitudes a_k are chosen by the
evidence of the training frames; the distances are in units of typical differences, and are not fitted: a
hundred frames do not determine them.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from ase.data import chemical_symbols

from hpopt_lib.archives import check_format, reading_archive, with_prefix, write_archive
from hpopt_lib.errors import HpoptError
from hpopt_lib.potential.environments import Environments
from hpopt_lib.potential.evidence import Amplitudes, fit_amplitudes
from hpopt_lib.potential.small_data_kernels import TERMS, kernels

FORMAT, VERSION = "hpopt-small-data", 1
#: A fit of so many frames took 72 s and 0.9 GB; time grows with their third power, memory with their square.
MAX_TRAIN_FRAMES = 2000
MIN_TRAIN_FRAMES = 10


@dataclass(frozen=True)
class SmallDataModel:
    """A fitted model; made by `fit`, read by `load`.

    Attributes
    ----------
    train : Environments
        Of the training frames.
    amplitudes : Amplitudes
    known_ev : numpy.ndarray, shape (119,)
        Known energies of elements; zeros for none, NaN where not known.
    mean_ev_per_atom : float
        Median of the training energies per atom, less the known energies.
    bonding_centre, bonding_spread : float
        Of the bonding energy per atom over the training frames, in eV.
    solved : numpy.ndarray, shape (n_train,)
        Inverse covariance times targets.
    inverse_factor : numpy.ndarray, shape (n_train, n_train)
        Inverse of the lower Cholesky factor of the covariance.
    """

    train: Environments
    amplitudes: Amplitudes
    known_ev: np.ndarray
    mean_ev_per_atom: float
    bonding_centre: float
    bonding_spread: float
    solved: np.ndarray
    inverse_factor: np.ndarray

    @classmethod
    def fit(
        cls, train: Environments, energy_ev: np.ndarray, *, known_ev: np.ndarray | None = None
    ) -> SmallDataModel:
        """Fit on training frames; takes about a second for 200.

        Parameters
        ----------
        train : Environments
        energy_ev : numpy.ndarray, shape (n_frames,)
            Total energies in eV.
        known_ev : numpy.ndarray, shape (119,), optional
            Energies of elements at the same level of theory, as fairchem's; NaN where not known.

        Raises
        ------
        HpoptError
            When there are too few or too many frames, or an element lacks a known energy.
        """
        from threadpoolctl import threadpool_limits  # type: ignore[import-untyped]

        if not MIN_TRAIN_FRAMES <= len(train) <= MAX_TRAIN_FRAMES:
            raise HpoptError(
                f"training input: {len(train)} frames: the small-data model takes {MIN_TRAIN_FRAMES} to "
                f"{MAX_TRAIN_FRAMES}",
                remedy="for more frames tune a network (hpopt tune without --preset)",
            )
        known = np.zeros(train.counts.shape[1]) if known_ev is None else np.asarray(known_ev, dtype=float)
        left = np.asarray(energy_ev, dtype=float) - _known_energy(train, known)
        per_atom = left / train.n_atoms
        mean = float(np.median(per_atom))
        centre = float(train.bonding_ev_per_atom.mean())
        spread = float(train.bonding_ev_per_atom.std()) or 1.0
        covariances = kernels(train, train, centre, spread)
        # threads only get in each other's way with matrices of this size
        with threadpool_limits(1, user_api="blas"):
            amplitudes, solved, inverse_factor = _solve(covariances, 1.0 / train.n_atoms, per_atom - mean)
        return cls(train, amplitudes, known, mean, centre, spread, solved, inverse_factor)

    def predict(self, frames: Environments) -> tuple[np.ndarray, np.ndarray]:
        """Energies and their uncertainty.

        Returns
        -------
        energy_ev : numpy.ndarray, shape (n_frames,)
            Total energies.
        std_ev : numpy.ndarray, shape (n_frames,)
            Standard deviations of a new label around the prediction, noise included. Larger for elements and
            surroundings that the training frames did not have.

        Raises
        ------
        HpoptError
            When an element lacks a known energy.
        """
        known = _known_energy(frames, self.known_ev)
        # the same frame gives the same bits, whatever others are predicted along with it
        answers = [self._predict_one(frames.take(np.array([i]))) for i in range(len(frames))]
        mean, variance = np.array(answers).T
        return known + frames.n_atoms * (self.mean_ev_per_atom + mean), frames.n_atoms * np.sqrt(variance)

    def _predict_one(self, frame: Environments) -> tuple[float, float]:
        weights = self.amplitudes.weights
        across = weights @ kernels(frame, self.train, self.bonding_centre, self.bonding_spread)[:, 0]
        prior = weights @ kernels(frame, frame, self.bonding_centre, self.bonding_spread)[:, 0, 0]
        known = self.inverse_factor @ across
        noise = self.amplitudes.noise / frame.n_atoms[0]
        return float(across @ self.solved), float(max(prior - known @ known, 0.0) + noise)

    def shares(self) -> dict[str, float]:
        """Standard deviation that each term, and the noise, has over the training frames, in eV/atom."""
        covariances = kernels(self.train, self.train, self.bonding_centre, self.bonding_spread)
        variances = self.amplitudes.weights * np.trace(covariances, axis1=1, axis2=2) / len(self.train)
        noise = self.amplitudes.noise * float(np.mean(1.0 / self.train.n_atoms))
        return {**dict(zip(TERMS, np.sqrt(variances).tolist())), "noise": float(np.sqrt(noise))}

    def save(self, path: str | Path, *, overwrite: bool = False, extra: dict[str, Any] | None = None) -> Path:
        """Write the model as a NumPy archive of plain arrays and one JSON text, never pickle.

        Parameters
        ----------
        path : str or Path
            Ends in ``.npz``.
        overwrite : bool
        extra : dict, optional
            JSON-able notes kept with the model.
        """
        header = {"format": FORMAT, "version": VERSION, "terms": TERMS, "extra": extra or {}}
        numbers = [self.amplitudes.noise, self.amplitudes.jitter, self.amplitudes.log_evidence]
        numbers += [self.mean_ev_per_atom, self.bonding_centre, self.bonding_spread]
        arrays = {f"train/{name}": array for name, array in self.train.arrays().items()}
        arrays |= {
            "weights": self.amplitudes.weights,
            "numbers": np.array(numbers),
            "known_ev": self.known_ev,
        }
        arrays |= {"solved": self.solved, "inverse_factor": self.inverse_factor}
        return write_archive(path, header, arrays, overwrite=overwrite, compressed=True)

    @classmethod
    def load(cls, path: str | Path) -> SmallDataModel:
        """Read what `save` wrote; predictions are the same to the last bit.

        Raises
        ------
        HpoptError
            When the file is missing, damaged or of another kind or version.
        """
        with reading_archive(
            path,
            what="a small-data model saved by hpopt",
            noun="model",
            remedy="fit or copy it again",
            reason=True,
        ) as (header, arrays):
            check_format(header, FORMAT, VERSION)
            if tuple(header["terms"]) != TERMS:
                raise ValueError("another set of terms")
            noise, jitter, evidence, mean, centre, spread = (float(value) for value in arrays["numbers"])
            train = Environments(**with_prefix(arrays, "train/"))
            amplitudes = Amplitudes(arrays["weights"], noise, jitter, evidence)
            return cls(
                train, amplitudes, arrays["known_ev"], mean, centre, spread, arrays["solved"],
                arrays["inverse_factor"],
            )  # fmt: skip


def _solve(
    covariances: np.ndarray, noise: np.ndarray, targets: np.ndarray
) -> tuple[Amplitudes, np.ndarray, np.ndarray]:
    """Amplitudes, the inverse covariance times targets, and the inverse Cholesky factor."""
    from scipy.linalg import solve_triangular

    amplitudes = fit_amplitudes(covariances, noise, targets)
    factor = np.linalg.cholesky(amplitudes.covariance(covariances, noise))
    inverse_factor = solve_triangular(factor, np.eye(len(targets)), lower=True)
    return amplitudes, inverse_factor.T @ (inverse_factor @ targets), inverse_factor


def _known_energy(frames: Environments, known_ev: np.ndarray) -> np.ndarray:
    present = frames.counts > 0
    missing = sorted(set(np.flatnonzero(present.any(axis=0) & np.isnan(known_ev)).tolist()))
    if missing:
        names = ", ".join(chemical_symbols[z] for z in missing)
        first = int(np.flatnonzero(present[:, missing].any(axis=1))[0])
        raise HpoptError(
            f"element energies: none for {names}, which frame {first} has",
            remedy="fit without known energies, or leave such frames out",
        )
    return frames.counts @ np.nan_to_num(known_ev)


def unknown_elements(train: Environments, frames: Environments) -> Sequence[str]:
    """Symbols of elements that occur in `frames`, but not in `train`."""
    new = frames.counts.any(axis=0) & ~train.counts.any(axis=0)
    return [chemical_symbols[z] for z in np.flatnonzero(new)]
