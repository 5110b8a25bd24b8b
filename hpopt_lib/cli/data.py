"""`hpopt data` and `hpopt preprocess`: structure files and feature stores."""

from __future__ import annotations

from pathlib import Path

import click

from hpopt_lib.cli.fetch import data_fetch, data_list
from hpopt_lib.errors import HpoptError


@click.group()
def data() -> None:
    """Make the embedded data sets; fetch published ones; look into stores."""


data.add_command(data_list)
data.add_command(data_fetch)


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


@click.command()
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
@click.option(
    "--format", "format_name", default="auto", show_default=True, help="Format of the files, by name."
)
@click.option("--energy-unit", help="Unit of the energies in the files.  [default: that of the format]")
@click.option("--length-unit", help="Unit of the positions in the files.  [default: that of the format]")
@click.option(
    "--energy", help="raw or adsorption, where the files have both.  [default: what they hold, raw if both]"
)
@click.option("--trust-pickle", is_flag=True, help="Load pickled files; only from a source that you trust.")
@click.option("--no-unit-check", is_flag=True, help="Accept magnitudes that do not fit the units.")
@click.option(
    "--duplicates", default="error", show_default=True, help="error, drop or keep repeated structures."
)
@click.option(
    "--references",
    default="linear",
    show_default=True,
    help="What energies are relative to in training: none, linear, FILE, isolated-atoms=FILE or adsorption.",
)
@click.option(
    "--split", type=click.Path(path_type=Path), metavar="JSON", help="Split file of hpopt data split."
)
@click.option("--fold", type=int, help="Fold of the split file to validate on, from 0.")
@click.option("--processes", type=int, default=1, show_default=True, help="Processes that featurise.")
@click.option(
    "--backend", default="auto", show_default=True, help="auto, exact, torch or numba, for the features."
)
@click.option("--threads", type=int, default=1, show_default=True, help="Threads of each process (numba).")
@click.option("--overwrite", is_flag=True, help="Replace an existing store.")
def preprocess(
    inputs, out, sigmas, max_order, cutoff, sharp_cutoff, dtype, transform, energy_unit, length_unit,
    format_name, energy, trust_pickle, no_unit_check, duplicates, references, split, fold, processes, backend,
    threads, overwrite,
) -> None:  # fmt: skip
    """Featurise structure files into a store; the first file is the training split.

    With --split the files are those that were split, and the split file says where each frame goes.
    After a kill or Ctrl-C the same command goes on where it was.
    """
    from hpopt_lib.gmp.backends import Backend
    from hpopt_lib.gmp.settings import GMPSettings
    from hpopt_lib.inputs import ReadOptions, parse_inputs
    from hpopt_lib.preprocess import preprocess as run
    from hpopt_lib.references import parse_reference
    from hpopt_lib.split_inputs import split_inputs, split_record
    from hpopt_lib.store import Store, describe

    chosen = {"max_order": max_order, "cutoff": cutoff, "smooth_cutoff": not sharp_cutoff}
    if sigmas is not None:
        chosen["sigmas"] = _numbers(sigmas, option="--sigmas")
    if split is None and fold is not None:
        raise HpoptError("--fold: without --split", remedy="name the split file with --split")
    run(
        parse_inputs(inputs) if split is None else split_inputs(inputs, split, fold=fold),
        out,
        settings=GMPSettings(**{key: value for key, value in chosen.items() if value is not None}),
        dtype=dtype,
        feature_transform=transform,
        options=ReadOptions(
            energy_unit, length_unit, not no_unit_check, duplicates, format_name, energy, trust_pickle
        ),
        processes=processes,
        backend=Backend(backend, threads=threads),
        overwrite=overwrite,
        references=parse_reference(references, energy_unit=energy_unit),
        split=None if split is None else split_record(split, fold=fold),
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
