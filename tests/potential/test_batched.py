"""Networks that are trained together are those that are trained one by one."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch

from hpopt_lib.errors import HpoptError
from hpopt_lib.potential.batched import train_many
from hpopt_lib.potential.batched_training import BatchedTraining, Member, groups, why_not
from hpopt_lib.potential.epochs import TrainingDivergedError
from hpopt_lib.potential.network import SingleNetwork
from hpopt_lib.potential.settings import TrainSettings
from hpopt_lib.potential.stacked import StackedAdamW, StackedNetwork
from hpopt_lib.potential.training import OBJECTIVE, TrainResult, train

BASE = TrainSettings.from_dict({"epochs": 5, "num_layers": 2, "num_nodes": 6, "batch_size": 16, "lr": 0.02})
KEY = f"validation_{OBJECTIVE}"


@pytest.fixture(scope="module")
def exact(dataset):
    """The data in double precision: there the order of sums hardly matters."""
    return replace(dataset, dtype=torch.float64)


@pytest.mark.parametrize(
    "changes",
    [
        {},
        {"normalization": "layer"},
        {"schedule": "step", "step_size": 2, "gamma": 0.5},
        {"loss": "mae", "activation": "tanh"},
        {"loss": "mse", "activation": "gelu", "max_order": 1},
        {"activation": "relu", "schedule": "constant", "batch_size": 7},
    ],
    ids=str,
)
def test_they_are_the_same_to_rounding(exact, changes):
    settings = replace(BASE, **changes)
    members = [
        Member(settings, 3),
        Member(replace(settings, lr=0.005, weight_decay=0.1), 4),
        Member(replace(settings, epochs=3), 5),
        Member(replace(settings, patience=1, lr=0.2), 6),
    ]
    assert groups(members) == [[0, 1, 2, 3]]
    for member, result in zip(members, train_many(exact, members)):
        alone = train(exact, member.settings, seed=member.seed)
        assert isinstance(result, TrainResult)
        assert len(result.history) == len(alone.history) and result.best_epoch == alone.best_epoch
        for ours, theirs in zip(result.history, alone.history):
            assert ours == pytest.approx(theirs, rel=1e-9)
        for name, value in alone.potential.network.state_dict().items():
            torch.testing.assert_close(
                result.potential.network.state_dict()[name], value, rtol=1e-8, atol=1e-10
            )
        np.testing.assert_allclose(
            result.potential.predict(exact.validation), alone.potential.predict(exact.validation), atol=1e-9
        )


def test_single_precision_differs_by_rounding_only(dataset):
    members = [Member(BASE, seed) for seed in range(3)]
    for member, result in zip(members, train_many(dataset, members)):
        alone = train(dataset, member.settings, seed=member.seed)
        assert isinstance(result, TrainResult)
        # five epochs of about twenty steps; float32 rounds to 1e-7
        assert [r[KEY] for r in result.history] == pytest.approx([r[KEY] for r in alone.history], rel=1e-3)


def test_one_that_diverges_leaves_the_others_alone(exact):
    calm = replace(BASE, loss="mse")
    wild = replace(calm, lr=10.0, schedule="constant", weight_decay=10.0, epochs=400)
    members = [Member(calm, 0), Member(wild, 1), Member(calm, 2)]
    first, second, third = train_many(exact, members)
    assert isinstance(second, TrainingDivergedError) and "lr 10" in str(second)
    for member, result in ((members[0], first), (members[2], third)):
        assert isinstance(result, TrainResult)
        alone = train(exact, member.settings, seed=member.seed)
        assert result.history[-1] == pytest.approx(alone.history[-1], rel=1e-9)


def test_a_member_can_be_ended_early(exact):
    seen = []

    def on_epoch(member: int, epoch: int, record: dict[str, float]) -> bool:
        seen.append((member, epoch))
        return member == 1 and epoch == 2

    results = train_many(exact, [Member(BASE, seed) for seed in range(3)], on_epoch=on_epoch)
    assert [len(result.history) for result in results if isinstance(result, TrainResult)] == [5, 2, 5]
    assert sorted(seen) == sorted((m, e) for m in range(3) for e in range(1, 6) if m != 1 or e <= 2)


def test_those_that_cannot_be_together_are_trained_alone(exact):
    dropout, batch = replace(BASE, dropout_rate=0.2), replace(BASE, normalization="batch")
    wide = replace(BASE, num_nodes=9)
    members = [Member(s, 1) for s in (BASE, dropout, wide, batch, BASE, dropout, wide)]
    assert groups(members) == [[0, 4], [1], [2, 6], [3], [5]]
    assert why_not(dropout) and why_not(batch) and not why_not(BASE)
    for member, result in zip(members, train_many(exact, members)):
        alone = train(exact, member.settings, seed=member.seed)
        assert isinstance(result, TrainResult)
        assert result.best_error == pytest.approx(alone.best_error, rel=1e-9)
    for wrong in ([Member(BASE, 0), Member(wide, 0)], [Member(dropout, 0)], []):
        with pytest.raises(HpoptError, match="cannot be done together"):
            BatchedTraining(exact, wrong)


def test_the_optimiser_is_torchs():
    torch.manual_seed(0)
    networks = [SingleNetwork(4, BASE).double() for _ in range(3)]
    stack = StackedNetwork(networks, BASE)
    rates, decays = [0.01, 0.1, 0.3], [0.0, 0.1, 1.0]
    ours = StackedAdamW(stack, decays)
    theirs = [
        torch.optim.AdamW(n.parameters(), lr=lr, weight_decay=d) for n, lr, d in zip(networks, rates, decays)
    ]
    features, frames = torch.randn(3, 11, 4, dtype=torch.float64), torch.zeros(11, dtype=torch.int64)
    for step in range(20):
        losses = (stack(features).sum(1) - step) ** 2
        ours.step(stack.gradient(losses), rates)
        for optimizer, network, x in zip(theirs, networks, features):
            optimizer.zero_grad()
            ((network(x, frames, 1) - step) ** 2).sum().backward()
            optimizer.step()
    for row, network in enumerate(networks):
        for name, value in stack.state(stack.weights(row)).items():
            torch.testing.assert_close(value, network.state_dict()[name], rtol=1e-10, atol=1e-12)
