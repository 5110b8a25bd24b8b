"""A race stops the repeats of trials that cannot win, says why, and seldom those that would have won."""

from __future__ import annotations

import numpy as np
import optuna
import pytest
from scipy import stats

from hpopt_lib.errors import HpoptError
from hpopt_lib.tuning import objective as module
from hpopt_lib.tuning.interrupts import Interrupts, TrialStopped
from hpopt_lib.tuning.objective import Objective
from hpopt_lib.tuning.racing import check_race, standing
from hpopt_lib.tuning.space_file import parse_space
from hpopt_lib.tuning.study import tune

SPACE = "[num_nodes]\ntype='int'\nlow=1\nhigh=20\n"
FIXED = {"epochs": 2, "num_layers": 1, "batch_size": 16}


def test_the_margin_is_that_of_a_mean_of_a_finite_population():
    rng = np.random.default_rng(0)
    finished, errors = rng.normal(20, 2, (6, 5)), [22.0, 25.0]
    now = standing(errors, finished, repeats=5, confidence=0.9)
    freedom = 6 * 4 + 1
    variance = (finished.var(axis=1, ddof=1).sum() * 4 + np.var(errors, ddof=1)) / freedom
    expected = stats.t.ppf(1 - 0.1 / 4, freedom) * np.sqrt(variance * 3 / (5 * 2))
    assert now.margin == pytest.approx(expected) and now.mean == 23.5
    assert now.best == pytest.approx(finished.mean(axis=1).min())
    assert str(now).startswith(f"after 2 of 5 repeats: 23.5 ± {expected:.1f} meV/atom, best ")
    assert now.cannot_win == (23.5 - expected > now.best)
    assert standing([], finished, repeats=5, confidence=0.9) is None
    assert standing(errors, [], repeats=5, confidence=0.9) is None


def test_a_trial_that_would_win_is_stopped_no_more_often_than_was_said():
    """Of two thousand trials whose mean of 5 becomes just the best, about a tenth at most is stopped."""
    rng = np.random.default_rng(1)
    stopped = 0
    for _ in range(2000):
        others, own = rng.normal(0, 1, (4, 5)), rng.normal(0, 1, 5)
        own += others.mean(axis=1).min() - own.mean() - 1e-9
        looks = (standing(own[:k], others, repeats=5, confidence=0.9) for k in range(1, 5))
        stopped += any(now.cannot_win for now in looks)
    assert 0 < stopped < 0.1 * 2000 + 3 * np.sqrt(2000 * 0.1 * 0.9)


class Fake:
    """A training whose error is the number of nodes and some luck."""

    steps: list[tuple[int, int]] = []

    def __init__(self, data, settings, *, seed, device):
        self.settings, self.seed, self.epoch, self.history = settings, seed, 0, []

    finished = property(lambda self: self.epoch >= self.settings.epochs)

    def step(self):
        self.epoch += 1
        self.steps.append((self.settings.num_nodes, self.epoch))
        error = self.settings.num_nodes + (self.seed % 1000) / 1000
        self.history.append({"epoch": self.epoch, module.METRIC: error, "train_loss": 0.0})
        return self.history[-1]

    def result(self):
        error = self.history[-1][module.METRIC]
        made = {"best_error": error, "best_epoch": self.epoch, "history": self.history, "potential": None}
        return type("Result", (), made)()

    def state(self):
        return {
            "settings": self.settings.to_dict(),
            "epoch": self.epoch,
            "history": [list(record.values()) for record in self.history],
        }

    def restore(self, state):
        self.epoch = int(state["epoch"])
        keys = ("epoch", module.METRIC, "train_loss")
        self.history = [dict(zip(keys, row)) for row in state["history"]]


@pytest.fixture
def objective(monkeypatch):
    monkeypatch.setattr(module, "validation_scores", lambda potential, data: {})
    Fake.steps = []

    def make(**changes) -> Objective:
        options = {"seed": 0, "repeats": 5, "race": 0.95, "training": Fake, **changes}
        return Objective(None, parse_space(SPACE, where="test", fixed=FIXED), **options)

    return make


def study_of(*nodes: int) -> optuna.Study:
    study = optuna.create_study(sampler=optuna.samplers.RandomSampler(seed=0))
    for value in nodes:
        study.enqueue_trial({"num_nodes": value})
    return study


def test_a_trial_that_cannot_win_is_pruned_with_its_reason_and_its_mean(objective):
    study = study_of(3, 10, 2, 3)
    study.optimize(objective(), n_trials=4)
    assert [trial.state.name for trial in study.trials][:3] == ["COMPLETE", "PRUNED", "COMPLETE"]
    stopped = study.trials[1]
    assert len(stopped.user_attrs["repeat_errors"]) == 1 and stopped.user_attrs["epochs"] == 2
    assert stopped.user_attrs["mean_so_far"] == pytest.approx(np.mean(stopped.user_attrs["repeat_errors"]))
    assert stopped.user_attrs["stopped"].startswith("after 1 of 5 repeats: 10.")
    assert study.best_trial.number == 2 and len(study.best_trial.user_attrs["repeat_errors"]) == 5
    without = study_of(3, 10, 2, 3)
    without.optimize(objective(race=None), n_trials=4)
    assert [trial.state.name for trial in without.trials] == ["COMPLETE"] * 4
    assert without.best_value == study.best_value


def test_other_workers_trials_count_and_those_without_all_repeats_do_not(objective):
    study = study_of(10)
    for errors in ([1.0, 1.1], [2.0, 2.1, 2.2, 2.3, 2.4]):
        study.add_trial(
            optuna.trial.create_trial(value=float(np.mean(errors)), user_attrs={"repeat_errors": errors})
        )
    study.optimize(objective(), n_trials=1)
    stopped = next(trial for trial in study.trials if trial.params)
    assert stopped.state.name == "PRUNED" and stopped.user_attrs["stopped"].endswith("best 2.2")


def test_a_trial_goes_on_at_its_repeat_and_is_judged_by_what_the_others_found_meanwhile(objective, tmp_path):
    """Stopped in its third repeat; then another trial becomes better than it can be."""
    study, stops = study_of(10), Interrupts()
    options = {"checkpoint": lambda root: tmp_path / f"trial-{root}.npz", "stops": stops}

    class Stopping(Fake):
        def step(self):
            if len(self.steps) == 4:
                stops.reason = "stopped by SIGTERM"
            return super().step()

    trial = study.ask()
    with pytest.raises(TrialStopped):
        objective(training=Stopping, **options)(trial)
    stops.reason = ""
    assert len(Fake.steps) == 5
    study.add_trial(
        optuna.trial.create_trial(value=10.3, user_attrs={"repeat_errors": [9.3, 11.3, 10.3, 9.3, 11.3]})
    )
    value = objective(**options)(trial)  # not much better: it goes on, with what it had
    assert value == pytest.approx(np.mean(trial.user_attrs["repeat_errors"]))
    assert len(trial.user_attrs["repeat_errors"]) == 5 and len(Fake.steps) == 10
    assert len(set(trial.user_attrs["repeat_errors"])) == 5
    study.add_trial(
        optuna.trial.create_trial(value=1.0, user_attrs={"repeat_errors": [0.9, 1.1, 1.0, 1.0, 1.0]})
    )
    with pytest.raises(optuna.TrialPruned, match="after 2 of 5 repeats: 10.*best 1.0"):
        objective(**options)(trial)
    assert len(Fake.steps) == 10  # not one epoch more


def test_workers_race_against_each_others_trials(make_config, tmp_path, capsys):
    from hpopt_lib.report.tables import study_summary

    config = make_config(repeats=4, race=0.9, sampler="random")
    study = tune("s", config, trials=10, storage=f"sqlite:///{tmp_path}/s.db", jobs=2)
    states = [trial.state.name for trial in study.trials]
    assert sorted(set(states)) == ["COMPLETE", "PRUNED"] and len(states) == 10
    assert len({trial.user_attrs["worker"] for trial in study.trials}) == 2
    for trial in study.trials:
        repeats = len(trial.user_attrs["repeat_errors"])
        assert (repeats == 4) == (trial.state.name == "COMPLETE")
        assert trial.user_attrs.get("stopped", "").startswith(f"after {repeats} of 4") == (repeats < 4)
    assert "race, confidence       0.9" in study_summary(study)
    with pytest.raises(HpoptError, match="race \\(0.9, now None\\)"):
        tune("s", make_config(repeats=4, sampler="random"), trials=11, storage=f"sqlite:///{tmp_path}/s.db")


def test_races_that_cannot_be_run():
    check_race(None, repeats=1, pruner="wilcoxon")
    check_race(0.95, repeats=2, pruner="median")
    for confidence, repeats, pruner, message in (
        (1.0, 5, "none", "no confidence from 0.5 to below 1"),
        (0.2, 5, "none", "no confidence from 0.5 to below 1"),
        (0.95, 1, "none", "--repeats is 1; pass --repeats 3"),
        (0.95, 5, "wilcoxon", "--pruner wilcoxon decides on the same repeats"),
    ):
        with pytest.raises(HpoptError, match=f"--race {confidence}: .*{message}"):
            check_race(confidence, repeats=repeats, pruner=pruner)
