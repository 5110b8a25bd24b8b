"""Pairs against a plain sum over images, and the harmonics against Legendre polynomials."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
import torch
from scipy.special import eval_legendre

from hpopt_lib.gmp.harmonics import solid_harmonics
from hpopt_lib.gmp.neighbors import neighbor_pairs


@pytest.mark.parametrize("pbc", list(itertools.product([False, True], repeat=3)))
@pytest.mark.parametrize("zero_rows", [False, True])
def test_pairs_are_complete(pbc, zero_rows):
    rng = np.random.default_rng(3)
    cell = np.diag([3.0, 2.5, 3.5]) + rng.uniform(-0.3, 0.3, (3, 3))
    if zero_rows:
        cell[~np.array(pbc)] = 0.0
    positions = rng.uniform(-4.0, 6.0, (7, 3))
    cutoff = 4.0
    pairs = neighbor_pairs(positions, cell=cell, pbc=pbc, cutoff=cutoff)
    found = set(zip(pairs.first.tolist(), pairs.second.tolist(), map(tuple, pairs.shifts.tolist())))
    expected = set()
    for shift in itertools.product(*[range(-9, 10) if periodic else (0,) for periodic in pbc]):
        vectors = positions - positions[:, None] + np.array(shift) @ cell
        first, second = np.nonzero((vectors**2).sum(-1) < cutoff**2)
        expected |= set(zip(first.tolist(), second.tolist(), [shift] * len(first)))
    assert len(found) == len(pairs.first)
    assert found == expected
    assert (np.diff(pairs.first) >= 0).all()


def test_the_atom_itself_is_a_pair_at_distance_zero():
    pairs = neighbor_pairs(np.array([[1e3, 0.1, 0.2]]), cell=np.eye(3) * 2.5, pbc=True, cutoff=3.0)
    own = (pairs.shifts == 0).all(1)
    assert own.sum() == 1 and len(pairs.first) == 7


def test_harmonics_obey_the_addition_theorem():
    rng = np.random.default_rng(0)
    a, b = torch.tensor(rng.normal(size=(20, 3))), torch.tensor(rng.normal(size=(20, 3)))
    first, second = solid_harmonics(a, 8), solid_harmonics(b, 8)
    assert first.shape == (20, 81)
    lengths = (a.norm(dim=1) * b.norm(dim=1)).numpy()
    cosine = (a * b).sum(1).numpy() / lengths
    for order in range(9):
        block = slice(order**2, (order + 1) ** 2)
        total = (first[:, block] * second[:, block]).sum(1).numpy()
        np.testing.assert_allclose(
            total, lengths**order * eval_legendre(order, cosine), rtol=0, atol=1e-12 * lengths.max() ** order
        )


def test_harmonics_at_the_origin():
    origin = torch.zeros(1, 3, dtype=torch.float64, requires_grad=True)
    values = solid_harmonics(origin, 4)
    assert values[0, 0] == 1 and values[0, 1:].abs().max() == 0
    (gradient,) = torch.autograd.grad(values[0, 1:4].sum(), origin)
    assert torch.allclose(gradient, torch.ones_like(gradient))
