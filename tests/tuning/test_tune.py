"""Studies: a number of trials in total, the same settings to go on, several processes, clean stops."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
import time
import warnings
from pathlib import Path

import optuna
import pytest
from click.testing import CliRunner
from synthetic import environment, hpopt_command

from hpopt_lib.cli import main
from hpopt_lib.errors import HpoptError
from hpopt_lib.preprocess import Input, preprocess
from hpopt_lib.store import Store
from hpopt_lib.tuning import workers
from hpopt_lib.tuning.config import finished, open_study, store_path, study_config
from hpopt_lib.tuning.interrupts import interruptible
from hpopt_lib.tuning.samplers import PRUNERS, SAMPLERS
from hpopt_lib.tuning.storage import load_study, open_storage
from hpopt_lib.tuning.study import tune

SMALL = [
    "--set", "epochs=2", "--set", "num_layers=1", "--set", "batch_size=32", "--set", "max_order=1",
    "--set", "num_sigmas=3",
]  # fmt: skip


@pytest.fixture
def storage(tmp_path) -> str:
    return f"sqlite:///{tmp_path}/studies.db"


def states(study: optuna.Study) -> list[str]:
    return [trial.state.name for trial in study.trials]


@pytest.mark.parametrize("sampler", SAMPLERS)
def test_every_sampler_runs_a_study(make_config, sampler):
    config = make_config(sampler=sampler, fixed={**make_config().fixed, "epochs": 1})
    study = tune("s", config, trials=3, storage=memory())
    assert states(study) == ["COMPLETE"] * 3
    assert len({tuple(trial.params.values()) for trial in study.trials}) == 3
    assert study_config(study).sampler == sampler


@pytest.mark.parametrize("pruner", PRUNERS)
def test_every_pruner_runs_a_study(make_config, pruner):
    repeats = 3 if pruner == "wilcoxon" else 1
    study = tune("s", make_config(pruner=pruner, repeats=repeats), trials=3, storage=memory())
    assert finished(study) == 3


@pytest.fixture(autouse=True)
def _memory(monkeypatch):
    """The address memory:// stands for one storage in memory, a second faster than a file."""
    kept: dict[str, optuna.storages.BaseStorage] = {}
    original = workers.open_storage

    def open_or_kept(address=None, **options):
        if address is not None and address.startswith("memory://"):
            return kept.setdefault(address, optuna.storages.InMemoryStorage())
        return original(address, **options)

    for module in ("hpopt_lib.tuning.workers", "hpopt_lib.tuning.study"):
        monkeypatch.setattr(f"{module}.open_storage", open_or_kept)


def memory() -> str:
    return "memory://study"


def test_the_number_of_trials_is_the_studys_total(make_config, capsys):
    config = make_config()
    assert len(tune("s", config, trials=2, storage=memory()).trials) == 2
    assert len(tune("s", config, trials=5, storage=memory()).trials) == 5
    capsys.readouterr()
    assert len(tune("s", config, trials=5, storage=memory()).trials) == 5
    assert "has 5 finished trials, 5 asked for: nothing to do" in capsys.readouterr().err
    assert len(tune("s", config, trials=1, storage=memory()).trials) == 5


def test_the_same_seed_gives_the_same_trials_and_a_continued_study_new_ones(make_config):
    config = make_config(sampler="random")
    runs = [tune("s", config, trials=3, storage=f"memory://{k}").trials for k in range(2)]
    assert [(t.params, t.value) for t in runs[0]] == [(t.params, t.value) for t in runs[1]]
    more = tune("s", config, trials=6, storage="memory://0").trials
    assert len({tuple(t.params.values()) for t in more}) == 6
    other = tune("s", make_config(sampler="random", seed=1), trials=3, storage="memory://other").trials
    assert [t.params for t in other] != [t.params for t in runs[0]]


def test_a_study_goes_on_only_with_the_settings_it_was_made_with(make_config):
    tune("s", make_config(), trials=1, storage=memory())
    for change, message in (
        ({"seed": 1}, "seed \\(0, now 1\\)"),
        ({"validation": "ood"}, "validation \\('val', now 'ood'\\)"),
        ({"sampler": "random"}, "sampler"),
        ({"pruner": "median"}, "pruner"),
        ({"repeats": 2}, "repeats"),
        ({"n_train": 30}, "n_train \\(None, now 30\\)"),
        ({"fixed": {"epochs": 2}}, "fixed"),
        ({"space": make_config().space + "\n# another comment"}, "space \\(another text\\)"),
    ):
        with pytest.raises(
            HpoptError, match=f"study 's': exists with other settings: {message}.*; choose another"
        ):
            tune("s", make_config(**change), trials=2, storage=memory())
    assert len(tune("s", make_config(), trials=2, storage=memory()).trials) == 2


def test_a_study_goes_on_with_a_moved_store_but_not_with_other_data(make_config, inputs, tmp_path):
    config = make_config()
    moved = shutil.copy(config.store, tmp_path / "moved.lmdb")
    tune("s", config, trials=1, storage=memory())
    study = tune("s", make_config(store=store_path(moved)), trials=2, storage=memory())
    assert len(study.trials) == 2
    assert study_config(study).store == str(moved)
    swapped = tmp_path / "swapped.lmdb"
    train, validation = Input("train", inputs / "val.traj"), Input("val", inputs / "train.traj")
    preprocess([train, validation], swapped, settings=Store.open(config.store).settings)
    with pytest.raises(HpoptError, match="other settings: store \\(other data than .*moved.lmdb held\\)"):
        tune("s", make_config(store=store_path(swapped)), trials=3, storage=memory())


def test_bad_settings_do_not_become_a_study(make_config, storage):
    wide = make_config().space + "[max_order]\ntype='int'\nlow=0\nhigh=3\n"
    for change, message in (
        ({"validation": "test"}, "no split 'test'"),
        ({"validation": "train"}, "is the training split"),
        ({"n_train": 1000}, "n_train: 1000 is out of range"),
        ({"sampler": "bayes"}, "--sampler"),
        ({"pruner": "asha"}, "--pruner"),
        ({"store": "no.lmdb"}, "no such store"),
        ({"space": wide}, "search space: max_order: 3 is above the store's 1; lower it .* --set max_order"),
        ({"fixed": {"num_sigmas": 5}}, "search space: num_sigmas: 5 is above the store's 3"),
    ):
        with pytest.raises(HpoptError, match=message):
            tune("s", make_config(**change), trials=1, storage=storage)
    for trials, jobs in ((0, 1), (-2, 1), (1, 0)):
        with pytest.raises(HpoptError, match="too few; give at least 1"):
            tune("s", make_config(), trials=trials, jobs=jobs, storage=storage)
    assert optuna.get_all_study_names(open_storage(storage)) == []


def test_a_grid_is_searched_once_and_then_ends(make_config, capsys):
    space = "[num_nodes]\ntype='int'\nlow=2\nhigh=4\n[lr]\ntype='categorical'\nchoices=[0.01, 0.02]\n"
    config = make_config(sampler="grid", space=space)
    tune("s", config, trials=2, storage=memory())
    study = tune("s", config, trials=50, storage=memory())
    assert len(study.trials) == 6 == len({tuple(sorted(t.params.items())) for t in study.trials})
    assert "the grid has no further point, 6 trials finished" in capsys.readouterr().err


def test_the_pruner_knows_how_long_trials_are(make_config):
    space = make_config().space + "[epochs]\ntype='int'\nlow=2\nhigh=27\n"
    assert make_config(space=space, fixed={}).epochs() == 27
    assert make_config(fixed={"epochs": 9}).epochs() == 9
    assert make_config(fixed={}).epochs() == 60


def diverging(monkeypatch, when) -> None:
    """Make trials fail whose number is chosen, as a training that diverges does."""
    from hpopt_lib.potential.training import TrainingDivergedError
    from hpopt_lib.tuning import objective

    original, calls = objective.train, []

    def train(data, settings, *, seed, on_epoch):
        calls.append(seed)
        if when(len(calls) - 1):
            raise TrainingDivergedError("training: the loss is not finite in epoch 1", remedy="lower lr")
        return original(data, settings, seed=seed, on_epoch=on_epoch)

    monkeypatch.setattr(objective, "train", train)


def test_failed_trials_are_kept_with_their_reason_and_do_not_count(make_config, monkeypatch):
    diverging(monkeypatch, lambda number: number in (1, 2))
    study = tune("s", make_config(), trials=3, storage=memory())
    assert states(study) == ["COMPLETE", "FAIL", "FAIL", "COMPLETE", "COMPLETE"]
    assert study.trials[1].user_attrs["failure"] == "training: the loss is not finite in epoch 1"
    assert study.trials[1].params and "settings" in study.trials[1].user_attrs


def test_twenty_failures_in_a_row_stop_the_study(make_config, monkeypatch):
    diverging(monkeypatch, lambda number: number not in (0, 5))
    with pytest.raises(HpoptError, match=r"the last 20 trials failed \(training: the loss .*\); narrow"):
        tune("s", make_config(), trials=30, storage=memory())
    study = optuna.load_study(study_name="s", storage=workers.open_storage(memory()))
    assert states(study) == ["COMPLETE", *["FAIL"] * 4, "COMPLETE", *["FAIL"] * 20]


def test_old_failures_do_not_stop_a_new_run(make_config, monkeypatch):
    monkeypatch.setattr(workers, "MAX_FAILURES_IN_A_ROW", 3)
    with monkeypatch.context() as patch:
        diverging(patch, lambda number: True)
        with pytest.raises(HpoptError, match="the last 3 trials failed"):
            tune("s", make_config(), trials=1, storage=memory())
    study = tune("s", make_config(), trials=1, storage=memory())
    assert states(study) == ["FAIL"] * 3 + ["COMPLETE"]


def test_other_exceptions_are_not_swallowed(make_config, monkeypatch):
    from hpopt_lib.tuning import objective

    def broken(*_args, **_kwargs):
        raise ZeroDivisionError("a defect")

    monkeypatch.setattr(objective, "train", broken)
    with pytest.raises(ZeroDivisionError):
        tune("s", make_config(), trials=2, storage=memory())


def test_two_jobs_give_exactly_the_trials_asked_for_with_distinct_parameters(make_config, storage):
    """Also when a trial of a dead process is still marked as running."""
    config = make_config()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)  # on heartbeats
        open_study("s", config, open_storage(storage)).ask()
    study = tune("s", config, trials=7, storage=storage, jobs=2)
    assert sorted(states(study)) == ["COMPLETE"] * 7 + ["RUNNING"]
    done = [trial for trial in study.trials if trial.state.name == "COMPLETE"]
    assert len({tuple(trial.params.values()) for trial in done}) == 7
    assert len({trial.number for trial in done}) == 7


def command(store_path: Path, *more: object) -> list[str]:
    return [
        "tune", str(store_path), "--study", "s", "--storage", "sqlite:///studies.db", "--final-seeds", "0",
        "--pruner", "none", *SMALL, *map(str, more),
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("number", "jobs"), [(signal.SIGTERM, 1), (signal.SIGINT, 2)], ids=["term", "ctrl-c-two-jobs"]
)
def test_a_signal_keeps_finished_trials_and_the_same_command_goes_on(
    store_path, tmp_path, monkeypatch, number, jobs
):
    arguments = command(store_path, "--jobs", jobs, "--trials")
    process = subprocess.Popen(
        hpopt_command(*arguments, 1000), cwd=tmp_path, env=environment(), stderr=subprocess.PIPE, text=True,
        start_new_session=True,
    )  # fmt: skip
    with process:
        assert process.stderr is not None
        said = ""
        while "(3 of 1000)" not in said:
            line = process.stderr.readline()
            assert line, said
            said += line
        if jobs == 1:
            process.send_signal(number)
        else:
            os.killpg(process.pid, number)  # as a terminal does: every process of the command gets it
        said += process.communicate(timeout=60)[1]
    assert process.returncode == 130, said
    assert said.splitlines()[-1].startswith("hpopt: interrupted; what was finished is kept")
    assert "Traceback" not in said
    storage = f"sqlite:///{tmp_path}/studies.db"
    study = load_study("s", storage)
    found = states(study)
    assert finished(study) >= 3 and "RUNNING" not in found and "WAITING" not in found
    assert all(
        trial.user_attrs["failure"] == "interrupted" for trial in study.trials if trial.state.name == "FAIL"
    )
    monkeypatch.chdir(tmp_path)
    more = finished(study) + 2
    again = CliRunner().invoke(main, command(store_path, "--trials", more))
    assert again.exit_code == 0, again.output
    assert finished(load_study("s", storage)) == more


def test_an_interrupt_waits_while_a_trial_is_made_or_stored():
    order = []
    with interruptible() as stops:
        with pytest.raises(KeyboardInterrupt), stops.held():
            os.kill(os.getpid(), signal.SIGTERM)
            order.append("held")
            with stops.allowed():
                order.append("never")
        with pytest.raises(KeyboardInterrupt):
            os.kill(os.getpid(), signal.SIGINT)
        with pytest.raises(KeyboardInterrupt), stops.held(), stops.allowed():
            os.kill(os.getpid(), signal.SIGTERM)
        with pytest.raises(KeyboardInterrupt), stops.held():
            with stops.allowed(), stops.held():
                os.kill(os.getpid(), signal.SIGTERM)
                order.append("report")
            order.append("never")
        with stops.held():
            os.kill(os.getpid(), signal.SIGTERM)
            with pytest.raises(KeyboardInterrupt):
                stops.check()
            stops.check()
    assert order == ["held", "report"]
    assert signal.getsignal(signal.SIGTERM) == signal.SIG_DFL
    assert signal.getsignal(signal.SIGINT) is signal.default_int_handler


def test_an_interrupt_during_a_report_waits_until_it_is_written(make_config, monkeypatch):
    """In the middle of a transaction it would leave the database locked."""
    reported = []
    original = optuna.Trial.report

    def report(self, value, step):
        if self.number == 1 and step == 2:
            os.kill(os.getpid(), signal.SIGINT)
        original(self, value, step)
        reported.append((self.number, step))

    monkeypatch.setattr(optuna.Trial, "report", report)
    with pytest.raises(KeyboardInterrupt):
        tune("s", make_config(), trials=5, storage=memory())
    study = optuna.load_study(study_name="s", storage=workers.open_storage(memory()))
    assert states(study) == ["COMPLETE", "FAIL"] and reported[-1] == (1, 2)
    assert study.trials[1].user_attrs["failure"] == "interrupted"


def test_an_interrupt_while_the_sampler_thinks_leaves_no_running_trial(make_config, monkeypatch):
    """A Gaussian process thinks for seconds before the objective starts; Ctrl-C falls there."""

    class Slow(optuna.samplers.RandomSampler):
        def infer_relative_search_space(self, study, trial):
            if trial.number == 1:
                os.kill(os.getpid(), signal.SIGINT)
                time.sleep(0.01)
            return {}

    monkeypatch.setattr("hpopt_lib.tuning.config.make_sampler", lambda *_args, **_kwargs: Slow(seed=0))
    config = make_config()
    with pytest.raises(KeyboardInterrupt):
        tune("s", config, trials=3, storage=memory())
    study = optuna.load_study(study_name="s", storage=workers.open_storage(memory()))
    assert states(study) == ["COMPLETE", "FAIL"]


def test_a_killed_worker_does_not_block_the_others(tmp_path):
    """The killed one may have held the lock that lets one worker at a time start a trial."""
    code = """
import os, sys
import hpopt_lib.tuning.workers as workers

def main():
    from multiprocessing import get_context
    context = get_context("spawn")
    lock = context.Lock()
    processes = [context.Process(target=hold, args=(lock, k)) for k in range(2)]
    workers._start(processes)
    workers._wait(processes)
    print(sorted(p.exitcode for p in processes))

def hold(lock, k):
    import time
    if k == 0:
        lock.acquire()
        os.kill(os.getpid(), 9)
    time.sleep(0.5)
    with workers.interruptible():
        lock.acquire()

if __name__ == "__main__":
    main()
"""
    script = tmp_path / "killed.py"
    script.write_text(code)
    result = subprocess.run(
        [sys.executable, str(script)], env=environment(), capture_output=True, text=True, timeout=60
    )
    assert result.returncode == 0 and result.stdout.startswith("[-"), result.stderr
