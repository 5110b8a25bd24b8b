"""The command `hpopt`: one thin verb for each thing the package does."""

from __future__ import annotations

import sys
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


def _add_commands() -> None:
    from hpopt_lib.cli import amptorch, dashboard, data, db, pace, split, study, tune
    from hpopt_lib.report.book_cli import book

    data.data.add_command(split.split)
    for command in (
        data.data, data.preprocess, tune.tune, tune.worker, study.study, study.report, dashboard.dashboard,
        db.db, pace.pace, amptorch.amptorch, book,
    ):  # fmt: skip
        main.add_command(command)


_add_commands()
