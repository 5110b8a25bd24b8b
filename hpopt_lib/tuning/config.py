"""What defines a study besides its trials, kept with it and compared when it goes on."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from hpopt_lib.errors import HpoptError
from hpopt_lib.potential.dataset import Dataset
from hpopt_lib.potential.settings import TrainSettings
from hpopt_lib.potential.streaming import StreamingDataset, load_dataset
from hpopt_lib.store import Store
from hpopt_lib.tuning.backends import DEFAULT, training_backend
from hpopt_lib.tuning.objective import METRIC
from hpopt_lib.tuning.samplers import PRUNER
from hpopt_lib.tuning.selection import ONE, study_training
from hpopt_lib.tuning.space import SearchSpace
from hpopt_lib.tuning.space_file import parse_space
from hpopt_lib.tuning.store_checks import check_columns, check_memory, check_space_of_forces

if TYPE_CHECKING:
    import optuna

CONFIG = "hpopt"
FINGERPRINT = "hpopt_store_fingerprint"
#: What the store's energies are relative to, for a person.
REFERENCE = "hpopt_reference"
#: Finished trials that the study shall have.
TRIALS = "hpopt_trials"
#: Number of workers that have ever worked on the study.
WORKERS = "hpopt_workers"


@dataclass(frozen=True)
class StudyConfig:
    """What defines a study besides its trials; kept with it and compared when it goes on.

    Attributes
    ----------
    store : str
        Path of the feature store.
    space : str
        Text of the search space (TOML).
    fixed : dict
        Hyperparameters held by ``--set``.
    validation : str
        Split whose error is minimised and pruned on.
    sampler, pruner : str
        Names, see `hpopt_lib.tuning.samplers`.
    seed, repeats : int
    race : float or None
        Confidence with which repeats of a trial that cannot win are left out; None runs all.
    n_train : int or None
        Number of training frames; all when None.
    metric : str
        Name of the objective, with its unit; several have commas between.
    backend : str
        What trains, see `hpopt_lib.tuning.backends`.
    memory_mb : float or None
        Most memory that the frames of a training take, see `hpopt_lib.potential.streaming.load_dataset`.
        It may change while the study goes on, as the store's place may: only the order of batches differs.
    select : str
        How the errors on several splits become the objective, see `hpopt_lib.tuning.selection`.
    domains : list of str
        These splits, the first is `validation`; empty when there is one only.
    """

    store: str
    space: str
    validation: str
    fixed: dict[str, Any] = field(default_factory=dict)
    sampler: str = "tpe"
    pruner: str = PRUNER
    seed: int = 0
    repeats: int = 1
    race: float | None = None
    n_train: int | None = None
    metric: str = METRIC
    backend: str = DEFAULT
    memory_mb: float | None = None
    select: str = ONE
    domains: list[str] = field(default_factory=list)

    def search_space(self) -> SearchSpace:
        """The parsed search space."""
        return parse_space(self.space, where="the study's search space", fixed=self.fixed)

    def epochs(self) -> int:
        """Largest number of epochs of a trial."""
        searched = self.search_space().largest("epochs")
        return TrainSettings().epochs if searched is None else searched

    def metrics(self) -> list[str]:
        """Names of all objectives."""
        return self.metric.split(",")

    def training(self) -> Callable[..., Any] | None:
        """What trains a trial; None for `hpopt_lib.potential.training.Training` itself."""
        return study_training(self, training_backend(self.backend).training)

    def dataset(self) -> Dataset | StreamingDataset:
        """The data of the study's trainings.

        Raises
        ------
        HpoptError
            When the store does not fit the study, see `hpopt_lib.tuning.store_checks`; or when the bound on
            memory is too small.
        """
        backend, space = training_backend(self.backend), self.search_space()
        backend.check_space(space)
        with Store.open(self.store) as store:
            check_columns(store, space)
            check_memory(self, store, space, backend)
            data = load_dataset(
                store,
                validation=self.validation,
                n_train=self.n_train,
                seed=self.seed,
                memory_mb=self.memory_mb,
            )
            if isinstance(data, StreamingDataset):
                return data
            check_space_of_forces(data, space, where=self.store)
            return backend.dataset(data, store, self.validation)


def study_config(study: optuna.Study) -> StudyConfig:
    """Configuration that `tune` stored with a study.

    Raises
    ------
    HpoptError
        When the study was not made by hpopt.
    """
    values = study.user_attrs.get(CONFIG)
    if values is None:
        raise HpoptError(
            f"study {study.study_name!r}: not made by hpopt tune", remedy="name a study that was"
        )
    return StudyConfig(**values)


def store_path(path: str | Path) -> str:
    """Absolute path of a store, so that a study finds it from any folder."""
    return str(Path(path).resolve())
