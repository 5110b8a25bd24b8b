"""`hpopt predict` and `hpopt leaderboard`: predictions as a file, and their scores."""

from __future__ import annotations

from pathlib import Path

import click


@click.command()
@click.argument("model", type=click.Path(path_type=Path))
@click.argument("store", type=click.Path(path_type=Path))
@click.option("--out", required=True, type=click.Path(path_type=Path), help="The file to write, .npz.")
@click.option("--split", "splits", multiple=True, help="Only this split; may be repeated.")
@click.option(
    "--oc20-submission",
    is_flag=True,
    help="The Open Catalyst evaluation's file of S2EF: its four splits and ids, adsorption energies in eV, "
    "forces of free atoms.",
)
@click.option("--all-atoms", is_flag=True, help="In a submission, forces of fixed atoms too.")
@click.option("--frames", type=int, help="At most so many frames of each split, at even distances.")
@click.option("--processes", type=int, default=1, show_default=True, help="Processes that predict.")
@click.option("--overwrite", is_flag=True, help="Replace an existing file.")
def predict(model, store, out, splits, oc20_submission, all_atoms, frames, processes, overwrite) -> None:
    """Predict energies and forces of the frames in a store with a saved MODEL.

    The file holds SPLIT_ids, SPLIT_energy, SPLIT_forces and SPLIT_chunk_idx (numpy.split divides the forces
    there), by default of all splits but the training split, in the kind and unit of energy of the files that
    were preprocessed.
    """
    from hpopt_lib.errors import HpoptError
    from hpopt_lib.potential.prediction_files import write_predictions

    if all_atoms and not oc20_submission:
        raise HpoptError(
            "--all-atoms: without --oc20-submission", remedy="leave it out: all atoms are written"
        )

    counts = write_predictions(
        out,
        model,
        store,
        splits=splits,
        oc20=oc20_submission,
        all_atoms=all_atoms,
        frames=frames,
        processes=processes,
        overwrite=overwrite,
    )
    click.echo(f"{out}: {', '.join(f'{name} {n} frames' for name, n in counts.items())}")


@click.command()
@click.argument("store", type=click.Path(path_type=Path))
@click.argument("predictions", nargs=-1, required=True, type=click.Path(path_type=Path))
def leaderboard(store, predictions) -> None:
    """Score files of hpopt predict --oc20-submission against the labels in a store.

    Several files, one for each seed, give mean and spread. Energy and force errors, force cosine and EFwT
    stand beside a median and a linear baseline, on the four splits and averaged.
    """
    from hpopt_lib.potential.leaderboard import leaderboard as scores
    from hpopt_lib.report.leaderboard_table import leaderboard_text

    click.echo(leaderboard_text(scores(store, predictions)))
