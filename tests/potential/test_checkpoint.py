"""A training that was stopped goes on from its checkpoint as if it had not been, to the last bit."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch

from hpopt_lib.errors import HpoptError
from hpopt_lib.potential.checkpoint import load_checkpoint, save_checkpoint
from hpopt_lib.potential.settings import TrainSettings
from hpopt_lib.potential.training import Training, train

BASE = TrainSettings.from_dict({"epochs": 7, "num_layers": 2, "num_nodes": 6, "batch_size": 16, "lr": 0.02})


@pytest.mark.parametrize(
    "changes",
    [
        {},
        {"dropout_rate": 0.3},
        {"schedule": "step", "step_size": 2, "gamma": 0.5},
        {"schedule": "cosine"},
        {"normalization": "batch"},
        {"patience": 3},
    ],
    ids=str,
)
@pytest.mark.parametrize("stops", [(1,), (3,), (2, 5)], ids=str)
def test_a_resumed_training_is_the_same_training(dataset, tmp_path, changes, stops):
    settings = replace(BASE, **changes)
    whole = train(dataset, settings, seed=5)
    training, path = Training(dataset, settings, seed=5), tmp_path / "c.npz"
    for stop in stops:
        while training.epoch < stop and not training.finished:
            training.step()
        save_checkpoint(path, training.state())
        torch.rand(3)  # what else happens to random numbers in between does not matter
        training = Training(dataset, settings, seed=5)
        training.restore(load_checkpoint(path))
    for _ in training:
        pass
    resumed = training.result()
    assert resumed.history == whole.history
    assert (resumed.best_epoch, resumed.best_error) == (whole.best_epoch, whole.best_error)
    for name, value in whole.potential.network.state_dict().items():
        assert torch.equal(value, resumed.potential.network.state_dict()[name]), name


def test_a_finished_training_stays_finished(dataset, tmp_path):
    training = Training(dataset, BASE, seed=0)
    for _ in training:
        pass
    save_checkpoint(tmp_path / "c.npz", training.state())
    again = Training(dataset, BASE, seed=0)
    again.restore(load_checkpoint(tmp_path / "c.npz"))
    assert again.finished and list(again) == []


def test_a_checkpoint_of_another_training_is_refused(dataset):
    state = Training(dataset, BASE, seed=0).state()
    for other in (
        Training(dataset, BASE, seed=1),
        Training(dataset, replace(BASE, lr=0.01), seed=0),
    ):
        with pytest.raises(HpoptError, match="checkpoint: of a training with other settings; remove it"):
            other.restore(state)


def test_damaged_and_missing_files(dataset, tmp_path):
    path = save_checkpoint(tmp_path / "c.npz", Training(dataset, BASE, seed=0).state())
    assert load_checkpoint(tmp_path / "none.npz") is None
    for content in (path.read_bytes()[:-200], b"text", b""):
        path.write_bytes(content)
        with pytest.raises(HpoptError, match="c.npz: not a checkpoint, or damaged .*; remove it"):
            load_checkpoint(path)
    np.savez(path, header=np.array('{"format": "hpopt-checkpoint", "version": 99}'))
    with pytest.raises(HpoptError, match="another format or version"):
        load_checkpoint(path)


def test_the_random_numbers_of_the_caller_are_left_alone(dataset):
    torch.manual_seed(1)
    expected = torch.rand(4)
    torch.manual_seed(1)
    Training(dataset, replace(BASE, dropout_rate=0.3), seed=0).step()
    assert torch.equal(torch.rand(4), expected)
