"""What matters, found again where it was put; features cached; a doctored table of points is found out."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from hpopt_lib.data.embedded import load_embedded
from hpopt_lib.errors import HpoptError
from hpopt_lib.experiments import sensitivity as sense
from hpopt_lib.experiments.drawn_table import (
    HALVES,
    DrawnTable,
    train_point,
    train_points,
    training_frames,
)
from hpopt_lib.experiments.feature_cache import FeatureCache, density_set
from hpopt_lib.experiments.space_race import at_full_size, check_points, race_space
from hpopt_lib.experiments.wide_space import SPACES, configuration, draw, space
from hpopt_lib.gmp.settings import GMPSettings
from hpopt_lib.report import sensitivity_verdicts as say


def made_table(name: str = "features", n: int = 160, noise: float = 0.03) -> DrawnTable:
    """Points whose error depends on the rate, and on the transform at high orders only."""
    params, rng = draw(name, n, seed=0), np.random.default_rng(0)
    logs = np.array(
        [
            3.0 + 0.1 * (np.log(p["lr"]) - np.log(1e-3)) ** 2
            + 0.6 * (p.get("transform") == "none" and p["max_order"] > 1)
            for p in params
        ]
    )  # fmt: skip
    errors = np.exp(logs[:, None] + rng.normal(0, noise, (n, 2)))
    return DrawnTable(name, params, {half: errors.copy() for half in HALVES}, rng.uniform(0.5, 1.5, n))


TABLE = made_table()
VALUES = sense.log_errors(TABLE, 1000.0).mean(axis=1)  # nothing is capped


def test_the_groups_hold_every_hyperparameter_once():
    names = [name for group in sense.GROUPS.values() for name in group]
    assert sorted(names) == sorted(space("features")) and len(names) == len(set(names))


def test_points_are_valid_repeatable_and_within_the_wider_space():
    for name in SPACES:
        points = draw(name, 12, seed=3)
        assert points == draw(name, 12, seed=3) != draw(name, 12, seed=4)
        assert all(configuration(name, point).train.epochs > 0 for point in points)
    for key, kind in space("ampopt").items():
        wide = space("features")[key]
        low, high = (
            (min(wide.choices), max(wide.choices)) if hasattr(wide, "choices") else (wide.low, wide.high)
        )
        assert low <= kind.low and kind.high <= high, key
    assert configuration("ampopt", draw("ampopt", 1, seed=0)[0]).train.activation == "tanh"
    with pytest.raises(ValueError, match="space 'x' is none of"):
        space("x")


def test_shares_and_interactions_are_found_where_they_were_put():
    names = {name: [name] for name in space("features")}
    shares, explained = sense.permutation_shares(TABLE, VALUES, names, repeats=1)
    assert explained > 0.7 and say.ranking_sentence(shares).startswith("`lr` matters most")
    assert {"lr", "transform", "max_order"} == {n for n, s in shares.items() if s.mean() > 0.05}
    unseen = say.unseen_sentence(shares, explained=explained, luck=0.01)
    assert "`cutoff`" in unseen and "`lr`" not in unseen and "no proof" in unseen
    gains = sense.interaction_gains(TABLE, VALUES, ["lr", "num_layers", "transform", "max_order"])
    assert next(iter(gains)) == ("transform", "max_order")
    assert say.interacting(gains) == [("transform", "max_order")]
    assert "1 is shown to interact: `transform` with `max_order`" in say.interaction_sentence(gains)
    assert sense.seed_share(sense.log_errors(TABLE, 1000.0)) < 0.02


def test_a_best_range_inside_and_at_the_edge():
    inside = say.edge_row("lr", sense.best_ranges(TABLE, VALUES, "lr"), True)
    assert inside["verdict"] == "inside"
    tilted = np.array([p["num_layers"] for p in TABLE.params]) / 10.0
    edge = say.edge_row("num_layers", sense.best_ranges(TABLE, tilted, "num_layers"), True)
    assert edge["verdict"] == "**at the edge**" and edge["best"].startswith("1 to ")
    luck = np.random.default_rng(0).normal(size=len(TABLE))
    assert say.edge_row("loss", sense.best_ranges(TABLE, luck, "loss"), False)["verdict"] == "not settled"
    assert sum(mask.sum() for _, mask in sense.ranges(TABLE, "num_nodes")) == len(TABLE)


def test_a_search_gets_better_with_its_budget_and_pays_for_a_worse_space():
    full = at_full_size(TABLE)
    assert 0 < len(full) < len(TABLE) and {p["train_share"] for p in full.params} == {1.0}
    good = race_space(full, trials=[1, 30], baseline=60.0)
    assert good[:, 1].mean() < 0.7 * good[:, 0].mean()
    timed = race_space(full, seconds=[0.1, 30.0], baseline=60.0)
    assert (timed[:, 0] == 60.0).all() and timed[:, 1].mean() < 30
    worse = DrawnTable(
        "features", full.params, {h: 1.5 * rows for h, rows in full.errors.items()}, full.cpu_s
    )
    bad = race_space(worse, trials=[1, 30], baseline=60.0, seed=1)
    sentence = say.wider_sentence("b", "a", bad[:, 1], good[:, 1], "30 trials")
    assert "`b` finds worse than one of `a`" in sentence
    assert "not told apart" in say.wider_sentence("b", "a", good[:, 1], good[::-1, 1], "30 trials")


def test_what_is_found_is_judged_by_another_seed():
    """Where nothing matters, choosing by luck must not look like finding."""
    rng = np.random.default_rng(1)
    errors = {half: np.exp(3 + rng.normal(0, 0.3, (200, 2))) for half in HALVES}
    table = DrawnTable("network", draw("network", 200, seed=1), errors, np.ones(200))
    found = race_space(table, trials=[40], baseline=60.0)
    low, high = say.interval(found[:, 0])
    assert low < errors["report"].mean() < high < 2 * errors["choose"].mean()


def test_features_are_computed_once_and_depend_on_all_settings(tmp_path):
    frames = {"train": load_embedded("oc20-like", "train", limit=2)}
    cache, settings = FeatureCache(frames, tmp_path), GMPSettings(sigmas=(0.5, 1.0), max_order=1)
    first = cache.arrays("train", settings)
    assert cache.uses.computed_frames == 2 and cache.uses.read_frames == 0
    again = FeatureCache(frames, tmp_path)
    np.testing.assert_array_equal(again.arrays("train", settings).features, first.features)
    assert again.uses.computed_frames == 0 and again.uses.read_frames == 2
    simple = again.arrays("train", settings, "one-gaussian").features
    assert again.uses.computed_frames == 2 and not np.allclose(simple, first.features, rtol=1e-3)
    paths = {
        again.path("train", settings), again.path("train", settings, "one-gaussian"),
        again.path("train", replace(settings, cutoff=5.0)),
        FeatureCache({"train": frames["train"][:1]}, tmp_path).path("train", settings),
    }  # fmt: skip
    assert len(paths) == 4


def test_one_gaussian_keeps_charge_and_width():
    fitted, simple = density_set("fitted"), density_set("one-gaussian")
    r = np.linspace(0, 15, 20_000)
    for z in (1, 8, 29):
        assert len(simple[z].exponents) == 1 and simple[z].charge == pytest.approx(fitted[z].charge)
        widths = [np.trapezoid(4 * np.pi * r**4 * d[z](r), r) for d in (fitted, simple)]
        assert widths[1] == pytest.approx(widths[0], rel=1e-3)
    with pytest.raises(ValueError, match="'x' is none of fitted, one-gaussian"):
        density_set("x")


def test_points_are_trained_recorded_and_trained_again_alike(tmp_path):
    strides = {"train": 84, "val_id": 84}
    frames = training_frames(strides)
    halves = [{atoms.info["system_id"] for atoms in frames[half]} for half in HALVES]
    assert all(halves) and not halves[0] & halves[1]
    points = [("features", k, p) for k, p in enumerate(draw("features", 3, seed=1))]
    cheap = [(name, k, {**p, "num_layers": 1, "num_nodes": 8}) for name, k, p in points]
    errors, cpu_s, uses = train_points(cheap, [0, 1], tmp_path, strides=strides)
    assert uses.computed_frames >= sum(map(len, frames.values())) and min(cpu_s) > 0
    table = DrawnTable(
        "features",
        [p for _, _, p in cheap],
        {half: np.array([one[half] for one in errors]) for half in HALVES},
        np.array(cpu_s),
    )
    table.errors["report"][0, 0] = np.inf
    loaded = DrawnTable.from_dict("features", table.to_dict())
    np.testing.assert_allclose(loaded.errors["report"], table.errors["report"], atol=1e-3)
    assert loaded.params[1]["lr"] == pytest.approx(cheap[1][2]["lr"], rel=1e-4)
    table.errors["report"][0, 0] = errors[0]["report"][0]
    cache = FeatureCache(frames, tmp_path)
    again = [train_point(cache, name, p, [0, 1], draw=k)[0] for name, k, p in cheap[1:]]
    assert cache.uses.computed_frames == 0 and cache.uses.read_frames > 0
    assert check_points(table, [1, 2], again, where="x") < 1e-3
    with pytest.raises(HpoptError, match="x: errors of 2 points differ by a factor of"):
        wrong = [{half: [2 * e for e in one[half]] for half in HALVES} for one in again]
        check_points(table, [1, 2], wrong, where="x")
    with pytest.raises(HpoptError, match="x: choose: other trainings diverge"):
        check_points(table, [1], [{half: [np.inf, 1.0] for half in HALVES}], where="x")
    with pytest.raises(HpoptError, match="nothing to compare"):
        check_points(table, [], [], where="x")
    damaged = table.to_dict()
    damaged["params"]["lr"] = damaged["params"]["lr"][:-1]
    with pytest.raises(HpoptError, match="space features: not a table of points"):
        DrawnTable.from_dict("features", damaged)
