"""The note beside fetched data: where each file came from, when, what was verified, and how to cite it."""

from __future__ import annotations

import json
from collections.abc import Sequence
from datetime import datetime, timezone
from pathlib import Path

import hpopt_lib
from hpopt_lib.data.catalogue import RemoteFile, Source
from hpopt_lib.data.download import Received
from hpopt_lib.data.exchange import without_query

NOTE = "SOURCE.json"


def write_note(
    folder: Path, source: Source, received: Sequence[tuple[RemoteFile, Received]], mirror: str = ""
) -> None:
    """Write ``SOURCE.json``.

    Parameters
    ----------
    folder : Path
    source : Source
    received : sequence of (RemoteFile, Received)
    mirror : str
        The place of the copies, when the files are not from their own addresses.
    """
    note = {
        "name": source.name,
        "title": source.title,
        "fetched": datetime.now(timezone.utc).isoformat(timespec="seconds"),
        "by": f"hpopt {hpopt_lib.__version__}",
        "license": source.license or "not stated by the source",
        "citation": source.citation,
        "homepage": source.homepage,
        "format": source.format,
        "energy": source.energy,
        "units": {"energy": source.energy_unit, "force": source.force_unit, "length": source.length_unit},
        "mirror": mirror,
        "files": [
            {
                "name": file.name,
                "published_at": [without_query(address) for address in file.addresses],
                "address": got.address,
                "bytes": got.n_bytes,
                "sums": got.sums,
                "verified": list(got.verified),
            }
            for file, got in received
        ],
    }
    text = json.dumps(note, indent=1, ensure_ascii=False)
    (folder / NOTE).write_text(f"{text}\n", encoding="utf-8")


def is_fetched(source: Source, folder: Path) -> bool:
    """Whether a folder holds this very data set: its note names the same files and checksums."""
    try:
        note = json.loads((folder / NOTE).read_text(encoding="utf-8"))
        found = {entry["name"]: entry["sums"] for entry in note["files"]}
    except (OSError, ValueError, KeyError, TypeError):
        # no note, or one that somebody changed: not known to be ours
        return False
    return note.get("name") == source.name and all(
        file.name in found and file.sums.items() <= found[file.name].items() for file in source.files
    )
