"""Options that several commands share."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from hpopt_lib.errors import HpoptError

if TYPE_CHECKING:
    from hpopt_lib.tuning.config import StudyConfig

STORAGE = click.option(
    "--storage",
    help="Where studies live: sqlite:///FILE, journal:///FILE, mysql+pymysql://… or the name of a server "
    "of hpopt db.  [default: sqlite:///hpopt.db]",
)
DEVICE = click.option(
    "--device", default="cpu", show_default=True, help="auto, cpu or cuda, for the training."
)
MEMORY = click.option(
    "--memory",
    "memory_mb",
    type=click.FloatRange(min=0, min_open=True),
    metavar="MB",
    help="Most memory for frames in a process; more are read block after block.  [default: no bound]",
)
TIME_LIMIT = click.option(
    "--time-limit",
    type=float,
    metavar="MINUTES",
    help="Stop in time before so many minutes are over.  [default: the batch job's limit]",
)

_STUDY_OPTIONS = (
    click.option("--space", type=click.Path(path_type=Path), help="Search space, a TOML file."),
    click.option("--set", "assignments", multiple=True, metavar="NAME=VALUE", help="Fix a hyperparameter."),
    click.option(
        "--sampler",
        default="tpe",
        show_default=True,
        help="tpe, cmaes, gp, random, quasi-random or grid; nsga2 for --select pareto.",
    ),
    click.option(
        "--pruner",
        help="successive-halving, median, hyperband, wilcoxon or none.  [default: successive-halving; "
        "none with --select pareto, which Optuna does not prune]",
    ),
    click.option("--validation", help="Split to minimise the error of.  [default: the store's second]"),
    click.option(
        "--select",
        default="one",
        show_default=True,
        help="What to minimise: the error on one split; the mean or the worst-domain error over several, "
        "after every epoch; or, with pareto, three objectives: error in domain, worst error out of domain "
        "and time of the network for an atom.",
    ),
    click.option(
        "--domains",
        metavar="SPLIT,SPLIT,...",
        help="Splits to select on; the first counts as in domain.  [default: all validation splits but those "
        "named test...; where none is, all but the last of three or more, so that one remains to test on]",
    ),
    click.option(
        "--repeats", type=int, default=1, show_default=True, help="Trainings in a trial, with other seeds."
    ),
    click.option(
        "--race",
        type=float,
        metavar="CONFIDENCE",
        help="Leave out repeats of a trial that with this confidence (0.95) cannot become the best.",
    ),
    click.option("--train-frames", type=int, help="Train on so many frames only."),
    click.option("--seed", type=int, default=0, show_default=True, help="Seed of the study."),
    click.option("--backend", default="hpopt", show_default=True, help="What trains: hpopt or amptorch."),
)


def study_options(command: Callable[..., Any]) -> Callable[..., Any]:
    """The options that define a study; `build_config` takes them."""
    for option in reversed(_STUDY_OPTIONS):
        command = option(command)
    return command


def build_config(
    store: Path,
    *,
    space: Path | None,
    assignments: tuple[str, ...],
    sampler: str,
    pruner: str | None,
    validation: str | None,
    repeats: int,
    race: float | None,
    train_frames: int | None,
    seed: int,
    backend: str = "hpopt",
    memory_mb: float | None = None,
    select: str = "one",
    domains: str | None = None,
) -> StudyConfig:
    """The configuration of a study from the values of `study_options`."""
    from hpopt_lib.store import Store
    from hpopt_lib.tuning.backends import training_backend
    from hpopt_lib.tuning.config import StudyConfig, store_path
    from hpopt_lib.tuning.selection import METRICS, check_objectives, choose_domains, default_pruner
    from hpopt_lib.tuning.space_file import load_space, parse_assignments

    fixed = parse_assignments(assignments)
    with Store.open(store) as opened:
        chosen = choose_domains(opened, select, domains.split(",") if domains else None)
        if chosen and validation:
            raise HpoptError(
                f"--validation: --select {select} has several", remedy="name them with --domains instead"
            )
        validation = validation or (chosen or opened.validation_splits() or [""])[0]
    config = StudyConfig(
        store=store_path(store),
        space=load_space(space or training_backend(backend).space, fixed=fixed).text,
        validation=validation,
        fixed=fixed,
        sampler=sampler,
        pruner=pruner or default_pruner(select),
        seed=seed,
        repeats=repeats,
        race=race,
        n_train=train_frames,
        backend=backend,
        memory_mb=memory_mb,
        metric=METRICS[select],
        select=select,
        domains=chosen,
    )
    check_objectives(config)
    return config
