"""Renew the arrays inside the package: ``python -m hpopt_lib.data.embedded oc20-like --processes 2``."""

from __future__ import annotations

import click

from hpopt_lib.data.embedded import EMBEDDED_SETS, SHIPPED_SCALE, SHIPPED_SEED, generate, shipped_path
from hpopt_lib.data.frames import save_arrays


@click.command()
@click.argument("names", nargs=-1, type=click.Choice(tuple(EMBEDDED_SETS)))
@click.option("--processes", default=2, show_default=True, help="Worker processes.")
def main(names: tuple[str, ...], processes: int) -> None:
    """Make the shipped sets anew (minutes) and put them in place of the old arrays."""
    for name in names or EMBEDDED_SETS:
        arrays = generate(name, seed=SHIPPED_SEED, scale=SHIPPED_SCALE, processes=processes)
        save_arrays(arrays, shipped_path(name), overwrite=True)
        size = shipped_path(name).stat().st_size / 1e6
        click.echo(f"{name}: {len(arrays['energy'])} frames, {size:.2f} MB")


if __name__ == "__main__":
    main()
