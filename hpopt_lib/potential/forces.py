"""Forces of stored frames, and forces in the loss of a training.

The loss of a batch is that of the energies plus `force_weight` times that of the forces::

    loss = mean over frames of L((E' - E) / (n_atoms * s))
         + force_weight * mean over force components of free atoms of L((F' - F) / f)

with L the chosen loss, s the spread of the training frames' energy per atom after subtraction of the
references (eV), and f the root mean square of the training frames' force components on free atoms (eV/Å).
Both terms are without unit and of order 1 before training, so that a weight means the same for molecules and
slabs.
"""

from __future__ import annotations

import numpy as np
import torch

from hpopt_lib.errors import HpoptError
from hpopt_lib.gmp.backends import have_numba
from hpopt_lib.metrics import efwt, force_metrics
from hpopt_lib.potential.derivatives import (
    Derivatives,
    LoopDerivatives,
    derivatives_of,
    structures_of,
)
from hpopt_lib.potential.model import Potential
from hpopt_lib.store import SplitArrays

FORCE_ERROR = "force_mae_mev_per_angstrom"
_FORCE_RMSE = "force_rmse_mev_per_angstrom"
#: Frames whose forces are predicted together.
_CHUNK = 64


def forces_of(
    potential: Potential, inputs: torch.Tensor, derivatives: Derivatives, frames: np.ndarray
) -> torch.Tensor:
    """Forces of some frames in eV/Å, without a graph, shape (n_atoms_of_frames, 3)."""
    potential.network.eval()
    with torch.enable_grad():
        inputs = inputs.detach().requires_grad_()
        (gradient,) = torch.autograd.grad(potential.network.layers(inputs).sum(), inputs)
    return -potential.residual_spread_ev_per_atom * derivatives.pull(gradient, frames)


def predict_forces(
    potential: Potential, arrays: SplitArrays, *, derivatives: Derivatives | None = None
) -> np.ndarray:
    """Forces of the frames of a split.

    Parameters
    ----------
    potential : Potential
    arrays : SplitArrays
        With the features that the potential was trained on.
    derivatives : Derivatives, optional
        Of these frames, when they are there already.

    Returns
    -------
    numpy.ndarray, shape (n_atoms_total, 3)
        In eV/Å: minus the gradient of the predicted energies.
    """
    if derivatives is None:
        if not have_numba():
            return _exact_forces(potential, arrays)
        derivatives = LoopDerivatives(potential, arrays)
    inputs = potential.inputs(arrays.features)
    starts = np.concatenate([[0], np.cumsum(arrays.n_atoms.astype(np.int64))])
    parts = [np.zeros((0, 3))]
    for low in range(0, len(arrays), _CHUNK):
        frames = np.arange(low, min(low + _CHUNK, len(arrays)))
        part = forces_of(potential, inputs[starts[low] : starts[frames[-1] + 1]], derivatives, frames)
        parts.append(part.double().cpu().numpy())
    return np.concatenate(parts)


def _exact_forces(potential: Potential, arrays: SplitArrays) -> np.ndarray:
    structures = structures_of(arrays, np.arange(len(arrays)))
    return np.concatenate([np.zeros((0, 3)), *(potential.energy_and_forces(a)[1] for a in structures)])


def have_forces(arrays: SplitArrays) -> np.ndarray:
    """Which frames have a force on every free atom, shape (n_frames,)."""
    missing = arrays.free & ~np.isfinite(arrays.forces).all(axis=1)
    return np.bincount(np.repeat(np.arange(len(arrays)), arrays.n_atoms), missing, len(arrays)) == 0


def force_scores(arrays: SplitArrays, predicted_ev: np.ndarray, forces: np.ndarray) -> dict[str, float]:
    """Force errors on the free atoms of a split, beside the error of predicting no force.

    Parameters
    ----------
    arrays : SplitArrays
    predicted_ev : numpy.ndarray, shape (n_frames,)
        Predicted energies.
    forces : numpy.ndarray, shape (n_atoms_total, 3)
        Predicted forces in eV/Å.

    Returns
    -------
    dict of str to float
        `hpopt_lib.metrics.force_metrics`, ``zero_force_mae_mev_per_angstrom`` and ``efwt``; empty when
        a frame has no forces or no atom is free.
    """
    if not have_forces(arrays).all() or not arrays.free.any():
        return {}
    true = np.where(arrays.free[:, None], arrays.forces, 0.0).astype(float)
    metrics = force_metrics(true, forces, arrays.free)
    metrics[f"zero_{FORCE_ERROR}"] = force_metrics(true, np.zeros_like(true), arrays.free)[FORCE_ERROR]
    metrics["efwt"] = efwt(arrays.energy, predicted_ev, true, forces, arrays.free, arrays.n_atoms)
    return metrics


class ForceScores:
    """`force_scores` of a split that comes part after part, in memory that does not grow with it.

    Parameters
    ----------
    potential : Potential
    """

    def __init__(self, potential: Potential) -> None:
        self._potential = potential
        self._sums: dict[str, float] = {}
        self._complete, self._n_free, self._n_frames = True, 0, 0

    def add(self, arrays: SplitArrays, predicted_ev: np.ndarray) -> None:
        """Predict the forces of a part; `predicted_ev` are its energies."""
        self._complete = self._complete and bool(have_forces(arrays).all())
        if not self._complete:
            return
        n_free, n_frames = int(arrays.free.sum()), len(arrays)
        if n_free:
            scores = force_scores(arrays, predicted_ev, predict_forces(self._potential, arrays))
        else:  # such frames count by their energy, see `hpopt_lib.metrics.efwt`
            none = np.zeros((len(arrays.free), 3))
            scores = {"efwt": efwt(arrays.energy, predicted_ev, none, none, arrays.free, arrays.n_atoms)}
        for name, value in scores.items():
            weight = n_frames if name == "efwt" else n_free
            part = value**2 if name == _FORCE_RMSE else value
            self._sums[name] = self._sums.get(name, 0.0) + weight * part
        self._n_free, self._n_frames = self._n_free + n_free, self._n_frames + n_frames

    def result(self) -> dict[str, float]:
        """See `force_scores`."""
        if not self._complete or not self._n_free:
            return {}
        means = {
            name: total / (self._n_frames if name == "efwt" else self._n_free)
            for name, total in self._sums.items()
        }
        return means | {_FORCE_RMSE: float(np.sqrt(means[_FORCE_RMSE]))}


class ForceTerm:
    """The forces of one training: their part of the loss, and their validation error.

    Parameters
    ----------
    potential : Potential
        The one in training.
    train, validation : SplitArrays
    loss : torch.nn.Module
        Of differences without unit.
    matrix_mb : float, optional
        See `hpopt_lib.potential.derivatives.derivatives_of`.

    Attributes
    ----------
    rms_ev_per_angstrom : float
        Root mean square of the training force components on free atoms.

    Raises
    ------
    HpoptError
        Frames without forces, no free atom, or numba is not installed.
    """

    def __init__(
        self,
        potential: Potential,
        train: SplitArrays,
        validation: SplitArrays,
        loss: torch.nn.Module,
        *,
        matrix_mb: float | None = None,
    ) -> None:
        check_forces(train, validation)
        self.potential, self._loss, self._validation = potential, loss, validation
        self._weight = potential.settings.force_weight
        true = np.where(train.free[:, None], train.forces, 0.0).astype(float)
        self.rms_ev_per_angstrom = max(float(np.sqrt((true[train.free] ** 2).mean())), 1e-6)
        scaled = torch.from_numpy(true / self.rms_ev_per_angstrom)
        self._targets = scaled.to(potential.device, potential.dtype)
        self._free = torch.from_numpy(train.free).to(potential.device)
        self._derivatives = derivatives_of(potential, train, matrix_mb=matrix_mb)
        self._validation_derivatives = derivatives_of(potential, validation, matrix_mb=matrix_mb)

    def __call__(
        self, inputs: torch.Tensor, frame: torch.Tensor, frames: np.ndarray, atoms: torch.Tensor
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """The network's outputs for a batch, and the weighted loss of its forces.

        Parameters
        ----------
        inputs : torch.Tensor, shape (n_atoms, n_columns)
        frame : torch.Tensor, shape (n_atoms,)
            Place of each atom's frame in the batch.
        frames : numpy.ndarray, shape (n_frames,)
            The training frames of the batch.
        atoms : torch.Tensor, shape (n_atoms,)
            Their atoms in the training split.
        """
        inputs = inputs.detach().requires_grad_()
        outputs = self.potential.network(inputs, frame, len(frames))
        (gradient,) = torch.autograd.grad(outputs.sum(), inputs, create_graph=True)
        unit = self.potential.residual_spread_ev_per_atom / self.rms_ev_per_angstrom
        forces = -unit * self._derivatives.pull(gradient, frames)
        free = self._free[atoms]
        if not bool(free.any()):  # the mean over nothing is not a number
            return outputs, outputs.new_zeros(())
        return outputs, self._weight * self._loss(forces[free], self._targets[atoms][free])

    def validation_error(self) -> float:
        """Force MAE of the validation split in meV/Å, on free atoms."""
        arrays = self._validation
        forces = predict_forces(self.potential, arrays, derivatives=self._validation_derivatives)
        true = np.where(arrays.free[:, None], arrays.forces, 0.0)
        return force_metrics(true, forces, arrays.free)[FORCE_ERROR]


def check_forces(train: SplitArrays, validation: SplitArrays) -> None:
    """Raise when a split cannot be trained or validated on forces."""
    for name, arrays in (("training", train), ("validation", validation)):
        found = have_forces(arrays)
        if not found.all():
            raise HpoptError(
                f"force_weight: {int((~found).sum())} of {len(arrays)} {name} frames have no forces",
                remedy="preprocess files with forces, or set force_weight to 0",
            )
        if not arrays.free.any():
            raise HpoptError(
                f"force_weight: no atom of the {name} frames is free", remedy="set force_weight to 0"
            )
