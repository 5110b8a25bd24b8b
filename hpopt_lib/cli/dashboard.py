"""`hpopt dashboard`: look at a study in a browser."""

from __future__ import annotations

import click

from hpopt_lib.cli.options import STORAGE


@click.command()
@click.argument("study")
@STORAGE
@click.option("--port", type=int, help="Port on 127.0.0.1.  [default: the first free one from 8080 on]")
@click.option("--read-only", is_flag=True, help="Let nobody change a study.")
@click.option("--no-token", is_flag=True, help="Let everybody on this computer in.")
@click.option("--open", "open_browser", is_flag=True, help="Open the page in a browser here.")
def dashboard(study, storage, port, read_only, no_token, open_browser) -> None:
    """Start optuna-dashboard on STUDY, for you only, and print its address.

    The address holds a token, since other users of this node could open the page too. The second line
    printed is the ssh tunnel for a browser on your own computer.
    """
    from hpopt_lib.report.dashboard import serve_dashboard

    serve_dashboard(
        study,
        storage,
        port=port,
        read_only=read_only,
        with_token=not no_token,
        open_browser=open_browser,
    )
