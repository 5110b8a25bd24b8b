"""Every sampler and pruner by name, with the options that matter set explicitly."""

from __future__ import annotations

import warnings

import optuna
import pytest

from hpopt_lib.errors import HpoptError
from hpopt_lib.tuning.samplers import PRUNERS, SAMPLERS, make_pruner, make_sampler, worker_seed
from hpopt_lib.tuning.space_file import parse_space

PLAIN = "[lr]\ntype='float'\nlow=1e-3\nhigh=1e-1\nlog=true\n[num_nodes]\ntype='int'\nlow=4\nhigh=8\n"
CONDITIONAL = (
    "[schedule]\ntype='categorical'\nchoices=['step','cosine']\n"
    "[gamma]\ntype='float'\nlow=0.1\nhigh=0.9\nwhen={schedule='step'}\n" + PLAIN
)


def space_of(text: str):
    return parse_space(text, where="test")


def drawn(name: str, n: int = 3, *, seed: int = 0, worker: int = 0, text: str = PLAIN) -> list[dict]:
    space = space_of(text)
    study = optuna.create_study(sampler=make_sampler(name, seed=seed, space=space, worker=worker))

    def objective(trial):
        values = space.suggest(trial)
        return values["lr"] + values["num_nodes"]

    with warnings.catch_warnings():
        warnings.simplefilter("ignore", optuna.exceptions.ExperimentalWarning)
        study.optimize(objective, n_trials=n)
    return [trial.params for trial in study.trials]


def test_kinds_of_samplers():
    samplers = optuna.samplers
    kinds = {
        "tpe": samplers.TPESampler, "cmaes": samplers.CmaEsSampler, "gp": samplers.GPSampler,
        "nsga2": samplers.NSGAIISampler, "random": samplers.RandomSampler, "quasi-random": samplers.QMCSampler,
        "grid": samplers.GridSampler,
    }  # fmt: skip
    assert set(kinds) == set(SAMPLERS)
    for name, kind in kinds.items():
        assert type(make_sampler(name, seed=0, space=space_of(PLAIN))) is kind


def test_tpe_is_multivariate_with_the_constant_liar_and_grouped_when_conditional(monkeypatch):
    given = []
    original = optuna.samplers.TPESampler.__init__

    def spy(self, **options):
        given.append(options)
        original(self, **options)

    monkeypatch.setattr(optuna.samplers.TPESampler, "__init__", spy)
    for text in (PLAIN, CONDITIONAL):
        make_sampler("tpe", seed=3, space=space_of(text))
    assert given[0] == {"seed": 3, "multivariate": True, "group": False, "constant_liar": True}
    assert given[1] == {**given[0], "group": True}


@pytest.mark.parametrize("name", SAMPLERS)
def test_the_same_seed_draws_the_same(name):
    assert drawn(name, 4, seed=5) == drawn(name, 4, seed=5)


@pytest.mark.parametrize("name", ["tpe", "cmaes", "gp", "random"])
def test_every_process_draws_something_else(name):
    assert drawn(name, 2, worker=0) != drawn(name, 2, worker=1) != drawn(name, 2, worker=2)


def test_seeds_of_workers_do_not_meet():
    seeds = {worker_seed(study, worker) for study in range(20) for worker in range(1, 50)}
    assert len(seeds) == 20 * 49 and worker_seed(7, 0) == 7 and max(seeds) < 2**32


@pytest.mark.parametrize("name", ["tpe", "cmaes", "gp", "random", "quasi-random"])
def test_conditional_spaces(name):
    found = drawn(name, 4, text=CONDITIONAL)
    assert all(("gamma" in params) == (params["schedule"] == "step") for params in found)


def test_a_grid_is_covered_once_also_by_several_processes():
    """Workers must share one order of the grid, whatever their own seed is."""
    space = space_of(PLAIN)
    study = optuna.create_study()
    for number in range(9):
        study.sampler = make_sampler("grid", seed=0, space=space, worker=number % 3)
        study.optimize(lambda trial: float(len(space.suggest(trial))), n_trials=1)
    points = {tuple(sorted(trial.params.items())) for trial in study.trials}
    assert len(points) == 9


def test_sobol_points_of_several_processes_are_one_sequence():
    space = space_of(PLAIN)

    def points(workers: list[int]) -> list[dict]:
        study = optuna.create_study()
        for worker in workers:
            study.sampler = make_sampler("quasi-random", seed=0, space=space, worker=worker)
            with warnings.catch_warnings():
                warnings.simplefilter("ignore", optuna.exceptions.ExperimentalWarning)
                trial = study.ask()
                space.suggest(trial)
            study.tell(trial, 0.0)
        return [trial.params for trial in study.trials]

    # the first point is drawn without a space, from the worker's own seed
    assert points([0, 0, 0, 0])[1:] == points([0, 1, 2, 3])[1:]


def test_a_grid_over_conditions_is_refused():
    with pytest.raises(
        HpoptError, match="sampler grid: the space has conditional parameters; fix them with --set"
    ):
        make_sampler("grid", seed=0, space=space_of(CONDITIONAL))


def test_unknown_names():
    with pytest.raises(HpoptError, match="--sampler: 'bayes' is unknown; use one of tpe, cmaes, gp"):
        make_sampler("bayes", seed=0, space=space_of(PLAIN))
    with pytest.raises(HpoptError, match="--pruner: 'asha' is unknown; use one of median"):
        make_pruner("asha", epochs=10)


def test_kinds_of_pruners_and_the_wilcoxon_needs_repeats():
    pruners = optuna.pruners
    kinds = {
        "median": pruners.MedianPruner, "successive-halving": pruners.SuccessiveHalvingPruner,
        "hyperband": pruners.HyperbandPruner, "wilcoxon": pruners.WilcoxonPruner, "none": pruners.NopPruner,
    }  # fmt: skip
    assert set(kinds) == set(PRUNERS)
    for name, kind in kinds.items():
        assert type(make_pruner(name, epochs=10, repeats=4)) is kind
    with pytest.raises(HpoptError, match="--pruner wilcoxon: .* --repeats is 2; pass --repeats 4"):
        make_pruner("wilcoxon", epochs=10, repeats=2)


@pytest.mark.parametrize("name", [name for name in PRUNERS if name != "wilcoxon"])
def test_pruners_stop_a_bad_curve_and_never_a_good_one(name):
    epochs = 30
    study = optuna.create_study(
        pruner=make_pruner(name, epochs=epochs), sampler=optuna.samplers.RandomSampler(seed=0)
    )

    def objective(trial):
        level = 1.0 if trial.number % 2 else 50.0
        for epoch in range(1, epochs + 1):
            trial.report(level + 1.0 / (epoch + trial.number), step=epoch)
            if trial.should_prune():
                raise optuna.TrialPruned
        return level

    study.optimize(objective, n_trials=40)
    pruned = [trial for trial in study.trials if trial.state.name == "PRUNED"]
    if name == "none":
        assert not pruned
        return
    bad = sum(trial.number % 2 == 0 for trial in pruned)
    assert bad >= 5 and min(len(trial.intermediate_values) for trial in pruned) >= 4
    if name == "median":
        assert bad == len(pruned)
