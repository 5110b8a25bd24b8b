"""`hpopt data split`: divide frames so that nothing leaks from training into testing."""

from __future__ import annotations

from pathlib import Path

import click

from hpopt_lib.errors import HpoptError


@click.command("split")
@click.argument("files", nargs=-1, required=True, type=click.Path(path_type=Path), metavar="FILE...")
@click.option(
    "--by",
    required=True,
    help="What is kept whole: system, adsorbate, composition, adsorbate+composition, temperature or random.",
)
@click.option(
    "--fractions",
    default="0.8,0.1,0.1",
    show_default=True,
    help="Shares of the frames: train, val and test; by adsorbate+composition train, in-domain and all "
    "out-of-domain validation.",
)
@click.option("--folds", type=int, default=0, metavar="K", help="Divide into K folds instead.")
@click.option("--seed", type=int, default=0, show_default=True, help="Of the random choice.")
@click.option(
    "--format", "format_name", default="auto", show_default=True, help="Format of the files, by name."
)
@click.option("--trust-pickle", is_flag=True, help="Load pickled files; only from a source that you trust.")
@click.option("--out", required=True, type=click.Path(path_type=Path), help="The split file, JSON.")
@click.option("--overwrite", is_flag=True, help="Replace an existing split file.")
def split(files, by, fractions, folds, seed, format_name, trust_pickle, out, overwrite) -> None:
    """Divide the frames of structure files into splits that share no group.

    The split file goes to hpopt preprocess --split, with the same files.
    """
    from functools import partial

    from hpopt_lib.data.readers import read_frames
    from hpopt_lib.data.split_files import make_split_file
    from hpopt_lib.data.split_request import SplitRequest
    from hpopt_lib.files import refuse_existing

    try:
        parts = tuple(float(part) for part in fractions.split(","))
    except ValueError:
        raise HpoptError(
            f"--fractions: {fractions!r} is no list of numbers", remedy="write 0.8,0.1,0.1"
        ) from None
    refuse_existing(out, overwrite=overwrite)
    frames_of = partial(read_frames, format=format_name, trust_pickle=trust_pickle, check_units=False)
    made, division = make_split_file(list(files), SplitRequest(by, parts, folds, seed), frames_of=frames_of)
    made.save(out, overwrite=overwrite)
    click.echo(f"{'split':<14}{'frames':>9}{'groups':>9}{'share':>9}{'wanted':>9}")
    for (name, entry), got, wanted in zip(made.splits.items(), division.shares, division.wanted):
        click.echo(f"{name:<14}{entry['n_frames']:>9}{entry['n_groups']:>9}{got:>9.3f}{wanted:>9.3f}")
    for kind, origin in made.origins.items():
        click.echo(f"{kind}: {origin}")
    for note in made.notes:
        click.echo(note, err=note.startswith("warning"))
    click.echo(out)
