"""Samplers and pruners by name, with every choice that matters made explicit."""

from __future__ import annotations

import hashlib
import warnings
from typing import TYPE_CHECKING

from hpopt_lib.errors import HpoptError

if TYPE_CHECKING:
    import optuna

    from hpopt_lib.tuning.space import SearchSpace

SAMPLERS = ("tpe", "cmaes", "gp", "nsga2", "random", "quasi-random", "grid")
PRUNERS = ("median", "successive-halving", "hyperband", "wilcoxon", "none")
#: Values that a grid search tries of a parameter that has neither choices nor a step.
GRID_POINTS = 3
#: Default of `--pruner`, and epochs of a short training before a trial may be stopped: measured in
#: the chapter on pruning with trainings of `MEASURED_EPOCHS`.
PRUNER, WARMUP_EPOCHS, MEASURED_EPOCHS = "successive-halving", 4, 30


def make_sampler(name: str, *, seed: int, space: SearchSpace, worker: int = 0) -> optuna.samplers.BaseSampler:
    """Make a sampler.

    Parameters
    ----------
    name : {"tpe", "cmaes", "gp", "nsga2", "random", "quasi-random", "grid"}
        ``tpe``: multivariate tree-structured Parzen estimator with the constant liar, which
        keeps parallel workers from drawing the same point. ``cmaes`` draws categorical and
        conditional parameters independently. ``quasi-random``: scrambled Sobol sequence.
        ``nsga2``: a genetic algorithm for several objectives.
        ``grid``: `GRID_POINTS` values of every range.
    seed : int
        Of the study.
    space : SearchSpace
    worker : int
        Number of the process, never the same in two: each draws with a seed of its own. Sobol
        sequence and grid are shared, so their seed is the study's.

    Raises
    ------
    HpoptError
        For an unknown name, or a grid over a conditional space.
    """
    import optuna

    own = worker_seed(seed, worker)
    with warnings.catch_warnings():
        # these options are marked experimental in Optuna 5 and are set on purpose
        warnings.simplefilter("ignore", optuna.exceptions.ExperimentalWarning)
        if name == "tpe":
            return optuna.samplers.TPESampler(
                seed=own, multivariate=True, group=space.is_conditional, constant_liar=True
            )
        if name == "cmaes":
            return optuna.samplers.CmaEsSampler(seed=own, warn_independent_sampling=False)
        if name == "gp":
            return optuna.samplers.GPSampler(seed=own, deterministic_objective=False)
        if name == "nsga2":
            return optuna.samplers.NSGAIISampler(seed=own)
        if name == "random":
            return optuna.samplers.RandomSampler(seed=own)
        if name == "quasi-random":
            return optuna.samplers.QMCSampler(
                seed=seed,
                scramble=True,
                warn_independent_sampling=False,
                independent_sampler=optuna.samplers.RandomSampler(seed=own),
            )
        if name == "grid":
            if space.is_conditional:
                raise HpoptError(
                    "sampler grid: the space has conditional parameters",
                    remedy="fix them with --set, or remove their 'when' lines from the space file",
                )
            return optuna.samplers.GridSampler(
                {p.name: p.grid(GRID_POINTS) for p in space.parameters}, seed=seed
            )
    raise HpoptError(f"--sampler: {name!r} is unknown", remedy=f"use one of {', '.join(SAMPLERS)}")


def worker_seed(study_seed: int, worker: int) -> int:
    """Seed of one process's draws; the first process has the study's own seed."""
    if worker == 0:
        return study_seed
    return int.from_bytes(hashlib.sha256(f"{study_seed}/worker/{worker}".encode()).digest()[:4], "little")


def default_warmup(epochs: int) -> int:
    """Epochs before a trial may be stopped: at least `WARMUP_EPOCHS`, in longer trainings the same share.

    A schedule that spans the training makes the share count more than the number; where the number
    would do, the longer warm-up only saves less.
    """
    return max(WARMUP_EPOCHS, round(epochs * WARMUP_EPOCHS / MEASURED_EPOCHS))


def make_pruner(
    name: str, *, epochs: int, repeats: int = 1, warmup_epochs: int | None = None
) -> optuna.pruners.BasePruner:
    """Make a pruner.

    Parameters
    ----------
    name : {"median", "successive-halving", "hyperband", "wilcoxon", "none"}
        ``wilcoxon`` compares repeats of a training (other seeds) with those of the best
        trial, the others compare epochs.
    epochs : int
        Largest number of epochs of one training.
    repeats : int
        Trainings in one trial.
    warmup_epochs : int, optional
        Epochs before a trial may be stopped; `default_warmup` when not given.

    Raises
    ------
    HpoptError
        For an unknown name, or the Wilcoxon pruner with fewer than 3 repeats.
    """
    import optuna

    warmup_epochs = default_warmup(epochs) if warmup_epochs is None else warmup_epochs
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", optuna.exceptions.ExperimentalWarning)
        if name == "median":
            return optuna.pruners.MedianPruner(
                n_startup_trials=5, n_warmup_steps=warmup_epochs, n_min_trials=3
            )
        if name == "successive-halving":
            return optuna.pruners.SuccessiveHalvingPruner(
                min_resource=max(warmup_epochs, 1), reduction_factor=3
            )
        if name == "hyperband":
            return optuna.pruners.HyperbandPruner(
                min_resource=max(warmup_epochs, 1), max_resource=epochs, reduction_factor=3
            )
        if name == "wilcoxon":
            if repeats < 3:
                raise HpoptError(
                    f"--pruner wilcoxon: it compares repeats of a training, and --repeats is {repeats}",
                    remedy="pass --repeats 4 or more, or choose another pruner",
                )
            return optuna.pruners.WilcoxonPruner(p_threshold=0.1, n_startup_steps=2)
        if name == "none":
            return optuna.pruners.NopPruner()
    raise HpoptError(f"--pruner: {name!r} is unknown", remedy=f"use one of {', '.join(PRUNERS)}")
