"""The linters, and promises that no other test keeps."""

from __future__ import annotations

import importlib
import pkgutil
import re
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

ROOT = Path(__file__).resolve().parents[1]


def run(*command: str) -> str:
    """Run a command in the repository; its output is the failure."""
    done = subprocess.run(
        [sys.executable, "-m", *command], cwd=ROOT, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def test_ruff() -> None:
    run("ruff", "check", ".")


def test_types() -> None:
    run("mypy")


def test_code_of_chapters(tmp_path: Path) -> None:
    import jupytext

    from hpopt_lib.report.chapters import list_chapters

    for chapter in list_chapters(ROOT):
        jupytext.write(chapter.notebook, tmp_path / f"{chapter.name}.ipynb")
    # E402: imports stand where a reader meets them. E501: a page is wider. B018: a cell ends with what it shows. B905: as in the package.
    # E741: l is the name of the angular order.
    ignored = "E402,E501,E741,B018,B905"
    run(
        "ruff",
        "check",
        "--isolated",
        "--target-version",
        "py310",
        "--select",
        "E,F,B",
        "--ignore",
        ignored,
        str(tmp_path),
    )


def test_the_table_of_contents_and_the_pages_agree() -> None:
    toc = yaml.safe_load((ROOT / "_toc.yml").read_text(encoding="utf-8"))
    listed = [chapter["file"] for part in toc["parts"] for chapter in part["chapters"]]
    assert len(listed) == len(set(listed))
    pages = {path.relative_to(ROOT).with_suffix("").as_posix() for path in (ROOT / "book").rglob("*.md")}
    assert set(listed) - {"book/execution_statistics", "book/claims"} == pages


def test_every_chapter_takes_parameters_and_is_in_the_map() -> None:
    from hpopt_lib.report.chapters import list_chapters

    front = (ROOT / "index.md").read_text(encoding="utf-8")
    for chapter in list_chapters(ROOT):
        assert chapter.parameters, f"{chapter.label} has no cell tagged parameters"
        assert f"({chapter.label})" in front, f"{chapter.label} is not on the front page"


@pytest.mark.parametrize("profile", ["smoke", "default", "full"])
def test_profiles_fit_the_chapters(profile: str) -> None:
    from hpopt_lib.report.chapters import list_chapters
    from hpopt_lib.report.profiles import load_profile

    assert load_profile(ROOT, profile, list_chapters(ROOT)).timeout_s > 0


def test_the_api_page_names_modules_that_exist() -> None:
    modules = re.findall(r"automodule:: (\S+)", (ROOT / "book/api.md").read_text(encoding="utf-8"))
    assert len(modules) > 20
    for module in modules:
        importlib.import_module(module)


#: Modules that the API page leaves out, because a reader of the book never calls them.
INTERNAL = (
    "hpopt_lib.gmp.numba",
    "hpopt_lib.gmp.gth_potentials",
    "hpopt_lib.gmp.atoms_pbe",
    "hpopt_lib.gmp.density_fit",
)


@pytest.mark.parametrize(
    "station", ["data", "gmp", "potential", "amptorch", "tuning", "cluster", "experiments"]
)
def test_the_api_page_names_every_module_of_a_station(station: str) -> None:
    text = (ROOT / "book/api.md").read_text(encoding="utf-8")
    package = importlib.import_module(f"hpopt_lib.{station}")
    for module in pkgutil.iter_modules(package.__path__, f"hpopt_lib.{station}."):
        if not module.name.startswith(INTERNAL):
            assert f"automodule:: {module.name}\n" in text, f"{module.name} is not in book/api.md"


def test_pins_are_complete_and_agree() -> None:
    pin = re.compile(r"^([A-Za-z0-9_.-]+)(?:\[[a-z,]+\])?==([0-9][0-9a-z.]*)$")

    def pins(name: str) -> dict[str, str]:
        lines = [line.strip() for line in (ROOT / name).read_text().splitlines()]
        found = {}
        for line in lines:
            if line and not line.startswith("#"):
                match = pin.match(line)
                assert match, f"{name}: {line!r} is no exact pin"
                found[re.sub(r"[-_.]+", "-", match[1]).lower()] = match[2]
        return found

    required, constrained = pins("requirements.txt"), pins("constraints.txt")
    assert {name: constrained.get(name) for name in required} == required
