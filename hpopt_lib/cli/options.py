"""Options that several commands share."""

from __future__ import annotations

import click

STORAGE = click.option(
    "--storage",
    help="Where studies live: sqlite:///FILE, journal:///FILE, mysql+pymysql://… or the name of a server "
    "of hpopt db.  [default: sqlite:///hpopt.db]",
)
