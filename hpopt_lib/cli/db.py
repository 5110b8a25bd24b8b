"""`hpopt db`: a private database server for studies that many workers share."""

from __future__ import annotations

import sys
from pathlib import Path

import click

NAME = click.argument("name")


@click.group()
def db() -> None:
    """Run a private MySQL or MariaDB server; studies on it have the storage address NAME."""


@db.command()
@NAME
@click.option(
    "--dir",
    "folder",
    type=click.Path(path_type=Path),
    help="Folder of the data; on a cluster in scratch.  [default: databases/NAME in ~/.hpopt]",
)
def init(name, folder) -> None:
    """Make the server NAME: its folder, its data and an account with a random password."""
    from hpopt_lib.cluster.server import Server

    path = Server(name).init(folder)
    click.echo(f"server {name}: ready in {path}; start it with hpopt db start {name}")


@db.command()
@NAME
@click.option("--foreground", is_flag=True, help="Stay and look after it, as in a batch job.")
@click.option(
    "--bind",
    metavar="ADDRESS",
    help="Where it listens.  [default: this node's address in a batch job, else 127.0.0.1]",
)
@click.option("--max-connections", type=int, default=512, show_default=True, help="A worker needs two.")
def start(name, foreground, bind, max_connections) -> None:
    """Start the server NAME and publish where it answers.

    With --foreground it is watched until SIGTERM or Ctrl-C (exit code 0) or SIGUSR1 (75), then all
    studies are dumped and it stops.
    """
    from hpopt_lib.cluster.server import Server

    if foreground:
        from hpopt_lib.cluster.server_keeper import keep

        sys.exit(keep(Server(name), bind=bind, max_connections=max_connections))
    running = Server(name).start(bind=bind, max_connections=max_connections)
    endpoint = running.endpoint
    click.echo(f"server {name}: {endpoint.product} answers at {endpoint.host}:{endpoint.port}")
    # it goes on without this process
    running.process.returncode = 0


@db.command()
@NAME
def stop(name) -> None:
    """Shut the server NAME down cleanly; its data stay."""
    from hpopt_lib.cluster.server import Server

    click.echo(f"server {name}: {'stopped' if Server(name).stop() else 'was not running'}")


@db.command()
@click.argument("name", required=False)
def status(name) -> None:
    """Show the state, place and size of NAME, or a line for each server."""
    from hpopt_lib.cluster.server import Server
    from hpopt_lib.errors import HpoptError
    from hpopt_lib.tuning.endpoint import known_servers

    if name is not None:
        for key, value in Server(name).status().items():
            if value not in ("", None):
                click.echo(f"{key:<16}{value}")
        return
    names = known_servers()
    if not names:
        click.echo("no server yet: make one with hpopt db init NAME")
    for known in names:
        try:
            found = Server(known).status()
        except HpoptError as error:
            click.echo(f"{known:<16}{error}")
            continue
        place = found.get("node", "") + (f" job {found['job']}" if found.get("job") else "")
        click.echo(f"{known:<16}{found['state']:<12}{found['size_mb']:>8} MB  {place}  {found['folder']}")


@db.command()
@NAME
@click.option("--show-password", is_flag=True, help="Print the password too; it then is on the terminal.")
def url(name, show_password) -> None:
    """Print the address of NAME as SQLAlchemy takes it, for other programs; ours take the name itself."""
    from urllib.parse import quote

    from hpopt_lib.errors import HpoptError
    from hpopt_lib.tuning.endpoint import read_endpoint, server_folder

    endpoint = read_endpoint(server_folder(name))
    if endpoint is None:
        raise HpoptError(f"server {name!r}: not running", remedy=f"start it with hpopt db start {name}")
    password = quote(endpoint.password, safe="") if show_password else "***"
    if show_password:
        click.echo(
            "hpopt: the password is on the terminal now; do not put it into scripts or command lines",
            err=True,
        )
    click.echo(
        f"mysql+pymysql://{endpoint.user}:{password}@{endpoint.host}:{endpoint.port}/{endpoint.database}"
    )


@db.command()
@NAME
@click.option(
    "--out", type=click.Path(path_type=Path), help="A .db file.  [default: in the server's folder dumps]"
)
@click.option("--overwrite", is_flag=True, help="Replace an existing file.")
def dump(name, out, overwrite) -> None:
    """Write all studies of NAME into an SQLite file, which opens with --storage sqlite:///FILE."""
    from hpopt_lib.cluster.server import Server

    click.echo(Server(name).dump(out, overwrite=overwrite))


@db.command()
@NAME
@click.argument("file", type=click.Path(path_type=Path))
@click.option("--skip-existing", is_flag=True, help="Leave out studies that the server has already.")
def restore(name, file, skip_existing) -> None:
    """Put the studies of an SQLite FILE into the server NAME."""
    from hpopt_lib.cluster.server import Server

    for study, trials in Server(name).restore(file, skip_existing=skip_existing).items():
        click.echo(f"restored {study}: {trials} trials")
