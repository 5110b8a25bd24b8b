"""Metrics of many models: what agrees with what, which pairs swap, and what a wrong choice costs."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest

from hpopt_lib.experiments import units
from hpopt_lib.experiments.records import read_record
from hpopt_lib.experiments.units import (
    METRICS,
    agreement_of,
    price_of_choosing,
    self_agreement,
    swaps,
    yardstick,
)
from hpopt_lib.store import Store

RESULTS = Path(__file__).resolve().parents[2] / "book" / "results"


def made_up(noise: float = 0.0) -> dict[str, np.ndarray]:
    """12 models, 5 seeds; the third metric turns the order of the first two round, EwT is right again."""
    rng = np.random.default_rng(0)
    levels = 10.0 + np.arange(12.0)[:, None] + noise * rng.normal(size=(12, 5))
    mirrored = levels.copy()
    mirrored[:2] = levels[1::-1]
    return {
        "energy_mae_mev_per_atom": levels,
        "energy_mae_ev": 0.03 * levels,
        "energy_rmse_ev": mirrored,
        "energy_ewt": 1 / levels,
    }


def test_a_factor_changes_no_order_and_larger_is_better_for_ewt():
    found = made_up(0.05)
    for name in ("energy_mae_ev", "energy_ewt"):
        tau, low, high = agreement_of(found, "energy_mae_mev_per_atom", name)
        assert (tau, low, high) == pytest.approx((1, 1, 1))
        assert not swaps(found, "energy_mae_mev_per_atom", name)
    tau, low, _ = agreement_of(found, "energy_mae_mev_per_atom", "energy_rmse_ev")
    assert tau == pytest.approx(1 - 2 * 2 / (12 * 11)) and low < tau


def test_a_pair_that_swaps_is_named_unless_the_seeds_could_have_done_it():
    clear = made_up(0.05)
    assert swaps(clear, "energy_mae_mev_per_atom", "energy_rmse_ev") == [(0, 1)]
    assert swaps(made_up(3.0), "energy_mae_mev_per_atom", "energy_rmse_ev") == []
    assert price_of_choosing(clear, "energy_mae_ev", "energy_mae_mev_per_atom") == [0.0] * 5
    price = price_of_choosing(clear, "energy_rmse_ev", "energy_mae_mev_per_atom")
    assert np.mean(price) == pytest.approx(0.1, abs=0.02)


def test_agreement_with_itself_is_perfect_without_luck_and_absent_without_anything_else():
    assert self_agreement(made_up(), "energy_mae_mev_per_atom") == pytest.approx(1)
    luck = {"energy_mae_ev": np.random.default_rng(0).normal(size=(60, 5))}
    assert abs(self_agreement(luck, "energy_mae_ev")) < 0.2
    both = {**luck, "energy_rmse_ev": np.arange(60.0)[:, None] + np.zeros(5)}
    assert yardstick(both, "energy_mae_ev", "energy_rmse_ev") == self_agreement(luck, "energy_mae_ev")


def test_differences_forget_what_a_system_has_in_common():
    energy = np.array([1.0, 2.0, 4.0, 10.0, 11.0])
    arrays = SimpleNamespace(
        energy=energy, n_atoms=np.full(5, 10), system_ids=np.array(["a", "a", "a", "b", "c"])
    )
    baselines = {"median": np.full(5, 4.0), "linear": np.full(5, 5.6)}
    shifted = energy + np.array([1.0, 1.0, 1.3, -7.0, 0.0])
    found = units.all_metrics(arrays, shifted, baselines)
    assert list(found) == list(METRICS)
    assert found["difference_mae_ev"] == pytest.approx(0.2)
    assert found["energy_mae_ev"] == pytest.approx(10.3 / 5) and found["energy_largest_error_ev"] == 7.0
    assert found["skill_over_linear"] == pytest.approx(1 - 10.3 / np.abs(5.6 - energy).sum())
    perfect = units.all_metrics(arrays, energy, baselines)
    assert perfect["r2_total"] == perfect["r2_referenced"] == perfect["energy_ewt"] == 1.0


def test_models_are_trained_and_scored_on_every_split(store_path, monkeypatch):
    monkeypatch.setitem(units.FIXED, "epochs", 1)
    store = Store.open(store_path)
    found = units.train_models(store, units.all_points()[:2], range(2))
    assert list(found) == store.validation_splits()
    for values in found.values():
        assert values["energy_mae_mev_per_atom"].shape == (2, 2)
        assert len(np.unique(values["energy_mae_mev_per_atom"])) == 4


def test_the_record_is_whole():
    record = read_record(RESULTS / "units.json", "units")
    shape = (len(units.all_points()), len(record["settings"]["seeds"]))
    assert record["settings"]["grid"] == units.GRID and record["settings"]["fixed"] == units.FIXED
    assert len(record["results"]) == 4 * len(METRICS)
    assert all(np.shape(values) == shape for values in record["results"].values())
    assert shape[1] >= 5
