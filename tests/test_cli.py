"""The command: quick help, nothing heavy imported for it, and every verb documented."""

from __future__ import annotations

import resource
import subprocess
import sys

import click
import pytest
from click.testing import CliRunner
from synthetic import environment

import hpopt_lib
from hpopt_lib.cli import main

HEAVY = ("torch", "optuna", "matplotlib", "plotly", "scipy", "ase", "sphinx", "pandas", "lmdb")


def commands(group: click.Group, path: tuple[str, ...] = ()) -> list[tuple[str, ...]]:
    found = []
    for name, command in group.commands.items():
        found.append((*path, name))
        if isinstance(command, click.Group):
            found += commands(command, (*path, name))
    return found


@pytest.mark.parametrize("arguments", [["--help"], ["tune", "--help"], ["--version"]])
def test_help_is_quick_and_imports_nothing_heavy(arguments):
    code = f"""
import sys
from hpopt_lib.cli import main
try:
    main({arguments!r}, prog_name="hpopt")
finally:
    print("heavy:", [name for name in {HEAVY!r} if name in sys.modules])
"""
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    result = subprocess.run([sys.executable, "-c", code], env=environment(), capture_output=True, text=True)
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    assert result.returncode == 0 and result.stdout.endswith("heavy: []\n"), result.stdout + result.stderr
    assert after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime < 0.5


def test_every_command_and_option_is_explained():
    paths = commands(main)
    assert {("preprocess",), ("tune",), ("study", "delete"), ("data", "info"), ("report",)} <= set(paths)
    for path in paths:
        command: click.Command = main
        for name in path:
            assert isinstance(command, click.Group)
            command = command.commands[name]
        assert command.help, f"{' '.join(path)} has no help text"
        for parameter in command.params:
            if isinstance(parameter, click.Option):
                assert parameter.help, f"{' '.join(path)} {parameter.opts[0]} has no help text"
        shown = CliRunner().invoke(main, [*path, "--help"])
        assert shown.exit_code == 0 and shown.stdout.startswith(f"Usage: main {' '.join(path)}")
        assert CliRunner().invoke(main, [*path, "-h"]).stdout == shown.stdout


def test_version():
    assert CliRunner().invoke(main, ["--version"]).stdout == f"hpopt, version {hpopt_lib.__version__}\n"


def test_help_of_tune_names_all_samplers_and_pruners():
    from hpopt_lib.tuning.samplers import PRUNERS, SAMPLERS

    shown = " ".join(CliRunner().invoke(main, ["tune", "--help"]).stdout.split())
    for name in (*SAMPLERS, *PRUNERS):
        assert name in shown, name


def test_info_describes_a_store(store_path):
    result = CliRunner().invoke(main, ["data", "info", str(store_path)])
    assert result.exit_code == 0 and result.stderr == ""
    assert result.stdout.startswith(f"{store_path}: feature store, format 2, ")


def test_an_error_inside_is_not_taken_for_bad_input(store_path, monkeypatch):
    """Only what the user can mend is one line; a defect of the program keeps its traceback."""

    def broken(_store):
        raise ZeroDivisionError("a defect")

    monkeypatch.setattr("hpopt_lib.store.describe", broken)
    result = CliRunner().invoke(main, ["data", "info", str(store_path)])
    assert isinstance(result.exception, ZeroDivisionError)
