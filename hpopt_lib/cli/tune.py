"""`hpopt tune` and `hpopt worker`: search hyperparameters."""

from __future__ import annotations

import functools
import sys
from pathlib import Path

import click

from hpopt_lib.cli.options import DEVICE, MEMORY, STORAGE, TIME_LIMIT, build_config, study_options
from hpopt_lib.cli.small_data import preset_options, run_preset


@click.command()
@click.argument("store", type=click.Path(path_type=Path))
@click.option("--study", help="Name of the study; an existing one goes on.  [required without a preset]")
@click.option(
    "--trials",
    type=int,
    help="Finished trials that the study shall have in total.  [required without a preset]",
)
@STORAGE
@study_options
@MEMORY
@click.option("--jobs", type=int, default=1, show_default=True, help="Processes that share the trials.")
@DEVICE
@TIME_LIMIT
@preset_options
@click.option(
    "--final-seeds", type=int, default=5, show_default=True, help="Seeds of the final model; 0 for none."
)
@click.option(
    "--pick",
    metavar="POINT",
    help="With --select pareto, the point of the front that becomes the final model: worst-domain (default), "
    "in-domain, fastest, or the number of a trial on the front.",
)
@click.option(
    "--out", type=click.Path(path_type=Path), help="Folder of the final model.  [default: STUDY-final]"
)
@click.pass_context
def tune(
    context, store, study, trials, storage, jobs, device, time_limit, final_seeds, pick, out, preset,
    element_energies, folds, fold_seeds, overwrite, **options,
) -> None:  # fmt: skip
    """Search hyperparameters on the validation error, then train the final model.

    Stopped by Ctrl-C, SIGTERM or the time limit, it keeps all finished trials and the state of the
    running ones; the same command goes on.
    """
    if run_preset(context):
        return
    from hpopt_lib.cluster.doctor import refuse_login_node
    from hpopt_lib.report.final_tables import final_table
    from hpopt_lib.tuning.final import final_model
    from hpopt_lib.tuning.interrupts import job_deadline
    from hpopt_lib.tuning.selection import check_pick
    from hpopt_lib.tuning.study import tune as run

    refuse_login_node(what="hpopt tune")
    config = build_config(store, **options)
    check_pick(config, pick)  # not only when all trials are done
    done = run(
        study,
        config,
        trials=trials,
        storage=storage,
        jobs=jobs,
        options=worker_options(storage, device=device),
        deadline=job_deadline(time_limit),
    )
    if final_seeds:
        out = out or Path(f"{study}-final")
        click.echo(final_table(final_model(done, out, seeds=final_seeds, pick=pick)))
        click.echo(f"models and results: {out}")


@click.command()
@click.argument("study")
@STORAGE
@click.option("--trials", type=int, help="Finished trials in total.  [default: what the study was made with]")
@click.option(
    "--store",
    type=click.Path(path_type=Path),
    help="A copy of the study's store, on a local disk for example.",
)
@click.option("--jobs", type=int, default=1, show_default=True, help="Processes that share the trials.")
@MEMORY
@DEVICE
@TIME_LIMIT
def worker(study, storage, trials, store, jobs, memory_mb, device, time_limit) -> None:
    """Work on an existing study until it has its trials; any number of workers, on any node.

    Ends with 0 when the study has its trials, with 75 when it was told to stop before (SIGTERM,
    SIGUSR1, Ctrl-C, the time limit), and with 1 when something is wrong.
    """
    from hpopt_lib.cluster.doctor import refuse_login_node
    from hpopt_lib.tuning.interrupts import job_deadline
    from hpopt_lib.tuning.processes import STOPPED, work

    refuse_login_node(what="hpopt worker")
    options = worker_options(storage, device=device, trials=trials, store=store, memory_mb=memory_mb)
    try:
        done = work(study, storage, options, jobs=jobs, deadline=job_deadline(time_limit))
    except KeyboardInterrupt:
        done = False
    if not done:
        click.echo("hpopt: stopped; what was finished is kept, the next worker goes on", err=True)
        sys.exit(STOPPED)


def worker_options(storage, *, device="cpu", trials=None, store=None, memory_mb=None):
    """Options of workers that also draw every trial's learning curve for the dashboard."""
    from hpopt_lib.report.trial_artifact import attach_learning_curve
    from hpopt_lib.tuning.addresses import files_folder
    from hpopt_lib.tuning.workers import WorkerOptions

    return WorkerOptions(
        trials=trials,
        store=None if store is None else str(store),
        device=device,
        memory_mb=memory_mb,
        on_result=functools.partial(attach_learning_curve, folder=files_folder(storage)),
    )
