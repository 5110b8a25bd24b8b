"""What defines a study besides its trials, kept with it and compared when it goes on."""

from __future__ import annotations

import json
import warnings
from collections.abc import Callable
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from hpopt_lib.errors import HpoptError
from hpopt_lib.potential.dataset import Dataset
from hpopt_lib.potential.settings import TrainSettings
from hpopt_lib.potential.streaming import StreamingDataset, load_dataset
from hpopt_lib.store import Store
from hpopt_lib.tuning.backends import DEFAULT, training_backend
from hpopt_lib.tuning.objective import METRIC
from hpopt_lib.tuning.racing import check_race
from hpopt_lib.tuning.samplers import PRUNER, make_pruner, make_sampler
from hpopt_lib.tuning.selection import ONE, check_objectives, study_training
from hpopt_lib.tuning.space import SearchSpace, parse_space
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


def make_study(
    name: str, config: StudyConfig, storage: optuna.storages.BaseStorage, *, trials: int | None = None
) -> optuna.Study:
    """Create a study, or load it when it exists with the same configuration.

    The store may have moved, to a cluster for example, as long as it holds the same data.

    Parameters
    ----------
    name : str
    config : StudyConfig
    storage : optuna storage
    trials : int, optional
        Finished trials that the study shall have; kept with it, for all its workers.

    Raises
    ------
    HpoptError
        When a study of that name exists with another configuration.
    """
    import optuna

    from hpopt_lib.tuning.gate import gate_of
    from hpopt_lib.tuning.storage import files_folder, is_file

    # bad names must not become a study
    make_sampler(config.sampler, seed=config.seed, space=config.search_space())
    make_pruner(config.pruner, epochs=config.epochs(), repeats=config.repeats)
    check_objectives(config)
    check_race(config.race, repeats=config.repeats, pruner=config.pruner)
    with Store.open(config.store) as store:
        fingerprint, reference = store.fingerprint, store.reference.label
    address = getattr(storage, "hpopt_address", None)
    locks = files_folder(address) if address and is_file(address) else None
    with gate_of(storage, locks, name):  # several commands may start at once
        try:
            study = optuna.load_study(study_name=name, storage=storage)
        except KeyError:
            metrics = config.metrics()
            study = optuna.create_study(
                study_name=name, storage=storage, directions=["minimize"] * len(metrics)
            )
            with warnings.catch_warnings():
                warnings.simplefilter("ignore", optuna.exceptions.ExperimentalWarning)
                study.set_metric_names(metrics)
            study.set_user_attr(CONFIG, asdict(config))
            study.set_user_attr(FINGERPRINT, fingerprint)
            study.set_user_attr(REFERENCE, reference)
        else:
            _check_same(study, config, fingerprint)
        if trials is not None and study.user_attrs.get(TRIALS) != trials:
            study.set_user_attr(TRIALS, trials)
    return study


def _check_same(study: optuna.Study, config: StudyConfig, fingerprint: str) -> None:
    earlier = asdict(study_config(study))
    differences = [
        f"{key} ({earlier[key]!r}, now {new!r})" if key != "space" else "space (another text)"
        for key, new in json.loads(json.dumps(asdict(config))).items()
        if key not in ("store", "memory_mb") and earlier[key] != new
    ]
    if study.user_attrs.get(FINGERPRINT) != fingerprint:
        differences.append(f"store (other data than {earlier['store']} held)")
    if differences:
        raise HpoptError(
            f"study {study.study_name!r}: exists with other settings: {', '.join(differences)}",
            remedy="choose another --study name, or repeat the settings it was made with",
        )
    # a call without a bound does not lift it: the data may not fit
    now = replace(config, memory_mb=config.memory_mb or earlier["memory_mb"])
    if earlier != asdict(now):
        study.set_user_attr(CONFIG, asdict(now))


def join_study(
    name: str, storage: optuna.storages.BaseStorage, *, worker: int, store: str | None = None
) -> tuple[optuna.Study, StudyConfig]:
    """Load a study with the sampler and pruner of one worker.

    Parameters
    ----------
    name : str
    storage : optuna storage
    worker : int
        Number of the worker, see `hpopt_lib.tuning.samplers.make_sampler`.
    store : str, optional
        A copy of the study's store, on the disk of the worker's node for example.

    Raises
    ------
    HpoptError
        When there is no such study, or the store holds other data than the study's.
    """
    import optuna

    from hpopt_lib.tuning.cache import StudyCache
    from hpopt_lib.tuning.resilient import ResilientStorage

    if isinstance(storage, ResilientStorage):
        storage = StudyCache(storage)
    try:
        study = optuna.load_study(study_name=name, storage=storage)
    except KeyError:
        raise HpoptError(
            f"study {name!r}: not in this storage", remedy="make it with hpopt study create or hpopt tune"
        ) from None
    config = study_config(study)
    if store is not None:
        config = replace(config, store=store_path(store))
    if Store.open(config.store).fingerprint != study.user_attrs.get(FINGERPRINT):
        raise HpoptError(
            f"{config.store}: other data than the study's store held", remedy="copy the store again"
        )
    study.sampler = make_sampler(config.sampler, seed=config.seed, space=config.search_space(), worker=worker)
    study.pruner = make_pruner(config.pruner, epochs=config.epochs(), repeats=config.repeats)
    return study, config


def finished(study: optuna.Study) -> int:
    """Number of trials that count: completed and pruned."""
    from optuna.trial import TrialState

    return study._storage.get_n_trials(study._study_id, (TrialState.COMPLETE, TrialState.PRUNED))


def store_path(path: str | Path) -> str:
    """Absolute path of a store, so that a study finds it from any folder."""
    return str(Path(path).resolve())
