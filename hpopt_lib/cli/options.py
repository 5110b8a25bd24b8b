"""Options that several commands share."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

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
        "--sampler", default="tpe", show_default=True, help="tpe, cmaes, gp, random, quasi-random or grid."
    ),
    click.option(
        "--pruner",
        default="successive-halving",
        show_default=True,
        help="successive-halving, median, hyperband, wilcoxon or none.",
    ),
    click.option("--validation", help="Split to minimise the error of.  [default: the store's second]"),
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
    pruner: str,
    validation: str | None,
    repeats: int,
    race: float | None,
    train_frames: int | None,
    seed: int,
    backend: str = "hpopt",
) -> StudyConfig:
    """The configuration of a study from the values of `study_options`."""
    from hpopt_lib.store import Store
    from hpopt_lib.tuning.backends import training_backend
    from hpopt_lib.tuning.config import StudyConfig, store_path
    from hpopt_lib.tuning.space import load_space, parse_assignments

    fixed = parse_assignments(assignments)
    with Store.open(store) as opened:
        validation = validation or (opened.validation_splits() or [""])[0]
    return StudyConfig(
        store=store_path(store),
        space=load_space(space or training_backend(backend).space, fixed=fixed).text,
        validation=validation,
        fixed=fixed,
        sampler=sampler,
        pruner=pruner,
        seed=seed,
        repeats=repeats,
        race=race,
        n_train=train_frames,
        backend=backend,
    )
