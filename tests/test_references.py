"""Per-element references: what least squares with a small ridge must give, also where data say little."""

from __future__ import annotations

import json

import numpy as np
import pytest

from hpopt_lib.errors import HpoptError
from hpopt_lib.references import LinearReference, composition, median_baseline

TRUE = {1: -3.0, 8: -430.0, 29: -1500.0}


def random_counts(elements: list[int], n_frames: int = 40, seed: int = 0) -> np.ndarray:
    counts = np.zeros((n_frames, 119))
    counts[:, elements] = np.random.default_rng(seed).integers(1, 9, (n_frames, len(elements)))
    return counts


def energies(counts: np.ndarray) -> np.ndarray:
    return sum(counts[:, z] * e for z, e in TRUE.items())


def test_composition_counts_by_frame():
    counts = composition(np.array([1, 1, 8, 29, 29]), np.array([3, 2]))
    assert counts.shape == (2, 119) and counts.sum() == 5
    assert counts[0, 1] == 2 and counts[0, 8] == 1 and counts[1, 29] == 2


def test_coefficients_are_recovered():
    counts = random_counts(list(TRUE))
    reference = LinearReference.fit(counts, energies(counts))
    assert reference.elements == (1, 8, 29) and reference.rank == 3
    for z, energy in TRUE.items():
        assert reference.coefficients[z] == pytest.approx(energy, rel=1e-3, abs=0.05)
    other = random_counts(list(TRUE), seed=1)
    assert reference.energy(other) == pytest.approx(energies(other), rel=1e-4)


def test_noise_is_averaged_as_by_ordinary_least_squares():
    counts = random_counts([1, 8], n_frames=400)
    noise = np.random.default_rng(2).normal(0, 0.1, 400) * counts.sum(axis=1)
    energy = counts[:, 1] * -3.0 + counts[:, 8] * -5.0 + noise
    fractions = counts[:, [1, 8]] / counts.sum(axis=1)[:, None]
    expected = np.linalg.lstsq(fractions, energy / counts.sum(axis=1), rcond=None)[0]
    found = LinearReference.fit(counts, energy).coefficients[[1, 8]]
    assert found == pytest.approx(expected, abs=1e-4)


def test_one_composition_gives_every_element_the_mean_energy_per_atom():
    counts = np.zeros((10, 119))
    counts[:, [6, 1, 8]] = [2, 6, 1]
    energy = -4200.0 + np.random.default_rng(0).normal(0, 0.2, 10)
    reference = LinearReference.fit(counts, energy)
    assert reference.rank == 1 and len(reference.elements) == 3
    assert reference.energy(counts) == pytest.approx(np.full(10, energy.mean()), abs=1e-3)
    assert np.abs(reference.coefficients).max() < 1000  # no huge numbers that cancel


def test_an_unseen_element_gets_the_mean_energy_per_atom():
    counts = random_counts([1, 8])
    energy = energies(counts)
    reference = LinearReference.fit(counts, energy)
    gold = np.zeros((1, 119))
    gold[0, 79] = 4
    assert reference.energy(gold)[0] == pytest.approx(4 * (energy / counts.sum(axis=1)).mean())


def test_one_frame_is_too_few():
    with pytest.raises(HpoptError, match="at least 2"):
        LinearReference.fit(random_counts([1], n_frames=1), np.array([1.0]))


def test_json_round_trip():
    counts = random_counts(list(TRUE))
    reference = LinearReference.fit(counts, energies(counts))
    again = LinearReference.from_dict(json.loads(json.dumps(reference.to_dict())))
    assert np.array_equal(again.coefficients, reference.coefficients)
    assert (again.elements, again.rank, again.ridge) == (reference.elements, reference.rank, reference.ridge)


def test_median_baseline():
    train = np.array([-2.0, -9.0, -40.0])
    found = median_baseline(train, np.array([1, 3, 4]), np.array([2, 5]))
    assert found == pytest.approx([-6.0, -15.0])  # per atom -2, -3, -10: the median is -3
