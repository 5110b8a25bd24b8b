"""The feature scaler: streamed as in one batch, safe for constant columns and extreme values."""

from __future__ import annotations

import json

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from hpopt_lib.errors import HpoptError
from hpopt_lib.scaling import FeatureScaler, transform


def fitted(values: np.ndarray, *, pieces: int = 1, kind: str = "none") -> FeatureScaler:
    scaler = FeatureScaler.empty(values.shape[1], kind=kind)
    for piece in np.array_split(values, pieces):
        scaler.update(piece)
    return scaler


@pytest.mark.parametrize("kind", ["log", "none"])
@settings(max_examples=30, deadline=None)
@given(seed=st.integers(0, 1000), pieces=st.integers(1, 40), offset=st.sampled_from([0.0, 1e6, -1e3]))
def test_streamed_is_batch(kind, seed, pieces, offset):
    values = np.random.default_rng(seed).normal(offset, 2.0, (30, 4))
    scaler, expected = fitted(values, pieces=pieces, kind=kind), transform(values, kind)
    assert scaler.count == 30
    assert scaler.mean == pytest.approx(expected.mean(axis=0), rel=1e-12, abs=1e-12)
    assert scaler.std == pytest.approx(expected.std(axis=0), rel=1e-6)


def test_standardised_training_features_have_mean_0_and_spread_1():
    values = np.random.default_rng(0).gamma(2.0, 3.0, (500, 3)) * [1, 1e-4, 1e4]
    for kind in ("log", "none"):
        scaled = fitted(values, kind=kind)(values)
        assert scaled.mean(axis=0) == pytest.approx(0, abs=1e-9)
        assert scaled.std(axis=0) == pytest.approx(1)


def test_constant_columns_become_zero_also_for_new_values():
    values = np.random.default_rng(0).normal(5, 1, (50, 4))
    values[:, 1] = 3.7
    values[:, 2] = 0.0
    values[:, 3] = 2.0 + 1e-16 * np.arange(50) + 4e-16 * (np.arange(50) % 2)
    scaler = fitted(values, pieces=7)
    assert scaler.constant.tolist() == [False, True, True, True]
    new = np.full((2, 4), 100.0)
    assert np.array_equal(scaler(new)[:, 1:], np.zeros((2, 3)))
    assert scaler(new)[0, 0] == pytest.approx((100 - values[:, 0].mean()) / values[:, 0].std())


def test_a_small_but_real_spread_is_kept():
    values = np.column_stack([np.linspace(0.999, 1.001, 20), 1e-6 * np.linspace(1, 2, 20)])
    assert not fitted(values).constant.any()


def test_a_selection_of_columns_scales_as_the_whole():
    rng = np.random.default_rng(0)
    values = np.column_stack([rng.normal(3, 1, 40), 1e-14 * rng.normal(1, 1, 40), rng.normal(0.1, 0.02, 40)])
    scaler, columns = fitted(values), np.array([1, 2])
    assert scaler.constant.tolist() == [False, True, False]
    for chosen in (columns, np.array([1])):
        # what is round-off beside the large column stays so when that column is left out
        assert np.array_equal(scaler.select(chosen)(values[:, chosen]), scaler(values)[:, chosen])


def test_nothing_seen_and_empty_pieces():
    scaler = FeatureScaler.empty(2, kind="none")
    scaler.update(np.zeros((0, 2)))
    assert scaler.count == 0 and scaler.std.tolist() == [1.0, 1.0]
    scaler.update(np.array([[1.0, 2.0]]))
    assert scaler.count == 1 and scaler.constant.all()


@pytest.mark.parametrize("kind", ["log", "none"])
def test_float_extremes_stay_finite(kind):
    largest, tiny = float(np.finfo(np.float32).max), float(np.finfo(np.float32).smallest_subnormal)
    values = np.array([[largest, tiny, 0.0], [-largest, 2 * tiny, -0.0], [0.0, tiny, 0.0]], dtype=np.float32)
    scaler = fitted(values, kind=kind)
    assert np.isfinite(scaler.mean).all() and np.isfinite(scaler.std).all() and (scaler.std > 0).all()
    assert np.isfinite(scaler(values)).all()


def test_log_transform_is_odd_monotonic_and_has_slope_50_at_zero():
    x = np.linspace(-5, 5, 1001)
    y = transform(x, "log")
    assert y == pytest.approx(-transform(-x, "log"))
    assert (np.diff(y) > 0).all()
    assert transform(np.array([1e-9]), "log")[0] == pytest.approx(50e-9, rel=1e-6)
    assert transform(np.array([2.0]), "log")[0] == pytest.approx(np.log(101))
    assert transform(x, "none") is x


def test_unknown_transform():
    with pytest.raises(HpoptError, match="'sqrt' is unknown; use one of log, none"):
        transform(np.zeros((1, 1)), "sqrt")


def test_json_round_trip_is_exact():
    values = np.random.default_rng(3).normal(size=(20, 3))
    scaler = fitted(values, kind="log")
    again = FeatureScaler.from_dict(json.loads(json.dumps(scaler.to_dict())))
    assert np.array_equal(again(values), scaler(values))
