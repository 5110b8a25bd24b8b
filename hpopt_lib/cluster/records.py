"""What was submitted: a folder for each submission, with its scripts, its logs and a note in JSON."""

from __future__ import annotations

import datetime
import json
import re
import shutil
from dataclasses import asdict, dataclass, field, fields
from pathlib import Path

from hpopt_lib.errors import HpoptError
from hpopt_lib.files import atomic_path
from hpopt_lib.tuning.addresses import files_folder, mask
from hpopt_lib.tuning.endpoint import hpopt_home

RECORD, LOGS = "record.json", "logs"


@dataclass
class Record:
    """A submission.

    Attributes
    ----------
    folder : str
        With the scripts and the folder ``logs``.
    kind : {"server", "workers"}
    study, storage, profile : str
        `study` is empty for a server's job.
    launcher : str
    job : str
        Number of the job or the array.
    script : str
    workers : int
    time : str
        Time limit.
    submitted : str
        ISO 8601 in UTC.
    cancelled : bool
    """

    folder: str
    kind: str
    study: str
    storage: str
    profile: str
    launcher: str
    job: str
    script: str
    workers: int = 0
    time: str = ""
    submitted: str = field(
        default_factory=lambda: datetime.datetime.now(datetime.timezone.utc).isoformat(timespec="seconds")
    )
    cancelled: bool = False

    @property
    def logs(self) -> Path:
        """Folder of the job's logs."""
        return Path(self.folder) / LOGS

    def write(self) -> None:
        """Keep it, and list it for this user."""
        folder = Path(self.folder)
        with atomic_path(folder / RECORD, overwrite=True) as temporary:
            temporary.write_text(json.dumps(asdict(self), indent=1) + "\n", encoding="utf-8")
        listed = _list_folder() / folder.name
        listed.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
        with atomic_path(listed, overwrite=True) as temporary:
            temporary.write_text(f"{folder}\n", encoding="utf-8")


def _list_folder() -> Path:
    return hpopt_home() / "submissions"


def jobs_folder(storage: str) -> Path:
    """Where the submissions of a storage lie: beside the database, for a server in its folder."""
    files = files_folder(storage)
    return (files.parent if "://" not in storage else files) / "jobs"


def folder_name(stamp: str, kind: str, name: str) -> str:
    """Name of a submission's folder, from letters that every file system and scheduler takes."""
    return f"{stamp}-{kind}-" + re.sub(r"[^A-Za-z0-9_.-]+", "-", name)[:40]


def new_folder(storage: str, kind: str, name: str) -> Path:
    """Make the folder of a new submission; its name begins with the time, so that they sort."""
    stamp = datetime.datetime.now().strftime("%Y%m%d-%H%M%S")
    parent, base = jobs_folder(storage), folder_name(stamp, kind, name)
    for number in range(1000):
        folder = parent / (f"{base}-{number}" if number else base)
        if (_list_folder() / folder.name).exists():
            continue
        try:
            parent.mkdir(parents=True, exist_ok=True)
            folder.mkdir(mode=0o700)
            (folder / LOGS).mkdir(mode=0o700)
            return folder
        except FileExistsError:
            continue
        except OSError as error:
            raise HpoptError(
                f"{folder}: cannot be made: {error.strerror}", remedy="free some space, or mend its rights"
            ) from error
    raise AssertionError("unreachable")


def discard(folder: Path) -> None:
    """Remove the folder of a submission that failed."""
    shutil.rmtree(folder, ignore_errors=True)


def read_records(
    study: str | None = None, *, storage: str | None = None, kind: str | None = None
) -> list[Record]:
    """The user's submissions, oldest first.

    Parameters
    ----------
    study : str, optional
        Only workers of this study, and the servers that they use.
    storage : str, optional
        Only what belongs to this storage.
    kind : {"server", "workers"}, optional
    """
    records = []
    names = {f.name for f in fields(Record)}
    folder = _list_folder()
    for path in sorted(folder.iterdir()) if folder.is_dir() else []:
        try:
            target = Path(path.read_text(encoding="utf-8").strip())
            values = json.loads((target / RECORD).read_text(encoding="utf-8"))
            records.append(Record(**{k: v for k, v in values.items() if k in names}))
        except FileNotFoundError:
            continue  # the server's folder was deleted
        except (OSError, ValueError, TypeError, AttributeError) as error:
            raise HpoptError(
                f"{path}: the note of a submission cannot be read: {error}", remedy="delete that file"
            ) from error
    if storage is not None:
        records = [record for record in records if record.storage == storage]
    if study is not None:
        used = {record.storage for record in records if record.study == study}
        if not used:
            known = sorted({record.study for record in records if record.study})
            raise HpoptError(
                f"study {study!r}: no job was submitted for it" + (f" on {mask(storage)}" if storage else ""),
                remedy=f"there are jobs for {', '.join(known)}" if known else "see hpopt pace submit --help",
            )
        records = [r for r in records if r.study == study or (r.kind == "server" and r.storage in used)]
    return [record for record in records if kind is None or record.kind == kind]
