"""`hpopt amptorch`: is AMPtorch there, and its own data files."""

from __future__ import annotations

from pathlib import Path

import click


@click.group()
def amptorch() -> None:
    """Use AMPtorch beside this package: check it, read and write its LMDBs."""


@amptorch.command("check")
def check() -> None:
    """Import AMPtorch behind the shims and say what they are."""
    from hpopt_lib.amptorch.compat import SHIMS, running

    with running():
        pass
    click.echo("AMPtorch works here. While it is used, these are replaced and put back afterwards:")
    for name, reason in SHIMS.items():
        click.echo(f"  {name}: {reason}")


@amptorch.command("show")
@click.argument("lmdb_file", type=click.Path(path_type=Path))
@click.option("--trust-pickle", is_flag=True, help="Read pickled objects; only for files that you trust.")
def show(lmdb_file, trust_pickle) -> None:
    """Print what an LMDB of AMPtorch or AmpOpt holds."""
    from hpopt_lib.amptorch.lmdb_reader import read_amptorch_lmdb

    click.echo(read_amptorch_lmdb(lmdb_file, trust_pickle=trust_pickle).describe())


@amptorch.command("export")
@click.argument("store", type=click.Path(path_type=Path))
@click.option("--out", required=True, type=click.Path(path_type=Path), help="Folder for the LMDBs.")
@click.option("--split", "splits", multiple=True, help="Only this split; may be repeated.")
@click.option(
    "--dtype", default="float64", show_default=True, help="float64 (DoubleTensor) or float32 (FloatTensor)."
)
@click.option("--overwrite", is_flag=True, help="Replace existing files.")
def export(store, out, splits, dtype, overwrite) -> None:
    """Write a feature store as LMDBs that AMPtorch trains on."""
    from hpopt_lib.amptorch.lmdb_writer import write_amptorch_lmdbs
    from hpopt_lib.store import Store

    with Store.open(store) as opened:
        for path in write_amptorch_lmdbs(opened, out, splits=splits, dtype=dtype, overwrite=overwrite):
            click.echo(path)
