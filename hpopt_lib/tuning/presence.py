"""Which workers are alive: by a lock that dies with its holder, or by heartbeats in the database."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

from filelock import FileLock, Timeout

#: User attribute of a trial: number of the worker that runs it.
WORKER = "worker"


def _lock(folder: Path, study: str, worker: int) -> FileLock:
    digest = hashlib.sha256(study.encode()).hexdigest()[:24]
    return FileLock(folder / "workers" / f"{digest}-{worker}.lock", timeout=0)


class Presence:
    """How the workers of a study know of each other.

    Storages in files serve one machine. There every worker holds a lock on a file of its own while
    it lives, which the system frees at its death: a dead worker is known at once, without a grace
    period, also with the journal, which has no heartbeats. Servers have heartbeats.

    Parameters
    ----------
    storage : optuna storage
    folder : Path or None
        `hpopt_lib.tuning.addresses.files_folder` of a storage in a file; None for others.
    study : str
    """

    def __init__(self, storage: Any, folder: Path | None, study: str) -> None:
        self.storage, self.folder, self.study = storage, folder, study
        self._own: FileLock | None = None
        self._worker: int | None = None

    def enter(self, worker: int) -> None:
        """Be alive as this worker until the process ends or `leave` is called."""
        if self.folder is not None:
            (self.folder / "workers").mkdir(parents=True, exist_ok=True)
            self._own = _lock(self.folder, self.study, worker)
            self._own.acquire()
            self._worker = worker

    def leave(self) -> None:
        """Be gone."""
        if self._own is not None:
            path = Path(self._own.lock_file)
            path.unlink(missing_ok=True)
            self._own.release()
            self._own = self._worker = None

    def may_be_lost(self, study_id: int, running: Callable[[], list[Any]]) -> bool:
        """Whether a trial seems to have a dead worker; servers are asked without reading the trials.

        Parameters
        ----------
        study_id : int
        running : callable
            Gives the running trials.
        """
        if hasattr(self.storage, "lost_trial_ids") and self.folder is None:
            return bool(self.storage.lost_trial_ids(study_id))
        return bool(self.lost(study_id, running()))

    def lost(self, study_id: int, running: list[Any]) -> list[Any]:
        """Those of the running trials whose worker is dead.

        Parameters
        ----------
        study_id : int
        running : list of optuna.trial.FrozenTrial
            Looked at while the study's gate is held, so that none of them is just being started.
        """
        if not running:
            return []
        if hasattr(self.storage, "lost_trial_ids") and self.folder is None:
            ids = set(self.storage.lost_trial_ids(study_id))
            return [trial for trial in running if trial._trial_id in ids]
        if self.folder is None:
            return []
        alive: dict[Any, bool] = {}
        for trial in running:
            worker = trial.user_attrs.get(WORKER)
            if worker not in alive:
                alive[worker] = worker is not None and self._holds_its_lock(worker)
        return [trial for trial in running if not alive[trial.user_attrs.get(WORKER)]]

    def _holds_its_lock(self, worker: int) -> bool:
        assert self.folder is not None
        if worker == self._worker:
            return True
        lock = _lock(self.folder, self.study, worker)
        if not Path(lock.lock_file).exists():
            return False
        try:
            lock.acquire()
        except Timeout:
            return True
        Path(lock.lock_file).unlink(missing_ok=True)
        lock.release()
        return False
