"""`hpopt study` and `hpopt report`: look at studies."""

from __future__ import annotations

from pathlib import Path

import click

from hpopt_lib.cli.options import MEMORY, STORAGE, build_config, study_options


@click.group()
def study() -> None:
    """List, show, export and delete studies."""


@study.command("create")
@click.argument("name")
@click.argument("store", type=click.Path(path_type=Path))
@click.option("--trials", type=int, required=True, help="Finished trials that the study shall have in total.")
@STORAGE
@study_options
@MEMORY
def study_create(name, store, trials, storage, **options) -> None:
    """Make a study for workers to work on, without running a trial."""
    from hpopt_lib.tuning.study import create_study

    create_study(name, build_config(store, **options), trials=trials, storage=storage)
    click.echo(f"study {name}: {trials} trials wanted; run hpopt worker {name}")


@study.command("copy")
@click.argument("name")
@click.option("--from", "source", required=True, metavar="STORAGE", help="Where the study is.")
@click.option("--to", "target", required=True, metavar="STORAGE", help="Where the copy goes.")
@click.option("--as", "new_name", help="Another name for the copy.")
def study_copy(name, source, target, new_name) -> None:
    """Copy a study to another storage, with all trials, values, attributes, curves and checkpoints."""
    from hpopt_lib.tuning.copying import copy_study

    count = copy_study(name, source, target, new_name=new_name)
    click.echo(f"copied {name}: {count} trials")


@study.command("import")
@click.argument("name")
@click.option(
    "--from",
    "source",
    required=True,
    metavar="SOURCE",
    help="AmpOpt's .env file, sqlite:///FILE or an address.",
)
@click.option("--as", "new_name", help="Another name for the copy.")
@click.option("--unit", default="eV", show_default=True, help="Unit of its values: eV, eV/atom or meV/atom.")
@STORAGE
def study_import(name, source, new_name, unit, storage) -> None:
    """Copy a study of AmpOpt, the earlier project; its own database is only read.

    The copy can be shown, reported and exported. Its errors are not comparable with ours, so no trial is
    ever added to it.
    """
    from hpopt_lib.tuning.ampopt import import_study

    count = import_study(name, source, storage=storage, new_name=new_name, unit=unit)
    click.echo(f"imported {new_name or name}: {count} trials, values in {unit}, not comparable with ours")


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
@click.option("--pick", metavar="POINT", help="Point of the front of a study made with --select pareto.")
@STORAGE
def study_best(name, pick, storage) -> None:
    """Print the best hyperparameters as JSON."""
    import json

    from hpopt_lib.tuning.final import best_settings
    from hpopt_lib.tuning.storage import load_study

    click.echo(json.dumps(best_settings(load_study(name, storage), pick).to_dict(), indent=1))


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


@click.command()
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
