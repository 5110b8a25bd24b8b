"""Who works on a study in the benchmark of the storages: workers of this package, and Optuna alone."""

from __future__ import annotations

import warnings
from collections.abc import Callable
from typing import Any

from storage_load import CONTEXT, RESULTS, Load, Training


class _OurTraining(Training):
    """Asks and stores as a training of this package does."""

    def ask_pruner(self, trial: Any) -> None:
        from hpopt_lib.tuning.attributes import should_prune

        should_prune(trial)

    def store(self, trial: Any) -> None:
        from hpopt_lib.tuning.attributes import describe

        trial.set_user_attr("settings", RESULTS["settings"])
        describe(trial, {key: value for key, value in RESULTS.items() if key != "settings"})


def hpopt_worker(load: Load, k: int, training: Training, address: str) -> Callable[..., Any]:
    """A worker of this package."""
    from hpopt_lib.tuning.interrupts import Interrupts
    from hpopt_lib.tuning.workers import Worker, WorkerOptions

    worker: Any = Worker(load.study, address, WorkerOptions(), Interrupts())
    training.__class__ = _OurTraining
    worker.objective = training

    def go(note: Callable[..., Any]) -> None:
        tell = worker._tell
        worker._tell = lambda *arguments: (tell(*arguments), note())
        worker.run()

    return go


def optuna_worker(load: Load, k: int, training: Training, server: str, port: int = 0) -> Callable[..., Any]:
    """`optuna.Study.optimize` with a share of the trials, on the server or behind its gRPC proxy."""
    import optuna

    optuna.logging.set_verbosity(optuna.logging.ERROR)
    storage: Any
    if port:
        storage = optuna.storages.GrpcStorageProxy(host="localhost", port=port)
    else:
        storage = optuna.storages.RDBStorage(url_of(server))
    study = optuna.load_study(
        study_name=load.study,
        storage=storage,
        sampler=optuna.samplers.RandomSampler(seed=k),
        pruner=optuna.pruners.MedianPruner(n_startup_trials=5, n_warmup_steps=5, n_min_trials=3),
    )
    share = load.trials // load.workers + (k < load.trials % load.workers)
    return lambda note: study.optimize(training, n_trials=share, callbacks=[note])


def url_of(server: str) -> str:
    """Address of a server of hpopt db with its password, for Optuna itself; never shown."""
    from hpopt_lib.tuning.endpoint import read_endpoint, server_folder

    endpoint = read_endpoint(server_folder(server))
    assert endpoint is not None
    account = f"{endpoint.user}:{endpoint.password}"
    return f"mysql+pymysql://{account}@{endpoint.host}:{endpoint.port}/{endpoint.database}"


def grpc_proxy(server: str, port: int) -> Any:
    """Optuna's gRPC proxy before the server, in a process of its own."""
    process = CONTEXT.Process(target=_proxy, args=(server, port), daemon=True)
    process.start()
    return process


def _proxy(server: str, port: int) -> None:
    import optuna

    warnings.simplefilter("ignore")
    optuna.logging.set_verbosity(optuna.logging.ERROR)
    optuna.storages.run_grpc_proxy_server(
        optuna.storages.get_storage(url_of(server)), host="localhost", port=port
    )
