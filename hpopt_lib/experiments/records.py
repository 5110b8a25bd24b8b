"""Results of long experiments as small JSON files, which the book compares with shorter reruns."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from hpopt_lib.errors import HpoptError
from hpopt_lib.files import atomic_path

FORMAT, VERSION = "hpopt-experiment", 1
#: What every record tells about its making.
ORIGIN = ("command", "commit", "date", "hardware", "versions", "wall_s", "cpu_s")


def write_record(
    path: str | Path,
    experiment: str,
    *,
    settings: Mapping[str, Any],
    results: Mapping[str, Any],
    origin: Mapping[str, Any],
) -> Path:
    """Write a record, one line for each result.

    Parameters
    ----------
    path : str or Path
        Replaced when it exists.
    experiment : str
        Its name.
    settings : mapping
        Arguments of the experiment, seeds among them.
    results : mapping
        Numbers, lists of numbers and mappings of these.
    origin : mapping
        With the keys of `ORIGIN`.

    Raises
    ------
    ValueError
        When the origin is incomplete.
    """
    if missing := [key for key in ORIGIN if key not in origin]:
        raise ValueError(f"the origin has no {', '.join(missing)}")
    head = {"format": FORMAT, "version": VERSION, "experiment": experiment, "settings": settings, **origin}
    lines = [f" {json.dumps(key)}: {json.dumps(value)}" for key, value in head.items()]
    body = ",\n".join(f"  {json.dumps(key)}: {json.dumps(value)}" for key, value in results.items())
    text = "{\n" + ",\n".join([*lines, ' "results": {\n' + body + "\n }"]) + "\n}\n"
    with atomic_path(path, overwrite=True) as temporary:
        Path(temporary).write_text(text, encoding="utf-8")
    return Path(path)


def read_record(path: str | Path, experiment: str) -> dict[str, Any]:
    """Read what `write_record` wrote.

    Raises
    ------
    HpoptError
        When the file is missing, damaged or of another experiment.
    """
    try:
        record = json.loads(Path(path).read_text(encoding="utf-8"))
        found = (record["format"], record["version"], record["experiment"])
        missing = [key for key in (*ORIGIN, "settings", "results") if key not in record]
    except FileNotFoundError:
        raise HpoptError(f"{path}: no such file", remedy="make it with its script in benchmarks/") from None
    except (ValueError, KeyError, TypeError) as error:
        raise HpoptError(f"{path}: no record, or damaged ({error})", remedy="record it again") from error
    if found != (FORMAT, VERSION, experiment) or missing:
        problem = f"lacks {', '.join(missing)}" if missing else f"is {found}, not {experiment}"
        raise HpoptError(f"{path}: {problem}", remedy="record it again")
    return dict(record)
