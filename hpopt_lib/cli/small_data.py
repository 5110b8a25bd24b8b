"""`hpopt tune STORE --preset small-data`: a model for one or two hundred frames."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import click
from click.core import ParameterSource

from hpopt_lib.errors import HpoptError

#: Options that mean something beside the preset; all others belong to a search.
_ALLOWED = {"store", "study", "out", "preset", "element_energies", "folds", "fold_seeds", "overwrite"}
#: Options that mean nothing without it.
_OWN = {"element_energies": "--element-energies", "folds": "--folds", "fold_seeds": "--fold-seeds"}
_OWN["overwrite"] = "--overwrite"

_OPTIONS = (
    click.option(
        "--preset",
        type=click.Choice(["small-data"]),
        help="No network and no search: fit the Gaussian process for some hundred frames, cross-validate it.",
    ),
    click.option(
        "--element-energies",
        type=click.Path(path_type=Path),
        help="Preset: energies of elements to start from, fairchem's .npz or a table in eV.",
    ),
    click.option("--folds", type=int, default=5, show_default=True, help="Preset: folds, by system."),
    click.option(
        "--fold-seeds", type=int, default=5, show_default=True, help="Preset: divisions into folds."
    ),
    click.option("--overwrite", is_flag=True, help="Preset: replace existing results."),
)


def preset_options(command: Callable[..., Any]) -> Callable[..., Any]:
    """The options of presets; `run_preset` takes them."""
    for option in reversed(_OPTIONS):
        command = option(command)
    return command


def run_preset(context: click.Context) -> bool:
    """Do what ``--preset`` asks for, if it was given; tells whether it was.

    Raises
    ------
    HpoptError
        For options that do not go together.
    """
    values = context.params
    given = {
        name for name in values if context.get_parameter_source(name) is not ParameterSource.DEFAULT
    }  # fmt: skip
    if values["preset"] is None:
        for name, option in _OWN.items():
            if name in given:
                raise HpoptError(
                    f"{option}: belongs to a preset", remedy="add --preset small-data, or leave it out"
                )
        for name in ("study", "trials"):
            if values[name] is None:
                raise click.UsageError(f"Missing option '--{name}'.", context)
        return False
    for name in sorted(given - _ALLOWED):
        option = next(p.opts[-1] for p in context.command.params if p.name == name)
        raise HpoptError(
            f"{option}: the preset {values['preset']} searches nothing and trains no network",
            remedy="leave it out",
        )
    click.echo(_fit(values))
    return True


def _fit(values: Mapping[str, Any]) -> str:
    from hpopt_lib.cluster.doctor import refuse_login_node
    from hpopt_lib.potential.small_data_preset import fit_preset
    from hpopt_lib.report.small_data_tables import preset_text
    from hpopt_lib.store import Store

    refuse_login_node(what="hpopt tune")
    out = values["out"] or Path(f"{values['study'] or 'small-data'}-final")
    with Store.open(values["store"]) as store:
        record = fit_preset(
            store,
            out,
            element_energies=values["element_energies"],
            n_folds=values["folds"],
            fold_seeds=values["fold_seeds"],
            overwrite=values["overwrite"],
        )
    return f"{preset_text(record)}\n\nmodel and results: {out}"
