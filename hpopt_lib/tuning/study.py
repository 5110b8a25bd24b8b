"""Bring a study to a number of trials: create it, or let it go on."""

from __future__ import annotations

from typing import TYPE_CHECKING

from hpopt_lib.errors import HpoptError
from hpopt_lib.progress import say
from hpopt_lib.tuning.config import StudyConfig, finished, open_study, store_path, study_config
from hpopt_lib.tuning.interrupts import interruptible
from hpopt_lib.tuning.storage import open_storage
from hpopt_lib.tuning.workers import work, work_in_processes

if TYPE_CHECKING:
    import optuna

__all__ = ["StudyConfig", "finished", "open_study", "store_path", "study_config", "tune"]


def tune(
    name: str, config: StudyConfig, *, trials: int, storage: str | None = None, jobs: int = 1
) -> optuna.Study:
    """Bring a study to a number of finished trials.

    The number is a property of the study: calling again with the same number does nothing,
    with a higher one goes on. Failed trials do not count. An interrupt (Ctrl-C, SIGTERM)
    fails the running trials and keeps all finished ones.

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

    Returns
    -------
    optuna.Study

    Raises
    ------
    HpoptError
        For bad settings, or when twenty trials in a row failed.
    """
    import optuna

    if trials < 1 or jobs < 1:
        raise HpoptError(f"--trials {trials} --jobs {jobs}: too few", remedy="give at least 1")
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    config.dataset()  # bad data must not become a study
    study = open_study(name, config, open_storage(storage))
    before = finished(study)
    if before >= trials:
        say(f"study {name}: has {before} finished trials, {trials} asked for: nothing to do")
        return study
    say(f"study {name}: {before} of {trials} trials finished; {jobs} process{'es' * (jobs > 1)}")
    jobs = min(jobs, trials - before)
    # every worker gets a number that no worker of this study had before, so that draws differ
    first = 1000 * len(study.get_trials(deepcopy=False))
    if jobs > 1:
        work_in_processes(name, config, storage, trials, jobs=jobs, first_worker=first)
    if finished(study) < trials:  # also when the budget went to a trial whose process had died earlier
        with interruptible() as stops:
            work(name, config, storage, trials, worker=first + (jobs if jobs > 1 else 0), stops=stops)
    if (now := finished(study)) < trials:
        say(f"study {name}: the grid has no further point, {now} trials finished")
    return study
