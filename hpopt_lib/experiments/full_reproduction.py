"""The claims of the GMP paper that need its data: QM9 and OC20, as one function for both."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from hpopt_lib.data.split_files import make_split_file
from hpopt_lib.data.split_request import SplitRequest
from hpopt_lib.errors import HpoptError
from hpopt_lib.gmp.settings import GMPSettings
from hpopt_lib.potential.dataset import Dataset
from hpopt_lib.potential.evaluation import evaluate
from hpopt_lib.potential.settings import TrainSettings
from hpopt_lib.potential.training import train
from hpopt_lib.preprocess import Input, ReadOptions, preprocess
from hpopt_lib.split_inputs import split_inputs, split_record
from hpopt_lib.store import Store


@dataclass(frozen=True)
class FullSetup:
    """The published set-up of a claim, as near as this package comes.

    Attributes
    ----------
    name : str
    gmp : GMPSettings
    training : TrainSettings
        All hidden layers have one width here.
    differs : str
        In what the set-up is not the published one.
    """

    name: str
    gmp: GMPSettings
    training: TrainSettings
    differs: str


def _widths(largest: float) -> tuple[float, ...]:
    return tuple(float(sigma) for sigma in np.geomspace(0.05, largest, 30).round(4))


FULL_SETUPS = {
    "qm9": FullSetup(
        "qm9",
        GMPSettings(sigmas=_widths(2.0), max_order=2, cutoff=10.0),
        TrainSettings(
            num_layers=3, num_nodes=64, normalization="batch", lr=5e-3, batch_size=128, epochs=400,
            schedule="step", step_size=100, gamma=0.5,
        ),
        "places of the 30 widths, cutoff, rate and epochs are not in the material that was read",
    ),
    "oc20": FullSetup(
        "oc20",
        GMPSettings(sigmas=_widths(2.0), max_order=2, cutoff=15.0),
        TrainSettings(
            num_layers=3, num_nodes=128, normalization="batch", lr=5e-3, batch_size=128, epochs=100,
            schedule="step", step_size=25, gamma=0.5,
        ),
        "three layers of 128 nodes, published 128, 64, 64; energies only, published with forces; all frames "
        "lie in memory, so that 20 million do not fit",
    ),
}  # fmt: skip


def make_full_store(
    setup: FullSetup,
    files: Sequence[Path],
    work: Path,
    *,
    validation: Sequence[Path] = (),
    processes: int = 1,
) -> Store:
    """The feature store of a set-up, made when it is not there yet; it goes on after a kill.

    Parameters
    ----------
    setup : FullSetup
    files : sequence of Path
        Training files. Without `validation` their frames are divided at random, system by system, into 90 %
        training, 5 % validation and 5 % test.
    work : Path
        Folder for the store and the split file.
    validation : sequence of Path
        Two files of other frames: the first for validation, the second for the test.
    processes : int
        That featurise.

    Raises
    ------
    HpoptError
        For files that cannot be read, or a wrong number of validation files.
    """
    out = work / f"{setup.name}.lmdb"
    if out.exists():
        return Store.open(out)
    work.mkdir(parents=True, exist_ok=True)
    record = None
    if validation:
        if len(validation) != 2:
            raise HpoptError(
                f"{setup.name}: {len(validation)} validation file(s)", remedy="give two: validation and test"
            )
        train_parts = tuple((path, None) for path in files)
        inputs = [Input("train", files[0], train_parts)]
        inputs += [Input(name, path) for name, path in zip(("val", "test"), validation)]
    else:
        path = work / f"{setup.name}-split.json"
        split, _ = make_split_file(list(files), SplitRequest("system", (0.9, 0.05, 0.05)))
        split.save(path, overwrite=True)
        inputs, record = split_inputs([str(file) for file in files], path), split_record(path)
    # the published sets hold some structures twice; a copy in another split would be a leak
    options = ReadOptions(duplicates="drop")
    preprocess(inputs, out, settings=setup.gmp, options=options, processes=processes, split=record)
    return Store.open(out)


def run_full(
    setup: FullSetup,
    store: Store,
    *,
    sizes: Sequence[int],
    seeds: Sequence[int],
    epochs: int = 0,
    device: str = "cpu",
    on_result: Callable[[dict[str, Any]], None] = lambda found: None,
) -> list[dict[str, Any]]:
    """Errors on the test split by training size and seed.

    Parameters
    ----------
    setup : FullSetup
    store : Store
        From `make_full_store`.
    sizes : sequence of int
        Numbers of training frames; 0 takes all.
    seeds : sequence of int
    epochs : int
        Instead of the set-up's, its schedule shortened alike.
    device : str
    on_result : callable
        Given each result as soon as it is there.

    Returns
    -------
    list of dict
        ``n_train``, ``seed``, ``best_epoch``, ``seconds`` and, under ``test``, all metrics with those of the
        median and the linear baseline.
    """
    settings = setup.training
    if epochs:
        step = max(1, round(settings.step_size * epochs / settings.epochs))
        settings = replace(settings, epochs=epochs, step_size=step)
    results = []
    for size in sizes:
        for seed in seeds:
            data = Dataset.from_store(store, validation="val", n_train=size or None, seed=seed)
            result = train(data, settings, seed=seed, device=device)
            found = {
                "n_train": len(data.train),
                "seed": seed,
                "best_epoch": result.best_epoch,
                "seconds": result.seconds,
                "test": evaluate(result.potential, store, ["test"], forces=False)["test"],
            }
            on_result(found)
            results.append(found)
    return results
