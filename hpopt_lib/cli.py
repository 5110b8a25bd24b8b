"""The command `hpopt`: one thin verb for each thing the package does."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import click

import hpopt_lib
from hpopt_lib.errors import HpoptError

# The stations are imported inside the commands: `hpopt --help` must not wait for torch.


class _Group(click.Group):
    """Shows what the user can mend as one line, and ends cleanly on Ctrl-C."""

    def main(self, *args: Any, **kwargs: Any) -> Any:
        try:
            return super().main(*args, **kwargs)
        except HpoptError as error:
            click.echo(f"hpopt: error: {error}", err=True)
            sys.exit(1)

    def invoke(self, ctx: click.Context) -> Any:
        try:
            return super().invoke(ctx)
        except KeyboardInterrupt:
            click.echo("hpopt: interrupted; what was finished is kept, the same command goes on", err=True)
            ctx.exit(130)


@click.group(cls=_Group, context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100})
@click.version_option(hpopt_lib.__version__, prog_name="hpopt")
def main() -> None:
    """Tune Gaussian-multipole neural-network potentials, on a laptop or a cluster."""


@main.group()
def data() -> None:
    """Make the embedded data sets; look into stores."""


@data.command("make")
@click.option(
    "--out", type=click.Path(path_type=Path), default=Path("data"), show_default=True, help="Folder to fill."
)
@click.option(
    "--set", "names", multiple=True, help="Only this set (oc20-like, ethanol-like); may be repeated."
)
@click.option(
    "--regenerate", is_flag=True, help="Run the physics again instead of unpacking the packaged arrays."
)
@click.option("--seed", type=int, help="Another random seed (runs the physics).")
@click.option("--scale", type=float, help="Share of the packaged number of systems (runs the physics).")
@click.option("--processes", type=int, default=2, show_default=True, help="Processes that run the physics.")
@click.option("--overwrite", is_flag=True, help="Replace existing files.")
def data_make(out, names, regenerate, seed, scale, processes, overwrite) -> None:
    """Write the embedded data sets as one .traj file for each split."""
    from hpopt_lib.data import embedded

    paths = embedded.write_embedded(
        out,
        names or tuple(embedded.EMBEDDED_SETS),
        overwrite=overwrite,
        regenerate=regenerate,
        seed=embedded.SHIPPED_SEED if seed is None else seed,
        scale=embedded.SHIPPED_SCALE if scale is None else scale,
        processes=processes,
    )
    for path in paths:
        click.echo(path)


@data.command("info")
@click.argument("store", type=click.Path(path_type=Path))
def data_info(store) -> None:
    """Print what a feature store holds."""
    from hpopt_lib.store import Store, describe

    with Store.open(store) as opened:
        click.echo(describe(opened))


@main.command()
@click.argument("inputs", nargs=-1, metavar="[SPLIT=]FILE...")
@click.option(
    "--out", required=True, type=click.Path(path_type=Path), help="The store to make, ending in .lmdb."
)
@click.option("--sigmas", help="Probe widths in Å, separated by commas.")
@click.option("--max-order", type=int, help="Highest angular order of the features.")
@click.option("--cutoff", type=float, help="Cutoff radius in Å.")
@click.option("--sharp-cutoff", is_flag=True, help="Cut off sharply, as other GMP codes do.")
@click.option(
    "--dtype", default="float32", show_default=True, help="float32 or float64, of features and forces."
)
@click.option("--transform", default="log", show_default=True, help="log or none, before standardising.")
@click.option("--energy-unit", default="eV", show_default=True, help="Unit of the energies in the files.")
@click.option("--length-unit", default="Å", show_default=True, help="Unit of the positions in the files.")
@click.option("--no-unit-check", is_flag=True, help="Accept magnitudes that do not fit the units.")
@click.option(
    "--duplicates", default="error", show_default=True, help="error, drop or keep repeated structures."
)
@click.option("--processes", type=int, default=1, show_default=True, help="Processes that featurise.")
@click.option(
    "--backend", default="auto", show_default=True, help="auto, exact, torch or numba, for the features."
)
@click.option("--threads", type=int, default=1, show_default=True, help="Threads of each process (numba).")
@click.option("--overwrite", is_flag=True, help="Replace an existing store.")
def preprocess(
    inputs, out, sigmas, max_order, cutoff, sharp_cutoff, dtype, transform, energy_unit, length_unit,
    no_unit_check, duplicates, processes, backend, threads, overwrite,
) -> None:  # fmt: skip
    """Featurise structure files into a store; the first file is the training split.

    After a kill or Ctrl-C the same command goes on where it was.
    """
    from hpopt_lib.gmp.backends import Backend
    from hpopt_lib.gmp.settings import GMPSettings
    from hpopt_lib.preprocess import ReadOptions, parse_inputs
    from hpopt_lib.preprocess import preprocess as run
    from hpopt_lib.store import Store, describe

    chosen = {"max_order": max_order, "cutoff": cutoff, "smooth_cutoff": not sharp_cutoff}
    if sigmas is not None:
        chosen["sigmas"] = _numbers(sigmas, option="--sigmas")
    run(
        parse_inputs(inputs),
        out,
        settings=GMPSettings(**{key: value for key, value in chosen.items() if value is not None}),
        dtype=dtype,
        feature_transform=transform,
        options=ReadOptions(energy_unit, length_unit, not no_unit_check, duplicates),
        processes=processes,
        backend=Backend(backend, threads=threads),
        overwrite=overwrite,
    )
    with Store.open(out) as store:
        click.echo(describe(store))


def _numbers(text: str, *, option: str) -> tuple[float, ...]:
    try:
        return tuple(float(part) for part in text.split(","))
    except ValueError:
        raise HpoptError(
            f"{option}: {text!r} is no list of numbers", remedy="write them like 0.4,0.69,1.1"
        ) from None


STORAGE = click.option("--storage", help="Where studies live.  [default: sqlite:///hpopt.db]")


@main.command()
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


@main.group()
def study() -> None:
    """List, show, export and delete studies."""


@study.command("list")
@STORAGE
def study_list(storage) -> None:
    """List the studies of a storage."""
    from hpopt_lib.report.tables import studies_table
    from hpopt_lib.tuning.manage import list_studies

    click.echo(studies_table(list_studies(storage)))


@study.command("show")
@click.argument("name")
@click.option("--top", type=int, default=10, show_default=True, help="Number of best trials to show.")
@STORAGE
def study_show(name, top, storage) -> None:
    """Show the settings and the best trials of a study."""
    from hpopt_lib.report.tables import study_summary
    from hpopt_lib.tuning.storage import load_study

    click.echo(study_summary(load_study(name, storage), top=top))


@study.command("best")
@click.argument("name")
@STORAGE
def study_best(name, storage) -> None:
    """Print the best hyperparameters as JSON."""
    import json

    from hpopt_lib.tuning.final import best_settings
    from hpopt_lib.tuning.storage import load_study

    click.echo(json.dumps(best_settings(load_study(name, storage)).to_dict(), indent=1))


@study.command("export")
@click.argument("name")
@click.argument("out", type=click.Path(path_type=Path))
@click.option("--overwrite", is_flag=True, help="Replace an existing file.")
@STORAGE
def study_export(name, out, overwrite, storage) -> None:
    """Write all trials of a study to a .csv or .json file."""
    from hpopt_lib.tuning.manage import export_study

    click.echo(export_study(name, out, storage=storage, overwrite=overwrite))


@study.command("delete")
@click.argument("name")
@click.option("--yes", is_flag=True, help="Do not ask.")
@STORAGE
def study_delete(name, yes, storage) -> None:
    """Delete a study and all its trials, after asking."""
    from hpopt_lib.tuning.manage import delete_study
    from hpopt_lib.tuning.storage import load_study

    trials = len(load_study(name, storage).trials)
    if not yes:
        click.confirm(f"Delete study {name!r} with {trials} trials for good?", abort=True)
    delete_study(name, storage)
    click.echo(f"deleted {name}")


@main.command()
@click.argument("name", metavar="STUDY")
@STORAGE
@click.option("--out", type=click.Path(path_type=Path), help="Folder of the report.  [default: STUDY-report]")
@click.option(
    "--final", type=click.Path(path_type=Path), help="Folder of the final model.  [default: STUDY-final]"
)
@click.option("--overwrite", is_flag=True, help="Replace an existing report.")
def report(name, storage, out, final, overwrite) -> None:
    """Write the report of a study: a page for the book, standalone HTML, and PNG figures."""
    from hpopt_lib.report.study_report import write_report
    from hpopt_lib.tuning.storage import load_study

    final = final or Path(f"{name}-final")
    paths = write_report(
        load_study(name, storage), out or Path(f"{name}-report"), final_dir=final, overwrite=overwrite
    )
    for path in paths:
        click.echo(path)


def _add_book() -> None:
    from hpopt_lib.report.book_cli import book

    main.add_command(book)


_add_book()
