"""Studies: a number of trials in total, the same settings to go on, several processes, clean stops."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
from pathlib import Path

import optuna
import pytest
from click.testing import CliRunner
from synthetic import environment, hpopt_command

from hpopt_lib.cli import main
from hpopt_lib.errors import HpoptError
from hpopt_lib.inputs import Input
from hpopt_lib.preprocess import preprocess
from hpopt_lib.store import Store
from hpopt_lib.tuning import queue, workers
from hpopt_lib.tuning.config import store_path, study_config
from hpopt_lib.tuning.joining import finished
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
    assert "the search space has no further point, 6 trials finished" in capsys.readouterr().err


def test_the_pruner_knows_how_long_trials_are(make_config):
    space = make_config().space + "[epochs]\ntype='int'\nlow=2\nhigh=27\n"
    assert make_config(space=space, fixed={}).epochs() == 27
    assert make_config(fixed={"epochs": 9}).epochs() == 9
    assert make_config(fixed={}).epochs() == 60


def diverging(monkeypatch, when, error: Exception | None = None) -> None:
    """Make trials fail whose number is chosen, as a training that diverges does."""
    from hpopt_lib.potential.epochs import TrainingDivergedError
    from hpopt_lib.potential.training import Training
    from hpopt_lib.tuning import objective

    calls = []
    error = error or TrainingDivergedError("training: the loss is not finite in epoch 1", remedy="lower lr")

    class Diverging(Training):
        def __init__(self, *args, **kwargs) -> None:
            super().__init__(*args, **kwargs)
            calls.append(self)
            self.number = len(calls) - 1

        def step(self):
            if when(self.number):
                raise error
            return super().step()

    monkeypatch.setattr(objective, "Training", Diverging)


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
    monkeypatch.setattr(queue, "MAX_FAILURES_IN_A_ROW", 3)
    with monkeypatch.context() as patch:
        diverging(patch, lambda number: True)
        with pytest.raises(HpoptError, match="the last 3 trials failed"):
            tune("s", make_config(), trials=1, storage=memory())
    study = tune("s", make_config(), trials=1, storage=memory())
    assert states(study) == ["FAIL"] * 3 + ["COMPLETE"]


@pytest.mark.parametrize(
    "error",
    [
        MemoryError("no room"),
        RuntimeError("DefaultCPUAllocator: not enough memory: you tried to allocate 9 GB"),
    ],
    ids=["memory-error", "torch"],
)
def test_a_training_that_runs_out_of_memory_fails_its_trial_only(make_config, monkeypatch, error):
    diverging(monkeypatch, lambda number: number == 1, error)
    study = tune("s", make_config(), trials=2, storage=memory())
    assert states(study) == ["COMPLETE", "FAIL", "COMPLETE"]
    assert study.trials[1].user_attrs["failure"].startswith("out of memory: ")


def test_other_exceptions_are_not_swallowed_and_leave_no_running_trial(make_config, monkeypatch):
    diverging(monkeypatch, lambda number: True, ZeroDivisionError("a defect"))
    with pytest.raises(ZeroDivisionError):
        tune("s", make_config(), trials=2, storage=memory())
    study = optuna.load_study(study_name="s", storage=workers.open_storage(memory()))
    assert states(study) == ["FAIL"]
    assert study.trials[0].user_attrs["failure"] == "ZeroDivisionError: a defect"


@pytest.mark.parametrize("kind", ["sqlite", "journal"])
def test_two_jobs_give_exactly_the_trials_asked_for_with_distinct_parameters(make_config, tmp_path, kind):
    storage = f"{kind}:///{tmp_path}/studies.db"
    study = tune("s", make_config(), trials=7, storage=storage, jobs=2)
    assert states(study) == ["COMPLETE"] * 7
    assert len({tuple(trial.params.values()) for trial in study.trials}) == 7
    assert {trial.user_attrs["worker"] for trial in study.trials} == {0, 1}


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
    assert finished(study) >= 3 and "RUNNING" not in states(study)
    stopped = [trial for trial in study.trials if trial.state.name == "FAIL"]
    assert all("stopped by SIG" in trial.user_attrs["failure"] for trial in stopped)
    waiting = [trial.user_attrs["resumed_from"] for trial in study.trials if trial.state.name == "WAITING"]
    assert sorted(waiting) == [trial.number for trial in stopped]
    monkeypatch.chdir(tmp_path)
    more = finished(study) + 2
    again = CliRunner().invoke(main, command(store_path, "--trials", more))
    assert again.exit_code == 0, again.output
    study = load_study("s", storage)
    assert finished(study) == more and {"WAITING", "RUNNING"}.isdisjoint(states(study))
