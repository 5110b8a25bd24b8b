"""Workers that are stopped, killed or late: no trial is lost, none is done twice, none stays running."""

from __future__ import annotations

import os
import signal
import subprocess
import time
from collections.abc import Callable, Iterator

import optuna
import pytest
from synthetic import GMP, environment, hpopt_command

from hpopt_lib.errors import HpoptError
from hpopt_lib.tuning.addresses import files_folder
from hpopt_lib.tuning.copying import copy_study
from hpopt_lib.tuning.interrupts import MARGIN_S, Interrupts, interruptible, job_deadline
from hpopt_lib.tuning.janitor import Janitor, requeue_lost
from hpopt_lib.tuning.joining import finished
from hpopt_lib.tuning.processes import work
from hpopt_lib.tuning.storage import load_study, open_storage
from hpopt_lib.tuning.study import create_study, tune
from hpopt_lib.tuning.workers import Worker, WorkerOptions


@pytest.fixture(params=["sqlite", "journal", "server"])
def storage(request, tmp_path) -> Iterator[str]:
    if request.param != "server":
        yield f"{request.param}:///{tmp_path}/studies.db"
        return
    name = request.getfixturevalue("server")
    yield name
    backend = open_storage(name)
    for study in optuna.get_all_study_names(backend):
        optuna.delete_study(study_name=study, storage=backend)
    backend.engine.dispose()


def ask(study: optuna.Study) -> optuna.Trial:
    """Start a trial as a worker would that dies at once."""
    study._thread_local.in_optimize_loop = True  # else Optuna warns that nobody will beat
    return study.ask()


def let_it_get_stale(storage: str) -> None:
    """Without a lock on a file a worker counts as dead only after the grace period."""
    if "://" not in storage:
        time.sleep(4.5)


def accounted(study: optuna.Study, trials: int) -> None:
    """Raise unless every trial is accounted for: the studies' invariants after any fault."""
    found = study.get_trials(deepcopy=False)
    states = [trial.state.name for trial in found]
    assert {"RUNNING", "WAITING"}.isdisjoint(states), states
    assert states.count("COMPLETE") + states.count("PRUNED") == trials, states
    assert [trial.number for trial in found] == list(range(len(found)))
    for trial in found:
        successors = [t.number for t in found if t.user_attrs.get("resumed_from") == trial.number]
        if trial.state.name == "FAIL":
            assert trial.user_attrs["failure"], trial.number
            again = trial.user_attrs["cause"] in ("lost", "stopped") and trial.params
            assert len(successors) == bool(again), (trial.number, successors)
        else:
            assert successors == [], trial.number


@pytest.fixture
def start_worker(storage, tmp_path) -> Iterator[Callable[..., subprocess.Popen[str]]]:
    """Starts a worker of the study s in a process of its own."""
    started = []

    def start(*more: object) -> subprocess.Popen[str]:
        started.append(
            subprocess.Popen(
                hpopt_command("worker", "s", "--storage", storage, *more), cwd=tmp_path, env=environment(),
                stderr=subprocess.PIPE, text=True,
            )
        )  # fmt: skip
        return started[-1]

    yield start
    for process in started:
        if process.poll() is None:  # only when the test failed
            process.kill()
            process.communicate()


def wait_for(condition, seconds: float = 60.0) -> None:
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end, "waited in vain"
        time.sleep(0.05)


def running(storage: str) -> list[int]:
    trials = load_study("s", storage).get_trials(deepcopy=False)
    return [t.number for t in trials if t.state.name == "RUNNING" and len(t.intermediate_values) >= 3]


@pytest.mark.slow
def test_a_lower_total_leaves_waiting_trials_in_the_queue(make_config, storage):
    """Trials that were put back when there were more to come must not push a study over its total."""
    create_study("s", make_config(fixed={"epochs": 2}, sampler="random"), trials=50, storage=storage)
    study = load_study("s", storage)
    for lr in (1e-3, 2e-3, 3e-3):
        study.enqueue_trial({"lr": lr})
    work("s", storage, WorkerOptions(trials=2), jobs=2)
    states = [trial.state.name for trial in load_study("s", storage).trials]
    assert sorted(states) == ["COMPLETE", "COMPLETE", "WAITING"]
    work("s", storage, WorkerOptions(trials=3), jobs=1)
    assert [trial.state.name for trial in load_study("s", storage).trials] == ["COMPLETE"] * 3


LONG = {"epochs": 4000, "num_layers": 1, "batch_size": 32}


@pytest.mark.slow
def test_a_stopped_workers_trial_is_continued_by_the_next_one(make_config, storage, tmp_path, start_worker):
    """A single trial of 2000 epochs, cut twice, is the same to the last bit as one that was not."""
    config = make_config(fixed={**LONG, "epochs": 2000}, sampler="random")
    whole = tune("whole", config, trials=1, storage=f"sqlite:///{tmp_path}/other.db").trials[0]
    create_study("s", config, trials=1, storage=storage)
    for number in (signal.SIGUSR1, signal.SIGTERM):
        worker = start_worker()
        wait_for(lambda: running(storage))
        worker.send_signal(number)
        said = worker.communicate(timeout=60)[1]
        assert worker.returncode == 75, said
        assert f"stopped by {number.name} after epoch" in said and "Traceback" not in said
    assert Worker("s", storage, WorkerOptions(), Interrupts()).run()
    study = load_study("s", storage)
    accounted(study, 1)
    first, second, last = study.trials
    assert first.params == second.params == last.params == whole.params
    assert (last.value, last.intermediate_values) == (whole.value, whole.intermediate_values)
    assert last.user_attrs["learning_curve"] == whole.user_attrs["learning_curve"]
    assert 0 < second.user_attrs["resumed_epoch"] <= last.user_attrs["resumed_epoch"] < 2000
    assert list((files_folder(storage) / "checkpoints" / "s").iterdir()) == []


@pytest.mark.slow
def test_a_killed_workers_trial_is_queued_once_and_done_once(make_config, storage, start_worker):
    create_study("s", make_config(fixed=LONG), trials=2, storage=storage)
    worker = start_worker()
    wait_for(lambda: running(storage))
    alive = load_study("s", storage)
    assert requeue_lost(alive) == [], "its worker is alive"
    worker.kill()
    worker.communicate()
    let_it_get_stale(storage)
    janitors = [Janitor(load_study("s", storage)) for _ in range(3)]
    assert [janitor.requeue_lost() for janitor in janitors] == [[0], [], []]
    study = load_study("s", storage)
    assert [t.state.name for t in study.trials] == ["FAIL", "WAITING"]
    assert study.trials[0].user_attrs["failure"] == "the worker died"
    assert study.trials[1].user_attrs["resumed_from"] == 0
    assert study.trials[1].params == study.trials[0].params


def test_a_janitor_that_died_half_way_is_completed_by_the_next(make_config, storage):
    study = create_study("s", make_config(), trials=1, storage=storage)
    trial = ask(study)
    trial.suggest_float("lr", 1e-3, 1e-1, log=True)
    janitor = Janitor(load_study("s", storage))
    frozen = janitor.study._storage.get_trial(trial._trial_id)
    let_it_get_stale(storage)
    janitor.enqueue_copy(frozen, losses=1)  # and dies here, before it closes the old attempt
    assert requeue_lost(load_study("s", storage)) == [0]
    assert [t.state.name for t in load_study("s", storage).trials] == ["FAIL", "WAITING"]


def test_a_trial_that_kills_its_workers_is_given_up(make_config, storage):
    study = create_study("s", make_config(), trials=1, storage=storage)
    ask(study).suggest_float("lr", 1e-3, 1e-1, log=True)
    for _ in range(2):
        let_it_get_stale(storage)
        assert len(requeue_lost(load_study("s", storage))) == 1
        ask(study)  # takes the waiting copy, and dies with it
    let_it_get_stale(storage)
    assert requeue_lost(load_study("s", storage)) == [2]
    trials = load_study("s", storage).trials
    assert [t.state.name for t in trials] == ["FAIL"] * 3
    assert trials[-1].user_attrs["failure"] == "the worker died, for the 3th time: not tried again"


def test_a_worker_that_was_thought_dead_does_not_disturb_its_successor(make_config, storage, monkeypatch):
    """Its trial is closed while it trains; its late reports and result are refused, and it goes on."""
    create_study("s", make_config(), trials=2, storage=storage)
    worker = Worker("s", storage, WorkerOptions(), Interrupts())
    taken = []

    def taking(history_of, record):
        if not taken:
            taken.append(history_of.number)
            other = Janitor(load_study("s", storage))
            frozen = other.study._storage.get_trial(history_of._trial_id)
            other.enqueue_copy(frozen, losses=1)
            other.close(frozen, "the worker died", cause="lost")

    worker.objective.on_result = taking
    assert worker.run()
    study = load_study("s", storage)
    accounted(study, 2)
    assert taken == [0] and study.trials[1].user_attrs["resumed_from"] == 0


def test_workers_of_separate_commands_share_the_total_and_have_seeds_of_their_own(
    make_config, storage, start_worker
):
    create_study("s", make_config(sampler="random"), trials=9, storage=storage)
    workers = [start_worker() for _ in range(3)]
    for worker in workers:
        said = worker.communicate(timeout=120)[1]
        assert worker.returncode == 0, said
    study = load_study("s", storage)
    accounted(study, 9)
    assert len(study.trials) == 9, "no overshoot"
    assert len({t.user_attrs["worker"] for t in study.trials}) >= 2
    assert len({tuple(t.params.values()) for t in study.trials}) == 9
    again = start_worker()
    again.communicate(timeout=60)
    assert again.returncode == 0 and len(load_study("s", storage).trials) == 9


def test_known_points_are_not_trained_again(make_config, storage):
    space = "[num_nodes]\ntype='int'\nlow=2\nhigh=4\n"
    create_study("s", make_config(space=space, sampler="random"), trials=10, storage=storage)
    assert Worker("s", storage, WorkerOptions(), Interrupts()).run()
    study = load_study("s", storage)
    done = [t.params["num_nodes"] for t in study.trials if t.state.name == "COMPLETE"]
    assert sorted(done) == [2, 3, 4]
    failures = {t.user_attrs["failure"] for t in study.trials if t.state.name == "FAIL"}
    assert failures and all(text.startswith("the same hyperparameters as trial") for text in failures)


def test_a_worker_with_a_copy_of_the_store_and_one_with_other_data(make_config, storage, tmp_path, inputs):
    import shutil

    config = make_config()
    create_study("s", config, trials=1, storage=storage)
    copy = shutil.copy(config.store, tmp_path / "copy.lmdb")
    assert Worker("s", storage, WorkerOptions(store=copy), Interrupts()).run()
    from hpopt_lib.inputs import Input
    from hpopt_lib.preprocess import preprocess

    other = tmp_path / "other.lmdb"
    preprocess(
        [Input("train", inputs / "val.traj"), Input("val", inputs / "train.traj")], other, settings=GMP
    )
    with pytest.raises(HpoptError, match=r"other.lmdb: other data than the study's store held; copy"):
        Worker("s", storage, WorkerOptions(store=str(other)), Interrupts())


def test_a_study_that_is_not_there_or_has_no_total(make_config, storage):
    create_study("s", make_config(), storage=storage)
    with pytest.raises(HpoptError, match=r"study 'x': not in this storage; make it with hpopt study create"):
        Worker("x", storage, WorkerOptions(), Interrupts())
    with pytest.raises(HpoptError, match=r"study 's': it is not known how many trials .*; pass --trials"):
        Worker("s", storage, WorkerOptions(), Interrupts()).run()
    assert Worker("s", storage, WorkerOptions(trials=1), Interrupts()).run()


@pytest.mark.parametrize("target", ["sqlite", "journal"])
def test_a_study_is_copied_with_all_that_belongs_to_it(make_config, storage, tmp_path, target):
    study = tune("s", make_config(), trials=3, storage=storage)
    files = files_folder(storage)
    (files / "checkpoints" / "s").mkdir(parents=True, exist_ok=True)
    (files / "checkpoints" / "s" / "trial-9.npz").write_bytes(b"state")
    there = f"{target}:///{tmp_path}/copy.db"
    assert copy_study("s", storage, there, new_name="t") == 3
    copied = load_study("t", there)
    assert copied.user_attrs == study.user_attrs and copied.metric_names == study.metric_names
    for old, new in zip(study.trials, copied.trials, strict=True):
        assert (old.number, old.state, old.values, old.params) == (
            new.number,
            new.state,
            new.values,
            new.params,
        )
        assert old.intermediate_values == new.intermediate_values and old.user_attrs == new.user_attrs
        assert (old.datetime_start, old.datetime_complete) == (new.datetime_start, new.datetime_complete)
    assert (files_folder(there) / "checkpoints" / "t" / "trial-9.npz").read_bytes() == b"state"
    with pytest.raises(HpoptError, match=r"study 't': .* has one of that name; choose another with --as"):
        copy_study("s", storage, there, new_name="t")
    assert finished(tune("t", make_config(), trials=4, storage=there)) == 4


def test_a_copy_that_fails_leaves_nothing(make_config, storage, tmp_path, monkeypatch):
    tune("s", make_config(), trials=2, storage=storage)

    def full(*_args):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("hpopt_lib.tuning.copying.copy_files", full)
    with pytest.raises(OSError):
        copy_study("s", storage, f"sqlite:///{tmp_path}/copy.db")
    assert optuna.get_all_study_names(load_study("s", storage)._storage) == ["s"]
    with pytest.raises(HpoptError, match="it has no study yet"):
        load_study("s", f"sqlite:///{tmp_path}/copy.db")


def test_time_limits(monkeypatch):
    for name in ("HPOPT_STOP_AT", "SLURM_JOB_END_TIME"):
        monkeypatch.delenv(name, raising=False)
    assert job_deadline() is None
    monkeypatch.setenv("SLURM_JOB_END_TIME", "Unknown")
    assert job_deadline() is None
    monkeypatch.setenv("SLURM_JOB_END_TIME", "2000000000")
    assert job_deadline() == 2e9
    monkeypatch.setenv("HPOPT_STOP_AT", "1900000000")
    assert job_deadline() == 1.9e9
    assert job_deadline(2) == pytest.approx(time.time() + 120, abs=5)
    soon = Interrupts(time.time() + MARGIN_S + 10)
    assert soon.should_stop(1.0) == "" and soon.should_stop(20.0) == "stopped before the time limit"
    assert soon.should_stop() == "stopped before the time limit"


def test_a_worker_stops_before_its_time_limit(make_config, storage):
    create_study("s", make_config(), trials=5, storage=storage)
    assert not Worker("s", storage, WorkerOptions(), Interrupts(time.time() + 1)).run()
    assert load_study("s", storage).trials == []


def test_signals_are_noted_and_a_second_one_ends_the_training_only():
    order = []
    with interruptible() as stops:
        os.kill(os.getpid(), signal.SIGUSR1)
        time.sleep(0.01)
        assert stops.should_stop() == "stopped by SIGUSR1"
        os.kill(os.getpid(), signal.SIGINT)
        order.append("between trials nothing is raised")
        with pytest.raises(KeyboardInterrupt), stops.allowed():
            order.append("never")
        with pytest.raises(KeyboardInterrupt), stops.allowed():
            os.kill(os.getpid(), signal.SIGTERM)
            time.sleep(1)
            order.append("never")
    assert order == ["between trials nothing is raised"]
    assert signal.getsignal(signal.SIGTERM) == signal.SIG_DFL
    assert signal.getsignal(signal.SIGUSR1) == signal.SIG_DFL
    assert signal.getsignal(signal.SIGINT) is signal.default_int_handler
