"""`hpopt data list` and `hpopt data fetch`: published data sets and their download."""

from __future__ import annotations

import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

import click

from hpopt_lib.errors import HpoptError

if TYPE_CHECKING:
    from hpopt_lib.data.catalogue import Source

CATALOGUE = click.option(
    "--catalogue",
    type=click.Path(path_type=Path),
    help="A catalogue of your own, in the form of the packaged one.",
)


@click.command("list")
@click.argument("name", required=False)
@CATALOGUE
@click.option("--check", is_flag=True, help="Ask the addresses of NAME whether they answer.")
def data_list(name, catalogue, check) -> None:
    """Print the published data sets that can be fetched, or all that is known of NAME."""
    from hpopt_lib.data.catalogue import find_source, load_catalogue

    sources = load_catalogue(catalogue)
    if name is None:
        if check:
            raise HpoptError("--check: of which data set?", remedy="say hpopt data list NAME --check")
        for line in _table(sources):
            click.echo(line)
        return
    source = find_source(name, sources)
    for line in _details(source):
        click.echo(line)
    if check:
        from hpopt_lib.data.probe import probe

        for file in source.files:
            for line in probe(file):
                click.echo(line)


@click.command("fetch")
@click.argument("name")
@click.option(
    "--out", type=click.Path(path_type=Path), default=Path("data"), show_default=True, help="Folder to fill."
)
@click.option(
    "--from", "origin", metavar="DIR_OR_URL", help="A folder or an address where copies of the files are."
)
@click.option("--keep-archive", is_flag=True, help="Keep archives beside what was in them.")
@click.option("--overwrite", is_flag=True, help="Replace what is there.")
@CATALOGUE
def data_fetch(name, out, origin, keep_archive, overwrite, catalogue) -> None:
    """Download the data set NAME, verify and unpack it into the folder NAME of --out.

    After Ctrl-C, SIGTERM or a broken connection the same command goes on where it was. Proxies are taken
    from https_proxy, http_proxy and no_proxy. Without internet, bring the files by other means and name
    their folder with --from: they are verified in the same way.
    """
    from hpopt_lib.data.catalogue import find_source, load_catalogue
    from hpopt_lib.data.fetch import fetch
    from hpopt_lib.data.mirror import Mirror

    source = find_source(name, load_catalogue(catalogue))
    mirror = None if origin is None else Mirror.of(origin)
    with _terminated_like_interrupted():
        click.echo(fetch(source, out, mirror=mirror, keep_archive=keep_archive, overwrite=overwrite))


@contextmanager
def _terminated_like_interrupted() -> Iterator[None]:
    """Let SIGTERM, which batch systems send, end the block as Ctrl-C does."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    before = signal.signal(signal.SIGTERM, signal.default_int_handler)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)


def _table(sources: dict[str, Source]) -> Iterator[str]:
    from hpopt_lib.data.catalogue import format_size

    width = max(map(len, sources))
    yield f"{'name':{width}}  {'download':>9}  {'licence':10}  {'checksum':15}  address checked"
    for source in sources.values():
        kinds = ",".join(sorted({kind for file in source.files for kind in file.sums}))
        cells = format_size(source.size), source.license or "not stated", kinds or "not published"
        yield f"{source.name:{width}}  {cells[0]:>9}  {cells[1]:10}  {cells[2]:15}  {source.checked or 'no'}"


def _details(source: Source) -> Iterator[str]:
    from hpopt_lib.data.catalogue import SUMS, format_size

    yield f"{source.name}: {source.title}"
    for label, text in (
        ("frames", source.frames),
        ("format", source.format),
        ("method", source.method),
        ("energies", source.energy),
        ("units", f"energy {source.energy_unit}, force {source.force_unit}, length {source.length_unit}"),
        ("licence", source.license or "not stated by the source"),
        ("cite", f"{source.citation} (references.bib)"),
        ("homepage", source.homepage),
        ("facts from", source.facts),
        (
            "checked",
            source.checked or "no: nobody has seen these addresses answer for this catalogue; try --check",
        ),
    ):
        yield f"  {label:11} {text}"
    for file in source.files:
        yield f"  {file.name}"
        for address in file.addresses:
            yield f"    address      {address}"
        yield f"    download     {format_size(file.size)}"
        if file.unpack:
            yield f"    unpacked     {format_size(file.unpacked)}"
        if file.uncompressed is not None:
            yield f"    uncompressed {format_size(file.uncompressed)}, with every .xz inside opened"
        for kind in SUMS:
            if kind in file.sums:
                yield f"    {kind:12} {file.sums[kind]}"
        if not file.sums:
            yield "    checksum     not published"
