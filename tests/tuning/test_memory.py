"""Studies whose frames do not fit into the memory that they may have."""

from __future__ import annotations

from dataclasses import replace

import pytest
from click.testing import CliRunner

from hpopt_lib.cli import main
from hpopt_lib.errors import HpoptError
from hpopt_lib.potential.dataset import Dataset
from hpopt_lib.potential.memory_bound import memory_needed_mb
from hpopt_lib.potential.streaming import StreamingDataset
from hpopt_lib.store import Store
from hpopt_lib.tuning.backends import training_backend
from hpopt_lib.tuning.config import study_config
from hpopt_lib.tuning.joining import make_study
from hpopt_lib.tuning.storage import load_study, open_storage
from hpopt_lib.tuning.store_checks import check_memory
from hpopt_lib.tuning.study import tune
from hpopt_lib.tuning.workers import WorkerOptions


@pytest.fixture
def storage(tmp_path) -> str:
    return f"sqlite:///{tmp_path}/studies.db"


@pytest.fixture
def bound(store_path) -> float:
    """A bound in MB that holds a block of the store, and not all of it."""
    with Store.open(store_path) as store, pytest.raises(HpoptError) as caught:
        StreamingDataset(store, memory_mb=1e-3)
    return float(caught.value.remedy.removeprefix("give at least "))


def test_a_study_keeps_its_bound_and_its_trials_say_it(make_config, storage, bound):
    config = make_config(memory_mb=bound)
    study = tune("s", config, trials=1, storage=storage)
    assert study_config(study).memory_mb == bound
    assert study.trials[0].user_attrs["memory_mb"] == bound
    study = tune("s", make_config(), trials=2, storage=storage)
    assert study_config(study).memory_mb == bound, "a call without a bound does not lift it"
    assert study.trials[1].user_attrs["memory_mb"] == bound
    make_study("s", make_config(memory_mb=2 * bound), open_storage(storage))
    assert study_config(load_study("s", storage)).memory_mb == 2 * bound
    options = WorkerOptions(memory_mb=3 * bound)
    study = tune("s", make_config(), trials=3, storage=storage, options=options)
    assert study.trials[2].user_attrs["memory_mb"] == 3 * bound


def test_a_streamed_study_finds_what_one_in_memory_finds(make_config, storage, monkeypatch):
    """One block of frames: the same order of batches."""
    expected = tune("whole", make_config(), trials=2, storage=storage)
    monkeypatch.setattr("hpopt_lib.potential.memory_bound.memory_needed_mb", lambda *_, **__: 1e9)
    config = make_config(memory_mb=100)
    assert isinstance(config.dataset(), StreamingDataset) and isinstance(make_config().dataset(), Dataset)
    found = tune("streamed", config, trials=2, storage=storage)
    for one, other in zip(expected.trials, found.trials, strict=True):
        assert one.params == other.params
        assert one.value == pytest.approx(other.value, rel=1e-6)
        for name in ("skill_over_median", "skill_over_linear", "energy_mae_ev"):
            assert one.user_attrs[name] == pytest.approx(other.user_attrs[name], abs=1e-4)


def test_a_bound_that_holds_no_block_is_refused_with_one_that_does(store_path, storage):
    columns = ["--set", "max_order=1", "--set", "num_sigmas=3", "--storage", storage]
    command = ["tune", str(store_path), "--study", "s", "--trials", "1", *columns]
    done = CliRunner().invoke(main, [*command, "--memory", "0.01"])
    assert done.exit_code == 1
    assert "--memory: 0.01 MB does not hold one block of" in done.output and "give at least" in done.output
    done = CliRunner().invoke(main, [*command, "--memory", "0"])
    assert done.exit_code == 2 and "--memory" in done.output
    create = ["study", "create", "t", str(store_path), "--trials", "1", *columns]
    done = CliRunner().invoke(main, [*create, "--memory", "50"])
    assert done.exit_code == 0, done.output
    assert study_config(load_study("t", storage)).memory_mb == 50


def test_a_study_on_forces_needs_all_frames_in_memory(make_config, store_path, storage, bound):
    pytest.importorskip("numba")
    with Store.open(store_path) as store:
        needed = memory_needed_mb(store)
    forces = {**make_config().fixed, "force_weight": 1.0}
    with pytest.raises(HpoptError, match=r"--memory: training on forces \(force_weight\) needs all frames"):
        make_config(memory_mb=needed - 0.001, fixed=forces).dataset()
    study = tune("f", make_config(memory_mb=needed + 0.001, fixed=forces), trials=1, storage=storage)
    assert study.trials[0].user_attrs["force_mae_mev_per_angstrom"] > 0


def test_a_backend_that_does_not_stream_needs_all_frames_in_memory(make_config, store_path):
    """AMPtorch reads the whole splits, whatever part of the frames it trains on."""
    config = make_config(n_train=10)
    whole = replace(training_backend("hpopt"), name="amptorch", streams=False)
    with Store.open(store_path) as store:
        part, needed = memory_needed_mb(store, n_train=10), memory_needed_mb(store)
        between = replace(config, memory_mb=(part + needed) / 2)
        check_memory(between, store, config.search_space(), training_backend("hpopt"))
        with pytest.raises(HpoptError, match="--memory: the backend amptorch needs all frames in memory"):
            check_memory(between, store, config.search_space(), whole)
        for memory in (None, needed + 0.001):
            check_memory(replace(config, memory_mb=memory), store, config.search_space(), whole)
