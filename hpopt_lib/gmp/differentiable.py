"""The compiled kernels as differentiable functions of PyTorch, and the step that trains on forces.

Features depend on the moments M by norms, and on positions and cell through M. ``pull`` and ``push`` are the
two linear maps between them (`hpopt_lib.gmp.numba_kernels`), so the derivative of a force with respect to
the weights of a network is one ``push``: no graph of single operations is stored.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

from hpopt_lib.gmp.numba_backend import NumbaBackend, Structure
from hpopt_lib.gmp.numba_layout import order_norms

if TYPE_CHECKING:
    from ase import Atoms

    from hpopt_lib.gmp.features import GMPFeaturizer


class _State(NamedTuple):
    """One structure with everything that derivatives need."""

    backend: NumbaBackend
    structure: Structure
    moments: np.ndarray
    inverse: np.ndarray  # N / F, or 0 where the norm vanishes


def _evaluate(backend: NumbaBackend, structure: Structure) -> tuple[np.ndarray, _State]:
    values, moments = backend.features(structure, keep_moments=True)
    norms = np.repeat(order_norms(backend.settings.max_order), len(backend.settings.sigmas))
    inverse = np.divide(norms, values, out=np.zeros_like(values), where=values > 0.0)
    return values, _State(backend, structure, moments, inverse)


def _pull(state: _State, gradient: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Gradient with respect to the features -> with respect to positions and cell."""
    backend, structure = state.backend, state.structure
    return backend.pull(structure, backend.spread(gradient * state.inverse, structure.tables) * state.moments)


def _push(state: _State, positions: np.ndarray, cell: np.ndarray) -> np.ndarray:
    """Change of positions and cell -> change of the features."""
    backend, structure = state.backend, state.structure
    change = backend.push(structure, np.ascontiguousarray(positions), np.ascontiguousarray(cell))
    return backend.gather(state.moments * change, structure.tables) * state.inverse


def differentiable_features(
    backend: NumbaBackend,
    positions: Tensor,
    numbers: np.ndarray,
    cell: Tensor,
    pbc: Any,
    *,
    exact: Callable[[Tensor, Tensor], Tensor],
) -> Tensor:
    """Features with gradients with respect to positions and cell.

    Parameters
    ----------
    backend : NumbaBackend
    positions, cell : Tensor, shapes (n_atoms, 3) and (3, 3)
    numbers, pbc
        As in :meth:`GMPFeaturizer.features_torch`.
    exact : callable
        Features from positions and cell by differentiable operations; second derivatives with respect to
        positions and cell (a Hessian) are taken from there.
    """
    structure = backend.structure(positions.detach().numpy(), numbers, cell.detach().numpy(), pbc)
    values, state = _evaluate(backend, structure)
    result: Tensor = _Features.apply(positions, cell, torch.from_numpy(values), state, exact)
    return result


class _Features(torch.autograd.Function):
    @staticmethod
    def forward(ctx, positions, cell, values, state, exact):
        ctx.save_for_backward(positions, cell)
        ctx.rest = state, exact
        return values.clone()

    @staticmethod
    def backward(ctx, gradient):
        return *_Gradient.apply(gradient, *ctx.saved_tensors, *ctx.rest), None, None, None


class _Gradient(torch.autograd.Function):
    """First derivatives, linear in the gradient that comes from above."""

    @staticmethod
    def forward(ctx, gradient, positions, cell, state, exact):
        ctx.save_for_backward(gradient, positions, cell)
        ctx.rest = state, exact
        return tuple(map(torch.from_numpy, _pull(state, gradient.detach().numpy())))

    @staticmethod
    @once_differentiable
    def backward(ctx, positions_change, cell_change):
        gradient, positions, cell = ctx.saved_tensors
        state, exact = ctx.rest
        second: tuple[Tensor | None, ...] = (None, None)
        if any(ctx.needs_input_grad[1:3]):
            second = _hessian_product(exact, gradient, (positions, cell), (positions_change, cell_change))
        change = torch.from_numpy(_push(state, positions_change.numpy(), cell_change.numpy()))
        return change, *second, None, None


def _hessian_product(
    exact: Callable[[Tensor, Tensor], Tensor],
    gradient: Tensor,
    at: tuple[Tensor, Tensor],
    change: tuple[Tensor, Tensor],
) -> tuple[Tensor, ...]:
    with torch.enable_grad():
        variables = [value.detach().requires_grad_() for value in at]
        energy = (exact(*variables) * gradient.detach()).sum()
        first = torch.autograd.grad(energy, variables, create_graph=True)
        along = torch.stack([(one * other).sum() for one, other in zip(first, change)]).sum()
        return torch.autograd.grad(along, variables)


class LinkedFeatures:
    """Features of a batch of structures, linked to the atoms for training on energies and forces.

    Parameters
    ----------
    featurizer : GMPFeaturizer
        Its settings and densities count; the kernels are always the compiled ones.
    frames : sequence of ase.Atoms

    Attributes
    ----------
    features : Tensor, shape (n_atoms_total, num_features)
        Frame after frame, without a graph.

    Notes
    -----
    Positions are no part of the graph: backward through a force reaches the network and costs one sweep over
    the neighbours. To differentiate forces with respect to positions use `GMPFeaturizer.features_torch`.
    """

    def __init__(self, featurizer: GMPFeaturizer, frames: Sequence[Atoms]) -> None:
        backend = featurizer.numba_backend()
        parts = [
            _evaluate(backend, backend.structure(a.positions, a.numbers, a.cell.array, a.pbc)) for a in frames
        ]
        self.states = [state for _, state in parts]
        self.edges = np.cumsum([0, *(len(a) for a in frames)]).tolist()
        empty = np.zeros((0, featurizer.settings.num_features))
        self.features = torch.from_numpy(np.concatenate([empty, *(values for values, _ in parts)]))

    def pull(self, gradient: Tensor) -> Tensor:
        """Gradient with respect to the features -> with respect to the positions, (n_atoms_total, 3).

        Linear, and differentiable with respect to `gradient`.
        """
        result: Tensor = _Pull.apply(gradient, self)
        return result

    def energy_and_forces(self, energies: Callable[[Tensor], Tensor]) -> tuple[Tensor, Tensor]:
        """Energies of the atoms and the forces, with the graph that training needs.

        Parameters
        ----------
        energies : callable
            Features (n_atoms_total, num_features) -> energy of each atom, (n_atoms_total,); each may depend
            on the features of its own atom only, or on all of them.

        Returns
        -------
        energies : Tensor, shape (n_atoms_total,)
        forces : Tensor, shape (n_atoms_total, 3)
            Minus the gradient of the sum of the energies, per Å.
        """
        features = self.features.detach().requires_grad_()
        values = energies(features)
        (gradient,) = torch.autograd.grad(values.sum(), features, create_graph=True)
        return values, -self.pull(gradient)


class _Pull(torch.autograd.Function):
    @staticmethod
    def forward(ctx, gradient, linked):
        ctx.linked = linked
        values = gradient.detach().to(torch.float64).numpy()
        spans = zip(linked.states, linked.edges[:-1], linked.edges[1:])
        parts = [_pull(state, values[low:high])[0] for state, low, high in spans]
        return torch.from_numpy(np.concatenate([np.zeros((0, 3)), *parts])).to(gradient.dtype)

    @staticmethod
    @once_differentiable
    def backward(ctx, change):
        linked, none = ctx.linked, np.zeros((3, 3))
        values = change.to(torch.float64).numpy()
        spans = zip(linked.states, linked.edges[:-1], linked.edges[1:])
        parts = [_push(state, values[low:high], none) for state, low, high in spans]
        return torch.from_numpy(np.concatenate([linked.features[:0].numpy(), *parts])).to(change.dtype), None
