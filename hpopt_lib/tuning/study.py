"""Bring a study to a number of trials: create it, or let it go on."""

from __future__ import annotations

from typing import TYPE_CHECKING

from hpopt_lib.errors import HpoptError
from hpopt_lib.progress import say
from hpopt_lib.store import Store
from hpopt_lib.tuning.config import StudyConfig, store_path, study_config
from hpopt_lib.tuning.joining import finished, make_study
from hpopt_lib.tuning.processes import work
from hpopt_lib.tuning.selection import ONE, selection_sentence
from hpopt_lib.tuning.storage import open_storage
from hpopt_lib.tuning.workers import WorkerOptions

if TYPE_CHECKING:
    import optuna

__all__ = ["StudyConfig", "create_study", "finished", "store_path", "study_config", "tune"]


def create_study(
    name: str, config: StudyConfig, *, trials: int | None = None, storage: str | None = None
) -> optuna.Study:
    """Make a study, or load it when it exists with the same settings, without running a trial.

    Parameters
    ----------
    name : str
    config : StudyConfig
    trials : int, optional
        Finished trials that the study shall have in total.
    storage : str, optional
        Address, see `hpopt_lib.tuning.storage.open_storage`.

    Returns
    -------
    optuna.Study

    Raises
    ------
    HpoptError
        For bad settings, or when a study of that name has others.
    """
    import optuna

    if trials is not None and trials < 1:
        raise HpoptError(f"--trials {trials}: too few", remedy="give at least 1")
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    config.dataset()  # bad data must not become a study
    config.training()
    return make_study(name, config, open_storage(storage), trials=trials)


def tune(
    name: str,
    config: StudyConfig,
    *,
    trials: int,
    storage: str | None = None,
    jobs: int = 1,
    options: WorkerOptions | None = None,
    deadline: float | None = None,
) -> optuna.Study:
    """Bring a study to a number of finished trials.

    The number is a property of the study: calling again with the same number does nothing,
    with a higher one goes on, and several calls at once, on several machines, share it. Failed
    trials do not count. When told to stop (Ctrl-C, SIGTERM, SIGUSR1, the deadline) the running
    trials stop at the end of an epoch and are in the queue for the next call, which continues
    them from their checkpoints.

    Parameters
    ----------
    name : str
        Of the study.
    config : StudyConfig
    trials : int
        Completed and pruned trials that the study shall have.
    storage : str, optional
        Address, see `hpopt_lib.tuning.storage.open_storage`.
    jobs : int
        Processes, each with one thread and a seed of its own. One process gives the same
        trials for the same seed; several do not, since they see each other's results.
    options : WorkerOptions, optional
    deadline : float, optional
        Time (Unix, in seconds) at which the job ends.

    Returns
    -------
    optuna.Study

    Raises
    ------
    HpoptError
        For bad settings, or when twenty trials in a row failed.
    KeyboardInterrupt
        When it was told to stop before the study was done.
    """
    if trials < 1 or jobs < 1:
        raise HpoptError(f"--trials {trials} --jobs {jobs}: too few", remedy="give at least 1")
    study = create_study(name, config, storage=storage)
    before = finished(study)
    if before >= trials:
        say(f"study {name}: has {before} finished trials, {trials} asked for: nothing to do")
        return study
    create_study(name, config, trials=trials, storage=storage)
    say(f"study {name}: {before} of {trials} trials finished; {jobs} process{'es' * (jobs > 1)}")
    if config.select != ONE:
        with Store.open(config.store) as store:
            say(f"study {name}: {selection_sentence(config, store)}")
    options = options or WorkerOptions()
    if not work(name, storage, options, jobs=min(jobs, trials - before), deadline=deadline):
        raise KeyboardInterrupt
    if (now := finished(study)) < trials:
        say(f"study {name}: the search space has no further point, {now} trials finished")
    return study
