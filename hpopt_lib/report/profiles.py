"""Profiles: named sets of chapter parameters, from a run of seconds to one of hours."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from hpopt_lib.errors import HpoptError
from hpopt_lib.report.chapters import Chapter, check_parameters

PROFILE_FOLDER = "profiles"
DEFAULT_CELL_TIMEOUT_S = 600


@dataclass(frozen=True)
class Profile:
    """Parameters of every chapter for one way of building the book.

    Attributes
    ----------
    name : str
    timeout_s : int
        Seconds that a single cell may take.
    common : dict
        Values for every chapter that has a parameter of that name.
    chapters : dict of dict
        Values by chapter; they win over `common`.
    """

    name: str
    timeout_s: int = DEFAULT_CELL_TIMEOUT_S
    common: dict[str, Any] = field(default_factory=dict)
    chapters: dict[str, dict[str, Any]] = field(default_factory=dict)

    def parameters(self, chapter: Chapter) -> dict[str, Any]:
        """What this profile sets in `chapter`; a parameter ``profile`` gets the profile's name."""
        known = {"profile": self.name, **self.common}
        shared = {name: value for name, value in known.items() if name in chapter.parameters}
        return {**shared, **self.chapters.get(chapter.name, {})}


def load_profile(root: str | Path, name: str, chapters: Sequence[Chapter]) -> Profile:
    """Read ``profiles/NAME.yml`` and check every name in it against the chapters.

    Parameters
    ----------
    root : str or Path
        Root of the repository.
    name : str
        Name of the profile.
    chapters : sequence of Chapter
        All chapters of the book.

    Raises
    ------
    HpoptError
        For an unknown profile, key, chapter or parameter; the message names the file, what
        is unknown, and what is known.
    """
    import yaml

    folder = Path(root) / PROFILE_FOLDER
    path = folder / f"{name}.yml"
    label = f"{PROFILE_FOLDER}/{name}.yml"
    if not path.is_file():
        known = ", ".join(sorted(entry.stem for entry in folder.glob("*.yml"))) or "(none)"
        raise HpoptError(f"{label}: no such profile", remedy=f"the profiles are {known}")
    try:
        content = yaml.safe_load(path.read_text(encoding="utf-8")) or {}
    except yaml.YAMLError as error:
        raise HpoptError(f"{label}: not YAML: {error}") from error
    profile = _checked(name, label, content)
    by_name = {chapter.name: chapter for chapter in chapters}
    for chapter_name, values in profile.chapters.items():
        if chapter_name not in by_name:
            raise HpoptError(
                f"{label}: chapters: unknown chapter {chapter_name!r}",
                remedy=f"the chapters are {', '.join(by_name)}",
            )
        check_parameters(by_name[chapter_name], values, origin=label)
    for parameter in profile.common:
        if not any(parameter in chapter.parameters for chapter in chapters):
            raise HpoptError(
                f"{label}: common: no chapter has a parameter {parameter!r}",
                remedy="correct or remove the line",
            )
    return profile


def _checked(name: str, label: str, content: Any) -> Profile:
    if not isinstance(content, dict):
        raise HpoptError(f"{label}: holds {type(content).__name__} instead of a mapping")
    allowed = ("timeout_s", "common", "chapters")
    unknown = [str(key) for key in content if key not in allowed]
    if unknown:
        raise HpoptError(
            f"{label}: unknown key {', '.join(unknown)}", remedy=f"the keys are {', '.join(allowed)}"
        )
    timeout_s = content.get("timeout_s", DEFAULT_CELL_TIMEOUT_S)
    if not isinstance(timeout_s, int) or isinstance(timeout_s, bool) or timeout_s <= 0:
        raise HpoptError(f"{label}: timeout_s: {timeout_s!r} is not a positive number of seconds")
    common = _mapping(content.get("common"), f"{label}: common")
    chapters = _mapping(content.get("chapters"), f"{label}: chapters")
    chapters = {str(key): _mapping(values, f"{label}: chapters: {key}") for key, values in chapters.items()}
    return Profile(name, timeout_s, common, chapters)


def _mapping(value: Any, place: str) -> dict[str, Any]:
    if value is None:
        return {}
    if not isinstance(value, dict):
        raise HpoptError(f"{place}: holds {value!r} instead of names with values")
    return value
