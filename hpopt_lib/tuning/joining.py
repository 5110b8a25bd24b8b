"""Make a study in a storage, join it, and count what is done."""

from __future__ import annotations

import json
import warnings
from dataclasses import asdict, replace
from typing import TYPE_CHECKING

from hpopt_lib.errors import HpoptError
from hpopt_lib.store import Store
from hpopt_lib.tuning.config import (
    CONFIG,
    FINGERPRINT,
    REFERENCE,
    TRIALS,
    StudyConfig,
    store_path,
    study_config,
)
from hpopt_lib.tuning.racing import check_race
from hpopt_lib.tuning.samplers import make_pruner, make_sampler
from hpopt_lib.tuning.selection import check_objectives

if TYPE_CHECKING:
    import optuna


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

    from hpopt_lib.tuning.addresses import files_folder, is_file
    from hpopt_lib.tuning.gate import gate_of

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
