"""Replayed studies: what is stopped when, what it costs, and that a doctored record is found out."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from hpopt_lib.errors import HpoptError
from hpopt_lib.experiments.agreement import bootstrap_interval, check_agreement
from hpopt_lib.experiments.pruning import flat, recommend, run_pruning, run_repeats, tolerated_regret
from hpopt_lib.experiments.records import read_record, write_record
from hpopt_lib.experiments.replay import draw_orders, stop_epochs, trainings_used
from hpopt_lib.experiments.samplers import NAMES, probability_best, race, regret_at, run_samplers
from hpopt_lib.experiments.trial_table import TrialTable

RESULTS = Path(__file__).resolve().parents[2] / "book" / "results"
EPOCHS = 12


def small_table(*, crossing: bool = False) -> TrialTable:
    """24 points whose error falls to a level of their own; the best starts worst when curves cross."""
    grid = {"max_order": [0, 1, 2], "num_layers": [1, 2], "num_nodes": [8, 16, 32, 64]}
    rng = np.random.default_rng(0)
    levels = 10.0 + np.arange(24.0)
    starts = levels + 50 + (200 * (levels == 10) if crossing else 0)
    decay = np.exp(-np.arange(EPOCHS) / 1.2)
    curves = levels[:, None, None] + (starts - levels)[:, None, None] * decay + 0.01 * rng.random((24, 4, 1))
    return TrialTable(
        grid=grid, fixed={"epochs": EPOCHS}, seeds=[0, 1, 2, 3], metric="energy_mae_mev_per_atom",
        curves=curves.astype(np.float32), errors={"val": curves.min(axis=2)}, epoch_seconds=1 + np.arange(24.0),
    )  # fmt: skip


def test_nothing_is_saved_without_pruning_and_nothing_lost_where_curves_do_not_cross():
    settings = [("none", 0), ("median", 2), ("successive-halving", 2)]
    found = run_pruning(small_table(), settings=settings, n_orders=6, n_trials=16, seed=0)
    assert set(found["none, 0"]["seconds_saved"]) == {0.0} and set(found["none, 0"]["regret"]) == {0.0}
    for name in ("median, 2", "successive-halving, 2"):
        assert set(found[name]["lost"]) == {0.0} and min(found[name]["epochs_saved"]) > 0.1
        assert np.mean(found[name]["random_regret"]) > 0.5


def test_a_winner_that_starts_badly_is_lost_and_the_rule_does_not_recommend_it():
    table = small_table(crossing=True)
    settings = [("median", 1), ("median", 11)]
    found = run_pruning(table, settings=settings, n_orders=8, n_trials=24, seed=0)
    assert np.mean(found["median, 1"]["lost"]) > 0.5 and np.mean(found["median, 1"]["regret"]) > 0.5
    choice, confirmed = recommend(found, tolerated=0.2)
    assert choice == "median, 11" and confirmed[choice][1] < 0.2 < confirmed["median, 1"][1]
    assert recommend({"median, 1": found["median, 1"]}, tolerated=0.2)[0] is None


def test_a_diverged_training_fails_in_its_epoch():
    curves = np.asarray(small_table().curves[:, 0], dtype=float)
    curves[3, 5:] = np.nan
    assert stop_epochs(curves, "none", 0).tolist() == [EPOCHS] * 3 + [6] + [EPOCHS] * 20


def test_wilcoxon_stops_repeats_of_clearly_worse_trials_only():
    rng = np.random.default_rng(0)
    best, worse = 1 + 0.1 * rng.random((1, 10)), 5 + rng.random((5, 10))
    used = trainings_used(np.concatenate([best, worse, best - 0.5]))
    assert used[0] == used[-1] == 10 and set(used[1:-1]) == {4}
    found = run_repeats(small_table(), n_orders=2, n_trials=10, seed=0)
    assert set(found["all repeats"]["seed_mean_regret"]) == {0.0}
    assert set(found["one training"]["trainings_saved"]) == {0.75}


def test_orders_are_repeatable_and_differ():
    table = small_table()
    first, again = (draw_orders(table, 2, 10, seed=3) for _ in range(2))
    assert (first[1].points == again[1].points).all() and (first[0].points != first[1].points).any()
    with pytest.raises(ValueError, match="25 trials cannot be drawn from 24 points"):
        draw_orders(table, 1, 25, seed=0)


@pytest.mark.parametrize("sampler", NAMES)
@pytest.mark.parametrize("workers", [1, 4])
def test_a_race_finds_better_points_and_takes_its_time(sampler, workers):
    table = small_table()
    made = race(table, sampler, n_trials=14, seed=1, workers=workers)
    assert len(made.regret) == 14 and (np.diff(made.regret) <= 0.02).all() and made.regret[-1] < 8
    assert (np.diff(made.end_s) >= 0).all() and (made.sampler_s > 0).all()
    lasting = EPOCHS * table.epoch_seconds
    assert lasting.min() * 14 / workers < made.end_s[-1] < lasting.max() * 14 + made.sampler_s.sum() + 1


def test_parallel_workers_end_sooner_than_one():
    table = small_table()
    one, four = (race(table, "random", n_trials=16, seed=0, workers=n).end_s[-1] for n in (1, 4))
    assert four < 0.6 * one


def test_regret_at_a_time_and_the_probability_of_being_best():
    rows = {"regret": [[5.0, 2.0]], "end_s": [[1.0, 3.0]]}
    np.testing.assert_array_equal(
        regret_at(rows, np.array([0.5, 1.0, 2.9, 3.0, 9.0])), [[np.nan, 5, 5, 2, 2]]
    )
    assert probability_best({"a": [1.0, 2.0, 3.0], "b": [2.0, 3.0, 4.0]}) == {"a": 1.0, "b": 0.0}
    assert probability_best({"a": [1.0, 1.0], "b": [1.0, 1.0]}) == {"a": 0.5, "b": 0.5}
    found = run_samplers(small_table(), names=["random"], workers=[1], n_trials=3, seeds=[0, 1])
    assert [len(row) for row in found["random, 1 worker"]["regret"]] == [3, 3]


def test_an_interval_holds_the_mean_and_needs_values():
    low, high = bootstrap_interval(np.arange(40.0))
    assert 14 < low < 19.5 < high < 25
    with pytest.raises(ValueError, match="needs values"):
        bootstrap_interval([])


def test_a_doctored_record_stops_the_build(tmp_path):
    """The recorded pruning agrees with a new replay; with a median that saves less it does not."""
    record = read_record(RESULTS / "pruning.json", "pruning")
    table = TrialTable.load(RESULTS / "trial_table.npz")
    n_trials = record["settings"]["n_trials"]
    now = flat(run_pruning(table, settings=[("median", 4)], n_orders=20, n_trials=n_trials, seed=9))
    keys = ("median, 4: regret", "median, 4: seconds_saved")
    reduced = {key: now[key] for key in keys}
    tolerance = {"tolerance": 0.03, "where": "pruning.json"}
    recorded = flat({"median, 4": record["results"]["median, 4"]})
    assert check_agreement(recorded, reduced, **tolerance) == 2
    doctored = json.loads((RESULTS / "pruning.json").read_text())
    saved = doctored["results"]["median, 4"]["seconds_saved"]
    doctored["results"]["median, 4"]["seconds_saved"] = [value - 0.2 for value in saved]
    (tmp_path / "pruning.json").write_text(json.dumps(doctored))
    wrong = flat({"median, 4": read_record(tmp_path / "pruning.json", "pruning")["results"]["median, 4"]})
    with pytest.raises(HpoptError, match=r"pruning.json: median, 4: seconds_saved: recorded .*, now "):
        check_agreement(wrong, reduced, **tolerance)
    with pytest.raises(HpoptError, match="x: was not recorded"):
        check_agreement(recorded, {"x": [1.0]}, **tolerance)
    with pytest.raises(HpoptError, match="nothing to compare"):
        check_agreement(recorded, {}, **tolerance)


def test_the_default_pruner_is_the_one_that_the_record_recommends():
    from hpopt_lib.tuning.config import StudyConfig
    from hpopt_lib.tuning.samplers import default_warmup

    table = TrialTable.load(RESULTS / "trial_table.npz")
    results = read_record(RESULTS / "pruning.json", "pruning")["results"]
    found = {name: rows for name, rows in results.items() if "regret" in rows}
    expected = f"{StudyConfig.pruner}, {default_warmup(table.n_epochs)}"
    assert recommend(found, tolerated_regret(table))[0] == expected
    assert [default_warmup(epochs) for epochs in (5, 30, 150)] == [4, 4, 20]


def test_records_are_checked(tmp_path):
    path = tmp_path / "r.json"
    origin = dict.fromkeys(("command", "commit", "date", "hardware", "versions", "wall_s", "cpu_s"), "")
    write_record(path, "x", settings={"seed": 1}, results={"a": [1.5]}, origin=origin)
    assert read_record(path, "x")["results"] == {"a": [1.5]}
    with pytest.raises(HpoptError, match="r.json: is .*, not y"):
        read_record(path, "y")
    path.write_text(path.read_text()[:-20])
    with pytest.raises(HpoptError, match="r.json: no record, or damaged"):
        read_record(path, "x")
    with pytest.raises(HpoptError, match="no such file"):
        read_record(tmp_path / "none.json", "x")
    with pytest.raises(ValueError, match="the origin has no command"):
        write_record(path, "x", settings={}, results={}, origin={})
