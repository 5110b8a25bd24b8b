"""Move a study between storages: from a laptop to a server, and back."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

from hpopt_lib.errors import HpoptError
from hpopt_lib.files import atomic_path
from hpopt_lib.tuning.addresses import files_folder, mask
from hpopt_lib.tuning.janitor import checkpoint_path
from hpopt_lib.tuning.storage import load_study, open_storage


def copy_study(name: str, source: str, target: str, *, new_name: str | None = None) -> int:
    """Copy a study with all trials, intermediate values and attributes, and the files that belong to it.

    Parameters
    ----------
    name : str
    source, target : str
        Addresses, see `hpopt_lib.tuning.storage.open_storage`.
    new_name : str, optional
        Of the copy; the same name by default.

    Returns
    -------
    int
        Number of trials.

    Raises
    ------
    HpoptError
        When the study is not there, or the target has one of that name. A copy that fails half way
        is removed.
    """
    import optuna

    new_name = new_name or name
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    study = load_study(name, source)
    storage = open_storage(target)
    if new_name in optuna.get_all_study_names(storage):
        raise HpoptError(
            f"study {new_name!r}: {mask(target)} has one of that name", remedy="choose another with --as"
        )
    try:
        optuna.copy_study(
            from_study_name=name, from_storage=study._storage, to_storage=storage, to_study_name=new_name
        )
        copy_files(study, files_folder(source), files_folder(target), new_name)
    except BaseException:
        if new_name in optuna.get_all_study_names(storage):
            optuna.delete_study(study_name=new_name, storage=storage)
        raise
    return len(study.get_trials(deepcopy=False))


def copy_files(study: Any, source: Path, target: Path, new_name: str) -> None:
    """Copy a study's artifacts and checkpoints from one `files_folder` to another."""
    if source == target and new_name == study.study_name:
        return
    for artifact in artifact_ids(study):
        _copy(source / "artifacts" / artifact, target / "artifacts" / artifact)
    checkpoints = checkpoint_path(source, study.study_name, 0).parent
    if checkpoints.is_dir():
        for path in checkpoints.glob("trial-*.npz"):
            _copy(path, checkpoint_path(target, new_name, 0).with_name(path.name))


def artifact_ids(study: Any) -> list[str]:
    """Names of the files in the artifact store that belong to a study or its trials."""
    attributes = [study._storage.get_study_system_attrs(study._study_id)]
    attributes += [trial.system_attrs for trial in study.get_trials(deepcopy=False)]
    found = []
    for values in attributes:
        for key, value in values.items():
            if key.startswith("artifacts:"):
                found.append(Path(json.loads(value)["artifact_id"]).name)
    return found


def _copy(source: Path, target: Path) -> None:
    if source.is_file() and not target.exists():
        with atomic_path(target) as temporary:
            shutil.copyfile(source, temporary)
