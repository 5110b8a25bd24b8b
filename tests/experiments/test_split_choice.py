"""Divisions by three rules, trainings watched on several domains, and searches replayed on them."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from hpopt_lib.errors import HpoptError
from hpopt_lib.experiments.agreement import check_agreement
from hpopt_lib.experiments.domain_training import WatchedData, train_watched
from hpopt_lib.experiments.record_split_table import SELECTING, SELECTS, criteria_of, kept
from hpopt_lib.experiments.split_choice import non_dominated, objective_of, run_rules, run_selects, winners
from hpopt_lib.experiments.split_divisions import OUTER_FOLDS, POOLS, RULES, divide_pool, elements_of, halves
from hpopt_lib.experiments.split_table import SplitTable, draw_configs
from hpopt_lib.store import SplitArrays

RESULTS = Path(__file__).resolve().parents[2] / "book" / "results"
SPLITS = ["val_id", "val_ood_ads", "val_ood_cat", "val_ood_both"]


def frames(n_systems: int = 60, per_system: int = 4) -> SplitArrays:
    """Frames of one atom; every system is of one of twelve alloys, written in two ways."""
    metals = ["Cu", "Ni", "Pd", "Pt", "Au", "Ag"]
    alloys = [(a, b) for k, a in enumerate(metals) for b in metals[k + 1 :]][:12]
    info = []
    for system in range(n_systems):
        a, b = alloys[system % 12]
        formula = f"{a}3{b}" if system % 24 < 12 else f"{b}{a}"
        info += [{"system_id": f"s{system:03}", "composition": formula}] * per_system
    n, ones = len(info), np.ones((len(info), 3))
    return SplitArrays(
        n_atoms=np.ones(n, int), energy=np.arange(n) / n, cells=np.zeros((n, 3, 3)), pbc=ones > 0,
        features=ones, numbers=np.ones(n, int), positions=ones, forces=ones, free=ones[:, 0] > 0,
        tags=np.zeros(n, int), info=info,
    )  # fmt: skip


def test_divisions_keep_whole_what_the_rule_says():
    arrays = frames()
    systems = arrays.system_ids
    alloys = np.array(["-".join(elements_of(entry["composition"])) for entry in arrays.info])
    assert elements_of("Cu3Ni") == elements_of("NiCu") == ["Cu", "Ni"]
    torn = {}
    for rule in RULES:
        seen = []
        for number in range(POOLS * OUTER_FOLDS):
            made = divide_pool(arrays, rule, number)
            parts = (made.train, made.validation, made.test)
            assert len(np.concatenate(parts)) == len(np.unique(np.concatenate(parts))) == len(arrays) // POOLS
            for names in (systems, alloys):
                groups = [set(names[rows]) for rows in parts]
                torn.setdefault((rule, names is alloys), []).append(
                    bool(groups[0] & groups[1] or groups[0] & groups[2] or groups[1] & groups[2])
                )
            seen.append(made.test)
        # outer folds of both pools hold every frame once
        assert sorted(np.concatenate(seen)) == list(range(len(arrays)))
    assert all(torn["random", False]) and not any(torn["system", False]) and all(torn["system", True])
    assert not any(torn["alloy", False]) and not any(torn["alloy", True])
    with pytest.raises(ValueError, match="no division 10"):
        divide_pool(arrays, "system", 10)


def test_halves_share_no_system():
    arrays = frames()
    select, test = halves(arrays, 3)
    assert not set(arrays.system_ids[select]) & set(arrays.system_ids[test])
    assert len(select) + len(test) == len(arrays) and (halves(arrays, 4)[0] != select).any()


def test_a_watched_training_is_the_training_itself(dataset):
    """Watching more frames changes nothing; each criterion keeps the epoch that is best by it."""
    from hpopt_lib.potential.batched import train_many
    from hpopt_lib.potential.batched_training import Member
    from hpopt_lib.potential.settings import TrainSettings

    settings = [TrainSettings(num_layers=1, num_nodes=8, epochs=6, lr=lr) for lr in (1e-3, 1e-2)]
    members = [Member(one, seed=2) for one in settings]
    watched = WatchedData(dataset, {"validation": slice(0, 20), "test": slice(0, 10)})
    found = train_watched(watched, members, {"all": lambda e: e[0], "half": lambda e: e[1]})
    plain = [result.best_error for result in train_many(dataset, members)]
    np.testing.assert_allclose(found["all"][:, 0], plain, rtol=1e-12)
    assert (found["half"][:, 1] <= found["all"][:, 1]).all() and (found["half"][:, 0] >= plain).all()
    base = watched.baselines()
    assert base["validation"]["linear"] > 0 and base["test"]["median"] != base["validation"]["median"]


def noisy_table(*, leak: float = 0.0, harder_test: float = 0.0, noise: float = 3.0) -> SplitTable:
    """Settings of some quality, seen with noise of their own in each part; by frame the parts look easier."""
    rng = np.random.default_rng(0)
    divisions, n = list(range(POOLS * OUTER_FOLDS)), 200
    quality = rng.uniform(30, 40, n)
    parts = ["validation", "test", *(f"{s}/{half}" for s in SPLITS for half in ("select", "test"))]
    errors = {}
    for rule in RULES:
        seen = {
            part: quality
            + noise * rng.normal(size=(len(divisions), n))
            - leak * (rule == "random" and "/" not in part)
            + harder_test * (part == "test")
            for part in parts
        }
        for criterion in criteria_of(rule, parts):
            errors |= {
                f"{rule}/{criterion}/{p}": v.astype(np.float16) for p, v in seen.items() if kept(criterion, p)
            }
    configs = [{"lr": float(k)} for k in range(n)]
    return SplitTable(configs, {"epochs": 1}, divisions, SPLITS, errors, np.ones(n))


def test_optimism_grows_with_trials_and_does_not_depend_on_which_part_is_harder():
    sizes = (1, 5, 200)
    made = [
        run_rules(noisy_table(harder_test=hard), n_studies=40, seed=0, sizes=sizes, rules=["system"])
        for hard in (0.0, 8.0)
    ]
    means = [[np.mean(one[f"system, {n}: optimism"]) for n in sizes] for one in made]
    assert abs(means[0][0]) < 0.5 and 1 < means[0][1] < means[0][2]
    np.testing.assert_allclose(means[0], means[1], atol=0.05)
    quiet = run_rules(noisy_table(noise=0.0), n_studies=5, seed=0, sizes=(200,), rules=["system"])
    assert np.mean(quiet["system, 200: optimism"]) == pytest.approx(0, abs=1e-6)


def test_a_leak_is_in_the_promise_and_in_nested_cross_validation_but_not_in_the_optimism():
    made = run_rules(noisy_table(leak=10.0), n_studies=40, seed=0, sizes=(50,))
    leaky, honest = (
        {k: np.mean(made[f"{r}, 50: {k}"]) for k in ("promised", "nested", "optimism", "val_id")}
        for r in ("random", "system")
    )
    assert leaky["val_id"] - leaky["nested"] == pytest.approx(10, abs=1.5)
    assert honest["val_id"] - honest["nested"] == pytest.approx(0, abs=1.5)
    assert leaky["optimism"] == pytest.approx(honest["optimism"], abs=1.5)


def test_selecting_on_more_domains_averages_their_noise():
    made = run_selects(noisy_table(), n_studies=40, seed=0, sizes=(200,))
    mean, first = (np.mean(made[f"{name}, 200: mean"]) for name in ("mean", "first"))
    assert mean < first
    errors = np.array([[1.0, 5.0], [3.0, 2.0], [9.0, 0.0]])
    assert [objective_of(name, errors).tolist() for name in SELECTS] == [
        [1, 5], [13 / 3, 7 / 3], [9, 5], [2, 3.5], [3, 5],
    ]  # fmt: skip


def test_winners_are_the_best_so_far():
    errors, orders = np.array([3.0, 1.0, 2.0]), np.array([[0, 2, 1], [1, 0, 2]])
    assert winners(errors, orders, 2).tolist() == [2, 1] and winners(errors, orders, 3).tolist() == [1, 1]


def test_the_front_is_optunas():
    import optuna

    values = np.random.default_rng(0).integers(0, 6, (40, 3)).astype(float)
    study = optuna.create_study(directions=["minimize"] * 3)
    study.add_trials([optuna.trial.create_trial(values=row.tolist()) for row in values])
    assert np.flatnonzero(non_dominated(values)).tolist() == sorted(t.number for t in study.best_trials)


def test_a_table_is_saved_and_a_damaged_one_found_out(tmp_path):
    table = noisy_table()
    path = table.save(tmp_path / "t.npz")
    again = SplitTable.load(path)
    assert again.configs == table.configs and again.errors.keys() == table.errors.keys()
    np.testing.assert_array_equal(again.get("alloy", "test", "test"), table.get("alloy", "test", "test"))
    path.write_bytes(path.read_bytes()[:-100])
    with pytest.raises(HpoptError, match="not a table of splits, or damaged"):
        SplitTable.load(path)
    with pytest.raises(HpoptError, match="no such file"):
        SplitTable.load(tmp_path / "none.npz")


def test_settings_are_drawn_evenly_over_shapes():
    made = draw_configs({"num_nodes": [8, 16]}, {"lr": (1e-3, 1e-1)}, 20, seed=0)
    assert [sum(c["num_nodes"] == n for c in made) for n in (8, 16)] == [10, 10]
    assert all(1e-3 <= c["lr"] <= 1e-1 for c in made) and len({c["lr"] for c in made}) > 15


def test_a_doctored_table_stops_the_build():
    table = SplitTable.load(RESULTS / "split_choice.npz")
    draws = {"sizes": (50,), "rules": [SELECTING]}
    recorded = run_rules(table, n_studies=100, seed=0, **draws)
    now = run_rules(table, n_studies=20, seed=5, **draws)
    assert check_agreement(recorded, now, tolerance=0.5, where="split_choice.npz") == len(now)
    table.errors[f"{SELECTING}/validation/test"] += np.float16(20.0)
    wrong = run_rules(table, n_studies=100, seed=0, **draws)
    with pytest.raises(HpoptError, match=r"split_choice.npz: system, 50: \w+: recorded .*, now "):
        check_agreement(wrong, now, tolerance=0.5, where="split_choice.npz")


def test_a_recording_that_was_stopped_goes_on_from_its_parts(tmp_path, monkeypatch):
    from hpopt_lib.experiments import record_split_table as module
    from hpopt_lib.workspace import embedded_store

    store = embedded_store("oc20-like", stride=24)
    configs, fixed = [{"num_nodes": 4, "lr": 0.01}], {"epochs": 1, "num_layers": 1, "max_order": 0}
    first = module._part(tmp_path, str(store.path), "system", 2, configs, fixed)
    monkeypatch.setattr(module, "train_division", lambda *a: pytest.fail("trained again"))
    again = module._part(tmp_path, str(store.path), "system", 2, configs, fixed)
    assert again[0].keys() == first[0].keys() and again[1:] == first[1:]
    np.testing.assert_array_equal(again[0]["system/first/val_id/test"], first[0]["system/first/val_id/test"])
    with pytest.raises(pytest.fail.Exception, match="trained again"):
        module._part(tmp_path, str(store.path), "system", 2, [{"num_nodes": 4, "lr": 0.02}], fixed)
