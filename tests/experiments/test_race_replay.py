"""Replayed races: what is stopped, what it costs, and that the record agrees with a new replay."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from hpopt_lib.errors import HpoptError
from hpopt_lib.experiments.agreement import check_agreement
from hpopt_lib.experiments.pruning import flat
from hpopt_lib.experiments.racing import (
    choice,
    lost_interval,
    raced,
    rules,
    run_budget,
    run_racing,
    stopped_at_once,
)
from hpopt_lib.experiments.records import read_record
from hpopt_lib.experiments.trial_table import TrialTable

RESULTS = Path(__file__).resolve().parents[2] / "book" / "results"


@pytest.fixture(scope="module")
def table() -> TrialTable:
    return TrialTable.load(RESULTS / "trial_table.npz")


def test_a_race_stops_the_clearly_worse_after_one_repeat_and_none_of_the_better():
    rng = np.random.default_rng(0)
    first, worse, better = (level + 0.1 * rng.random((n, 5)) for level, n in ((2, 1), (9, 4), (1, 1)))
    used = raced(np.concatenate([first, worse, better, worse]), confidence=0.95)
    assert used.tolist() == [5, 1, 1, 1, 1, 5, 1, 1, 1, 1]
    noisy = np.array([[2.0, 2.1, 1.9, 2.0, 2.0], [2.3, 1.0, 1.0, 1.0, 1.0]])
    assert raced(noisy, confidence=0.95).tolist() == [5, 1]
    assert raced(noisy, confidence=0.999).tolist() == [5, 5]


def test_without_statistics_an_unlucky_first_repeat_ends_a_trial():
    repeats = np.array([[2.0, 2.0, 2.0], [2.1, 1.0, 1.0], [1.5, 1.5, 3.1]])
    assert stopped_at_once(repeats).tolist() == [3, 1, 3]
    assert choice("worse mean", repeats, np.array([3, 1, 3])) == 0
    assert choice("one training", repeats, np.array([1, 1, 1])) == 2


def test_more_confidence_saves_less_and_all_repeats_lose_nothing(table):
    found = run_racing(table, confidences=[0.5, 0.99], n_orders=6, n_trials=30, seed=3)
    assert set(found["all repeats"]["regret"]) == {0.0} == set(found["all repeats"]["trainings_saved"])
    saved = {name: np.mean(rows["trainings_saved"]) for name, rows in found.items()}
    assert saved["one training"] == pytest.approx(0.8)
    assert saved["worse mean"] > saved["race 0.5"] > saved["race 0.99"] > saved["Wilcoxon"] > 0
    assert list(found) == list(rules([0.5, 0.99]))


def test_an_equal_budget_is_kept_and_the_judging_seeds_are_not_seen(table):
    found = run_budget(table, confidences=[0.95], n_orders=4, trainings=30, repeats=3, seed=0)
    trials = {name: rows["trials"] for name, rows in found.items()}
    assert set(trials["one training"]) == {30.0} and set(trials["all repeats"]) == {10.0}
    assert all(10 < n < 30 for n in trials["race 0.95"])
    with pytest.raises(ValueError, match="5 repeats leave none of 5 seeds"):
        run_budget(table, confidences=[], n_orders=1, trainings=30, repeats=5, seed=0)


def test_what_was_never_lost_in_a_few_studies_may_still_be():
    assert lost_interval([0.0] * 20) == pytest.approx((0.0, 1 - 0.025 ** (1 / 20)))
    low, high = lost_interval([1.0] + [0.0] * 19)
    assert 0 < low < 0.05 < high < 0.3


def test_a_doctored_record_stops_the_build(table):
    record = read_record(RESULTS / "racing.json", "racing")
    now = run_racing(table, confidences=[0.95], n_orders=15, n_trials=record["settings"]["n_trials"], seed=7)
    reduced = {f"all: {name}": rows for name, rows in now.items() if name in ("race 0.95", "worse mean")}
    rare = {"tolerance": lost_interval([0.0] * 15, confidence=0.99)[1], "where": "racing.json"}
    assert check_agreement(flat(record["results"]), flat(reduced), **rare) == 6
    wrong = {**flat(record["results"])}
    key = "all: race 0.95: trainings_saved"
    wrong[key] = [value - 0.2 for value in wrong[key]]
    with pytest.raises(HpoptError, match=f"racing.json: {key}: recorded "):
        check_agreement(wrong, flat(reduced), tolerance=0.05, where="racing.json")
