"""Whether a store has what a study will ask of it, found out before the first trial."""

from __future__ import annotations

from typing import TYPE_CHECKING

from hpopt_lib.errors import HpoptError
from hpopt_lib.potential.dataset import Dataset
from hpopt_lib.potential.forces import check_forces
from hpopt_lib.potential.memory_bound import fits, memory_needed_mb, refuse_forces
from hpopt_lib.potential.network import feature_columns
from hpopt_lib.potential.settings import TrainSettings
from hpopt_lib.store import Store
from hpopt_lib.tuning.backends import TrainingBackend
from hpopt_lib.tuning.space import SearchSpace

if TYPE_CHECKING:
    from hpopt_lib.tuning.config import StudyConfig


def check_columns(store: Store, space: SearchSpace) -> None:
    """Raise when trials may ask for features that the store does not have."""
    for name in ("max_order", "num_sigmas"):
        if (largest := space.largest(name)) is not None:
            try:
                feature_columns(store.settings, TrainSettings.from_dict({name: largest}))
            except HpoptError as error:
                raise HpoptError(
                    f"search space: {error.problem}",
                    remedy=f"lower it in the space file or pass --set {name}=VALUE",
                ) from error


def check_memory(config: StudyConfig, store: Store, space: SearchSpace, backend: TrainingBackend) -> None:
    """Raise when the frames do not fit into the memory of the study, and its trials need them there."""
    if config.memory_mb is not None and config.domains:
        raise HpoptError(
            f"--memory: --select {config.select} holds several validation splits in memory, without a bound",
            remedy="leave one of the two out",
        )
    # a backend that does not stream reads all frames, however few are trained on
    n_train = config.n_train if backend.streams else None
    if fits(store, config.memory_mb, validation=config.validation, n_train=n_train):
        return
    if space.largest("force_weight"):
        refuse_forces()
    if not backend.streams:
        needed = memory_needed_mb(store, validation=config.validation)
        raise HpoptError(
            f"--memory: the backend {backend.name} needs all frames in memory, which take {needed:.1f} MB",
            remedy="give more memory or no bound, or use --backend hpopt",
        )


def check_space_of_forces(data: Dataset, space: SearchSpace, *, where: str) -> None:
    """Raise when trials may train on forces, and frames have none or other settings do not go with them.

    Parameters
    ----------
    data : Dataset
    space : SearchSpace
    where : str
        Path of the store, for messages.
    """
    if not space.largest("force_weight"):
        return
    try:
        check_forces(data.train, data.validation)
    except HpoptError as error:
        raise HpoptError(f"{where}: {error.problem}", remedy=error.remedy) from error
    if space.allows("normalization", "batch"):
        raise HpoptError(
            "search space: force_weight does not go with normalization batch",
            remedy="pass --set normalization=layer (or none), or take batch out of the space file",
        )
