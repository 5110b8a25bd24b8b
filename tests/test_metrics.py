"""Metrics against hand-computed values and against their definitions."""

from __future__ import annotations

import numpy as np
import pytest
from ase import units

from hpopt_lib import metrics
from hpopt_lib.units import PER_ANGSTROM, PER_EV, convert_energy

ENERGY, PREDICTED, ATOMS = [1.0, -2.0, 3.0], [1.01, -2.5, 3.02], [1, 2, 4]


def test_energy_errors_by_hand():
    found = metrics.energy_metrics(ENERGY, PREDICTED, ATOMS)
    assert found["energy_mae_ev"] == pytest.approx((0.01 + 0.5 + 0.02) / 3)
    assert found["energy_rmse_ev"] == pytest.approx(np.sqrt((0.01**2 + 0.5**2 + 0.02**2) / 3))
    assert found["energy_mae_mev_per_atom"] == pytest.approx((10 + 250 + 5) / 3)
    assert found["energy_rmse_mev_per_atom"] == pytest.approx(np.sqrt((10**2 + 250**2 + 5**2) / 3))
    assert found["energy_mae_kcal_per_mol"] == pytest.approx(found["energy_mae_ev"] * units.mol / units.kcal)
    assert found["n_frames"] == 3


def test_energy_within_threshold_is_strict_at_20_mev():
    energy = np.zeros(4)
    assert metrics.energy_metrics(energy, [0.0, 0.0199, 0.02, -0.0201], np.ones(4))["energy_ewt"] == 0.5


def test_a_sign_error_shows():
    assert metrics.energy_metrics([1.0], [-1.0], [1])["energy_mae_ev"] == 2.0


@pytest.mark.parametrize("predicted", [[1.0], [[1.0, 2.0, 3.0]], []])
def test_shapes_that_do_not_fit_are_errors(predicted):
    with pytest.raises(ValueError, match="vectors of one non-zero length"):
        metrics.energy_metrics(ENERGY, predicted, ATOMS)


def test_no_frame_is_an_error():
    with pytest.raises(ValueError, match="non-zero length"):
        metrics.energy_metrics([], [], [])


def test_force_errors_by_hand_on_free_atoms_only():
    forces = [[1.0, 0, 0], [0, 2.0, 0], [9, 9, 9]]
    predicted = [[0.9, 0, 0], [2.0, 0, 0], [-9, 0, 0]]
    found = metrics.force_metrics(forces, predicted, [True, True, False])
    assert found["force_mae_mev_per_angstrom"] == pytest.approx(1000 * (0.1 + 2 + 2) / 6)
    assert found["force_rmse_mev_per_angstrom"] == pytest.approx(1000 * np.sqrt((0.01 + 4 + 4) / 6))
    assert found["force_cosine"] == pytest.approx((1.0 + 0.0) / 2)


def test_cosine_of_opposite_scaled_and_zero_forces():
    forces = [[1.0, 1, 0], [1, 1, 0], [1, 0, 0], [0, 0, 0]]
    predicted = [[3.0, 3, 0], [-1, -1, 0], [0, 0, 0], [1, 0, 0]]
    assert metrics.force_metrics(forces, predicted, [True] * 4)["force_cosine"] == pytest.approx(0.0)
    assert metrics.force_metrics(forces[:1], predicted[:1], [True])["force_cosine"] == pytest.approx(1.0)
    assert metrics.force_metrics(forces[1:2], predicted[1:2], [True])["force_cosine"] == pytest.approx(-1.0)


def test_force_metrics_need_a_free_atom_and_fitting_shapes():
    with pytest.raises(ValueError, match="no free atom"):
        metrics.force_metrics(np.ones((2, 3)), np.ones((2, 3)), [False, False])
    with pytest.raises(ValueError, match="do not fit"):
        metrics.force_metrics(np.ones((2, 3)), np.ones((2, 3)), [True])


@pytest.mark.parametrize(
    ("energy_error", "force_error", "expected"),
    [(0.019, 0.029, 1.0), (0.021, 0.0, 0.0), (0.0, 0.031, 0.0), (0.02, 0.0, 0.0), (0.0, 0.03, 0.0)],
)
def test_efwt_needs_energy_below_20_mev_and_every_component_below_30_mev_per_angstrom(
    energy_error, force_error, expected
):
    found = np.zeros((2, 3))
    found[1, 2] = -force_error
    assert metrics.efwt([0.0], [energy_error], np.zeros((2, 3)), found, [1, 1], [2]) == expected


def test_efwt_counts_frames_and_skips_fixed_atoms():
    forces, found = np.zeros((5, 3)), np.zeros((5, 3))
    found[0, 0] = 1.0  # fixed atom of the first frame: does not count
    found[4, 1] = 1.0  # free atom of the third frame
    free = [False, True, True, False, True]
    assert metrics.efwt(np.zeros(3), np.zeros(3), forces, found, free, [2, 1, 2]) == pytest.approx(2 / 3)


def test_efwt_of_a_frame_without_free_atoms_goes_by_its_energy():
    found = np.ones((2, 3))
    assert metrics.efwt([0.0, 0.0], [0.01, 0.03], np.zeros((2, 3)), found, [False, False], [1, 1]) == 0.5


def test_skill():
    assert metrics.skill(0.0, 4.0) == 1.0
    assert metrics.skill(4.0, 4.0) == 0.0
    assert metrics.skill(6.0, 4.0) == -0.5
    for baseline in (0.0, -1.0, float("nan")):
        with pytest.raises(ValueError, match="positive"):
            metrics.skill(1.0, baseline)


def test_bootstrap_interval_covers_the_mean_as_often_as_it_says():
    rng = np.random.default_rng(0)
    covered = 0
    for trial in range(200):
        low, high = metrics.bootstrap_interval(rng.exponential(1.0, 80), n_resamples=400, seed=trial)
        covered += low <= 1.0 <= high
    assert 0.89 <= covered / 200 <= 0.98


def test_bootstrap_resamples_whole_groups():
    rng = np.random.default_rng(1)
    offsets = rng.normal(0, 1, 25)
    values, groups = np.repeat(offsets, 20) + rng.normal(0, 0.01, 500), np.repeat(np.arange(25), 20)
    low, high = metrics.bootstrap_interval(values, groups)
    assert high - low == pytest.approx(2 * 1.96 * offsets.std() / 5, rel=0.25)
    naive_low, naive_high = metrics.bootstrap_interval(values)
    assert naive_high - naive_low < 0.5 * (high - low)
    # names of systems do as well as numbers
    assert metrics.bootstrap_interval(values, [f"system {g:02d}" for g in groups]) == (low, high)


def test_bootstrap_weighs_groups_by_their_size_and_repeats():
    values, groups = [0.0] * 9 + [1.0], [0] * 9 + [1]
    assert metrics.bootstrap_interval(values, groups) == (0.0, 1.0)
    assert metrics.bootstrap_interval([3.0, 3.0]) == (3.0, 3.0)
    assert metrics.bootstrap_interval(values, seed=4) == metrics.bootstrap_interval(values, seed=4)
    wide, narrow = (metrics.bootstrap_interval(values, confidence=c) for c in (0.99, 0.5))
    assert wide[1] - wide[0] > narrow[1] - narrow[0]


def test_learning_curve():
    runs = [{"n_train": 10, "mae": 3.0}, {"n_train": 5, "mae": 8.0}, {"n_train": 10, "mae": 5.0}]
    curve = metrics.learning_curve(runs, error="mae")
    assert curve["size"] == [5, 10] and curve["mean"] == [8.0, 4.0] and curve["n_seeds"] == [1, 2]
    assert np.isnan(curve["std"][0]) and curve["std"][1] == pytest.approx(np.sqrt(2))


def test_units_are_those_of_ase():
    assert convert_energy(1.0, source="eV", target="kcal/mol") == pytest.approx(23.0605, rel=1e-5)
    assert convert_energy(1.0, source="Hartree", target="eV") == pytest.approx(27.2114, rel=1e-5)
    assert convert_energy(1.0, source="eV", target="kJ/mol") == pytest.approx(96.4853, rel=1e-5)
    assert PER_ANGSTROM["Bohr"] == pytest.approx(1 / 0.529177, rel=1e-5)
    for unit in PER_EV:
        assert convert_energy(convert_energy(2.5, source=unit, target="meV"), source="meV", target=unit) == (
            pytest.approx(2.5)
        )
    with pytest.raises(KeyError):
        convert_energy(1.0, source="eV", target="furlong")
