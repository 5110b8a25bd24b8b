"""`hpopt tune`: search hyperparameters."""

from __future__ import annotations

from pathlib import Path

import click

from hpopt_lib.cli.options import STORAGE


@click.command()
@click.argument("store", type=click.Path(path_type=Path))
@click.option("--study", required=True, help="Name of the study; an existing one goes on.")
@click.option("--trials", type=int, required=True, help="Finished trials that the study shall have in total.")
@STORAGE
@click.option("--space", type=click.Path(path_type=Path), help="Search space, a TOML file.")
@click.option("--set", "assignments", multiple=True, metavar="NAME=VALUE", help="Fix a hyperparameter.")
@click.option(
    "--sampler", default="tpe", show_default=True, help="tpe, cmaes, gp, random, quasi-random or grid."
)
@click.option(
    "--pruner",
    default="median",
    show_default=True,
    help="median, successive-halving, hyperband, wilcoxon or none.",
)
@click.option("--validation", help="Split to minimise the error of.  [default: the store's second]")
@click.option(
    "--repeats", type=int, default=1, show_default=True, help="Trainings in a trial, with other seeds."
)
@click.option("--train-frames", type=int, help="Train on so many frames only.")
@click.option("--seed", type=int, default=0, show_default=True, help="Seed of the study.")
@click.option("--jobs", type=int, default=1, show_default=True, help="Processes that share the trials.")
@click.option(
    "--final-seeds", type=int, default=5, show_default=True, help="Seeds of the final model; 0 for none."
)
@click.option(
    "--out", type=click.Path(path_type=Path), help="Folder of the final model.  [default: STUDY-final]"
)
def tune(
    store, study, trials, storage, space, assignments, sampler, pruner, validation, repeats, train_frames,
    seed, jobs, final_seeds, out,
) -> None:  # fmt: skip
    """Search hyperparameters on the validation error, then train the final model."""
    from hpopt_lib.report.tables import final_table
    from hpopt_lib.store import Store
    from hpopt_lib.tuning.final import final_model
    from hpopt_lib.tuning.space import load_space, parse_assignments
    from hpopt_lib.tuning.study import StudyConfig, store_path
    from hpopt_lib.tuning.study import tune as run

    fixed = parse_assignments(assignments)
    with Store.open(store) as opened:
        validation = validation or (opened.validation_splits() or [""])[0]
    config = StudyConfig(
        store=store_path(store),
        space=load_space(space, fixed=fixed).text,
        validation=validation,
        fixed=fixed,
        sampler=sampler,
        pruner=pruner,
        seed=seed,
        repeats=repeats,
        n_train=train_frames,
    )
    done = run(study, config, trials=trials, storage=storage, jobs=jobs)
    if final_seeds:
        out = out or Path(f"{study}-final")
        click.echo(final_table(final_model(done, out, seeds=final_seeds)))
        click.echo(f"models and results: {out}")
