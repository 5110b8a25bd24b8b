"""Trainings in groups of one shape, each group at once."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from hpopt_lib.potential.batched_training import BatchedTraining, Member, groups
from hpopt_lib.potential.dataset import Dataset
from hpopt_lib.potential.epochs import TrainingDivergedError
from hpopt_lib.potential.training import Training, TrainResult


def train_many(
    data: Dataset,
    members: Sequence[Member],
    *,
    device: str = "cpu",
    on_epoch: Callable[[int, int, dict[str, float]], bool] | None = None,
) -> list[TrainResult | TrainingDivergedError]:
    """Train potentials, those of one shape together.

    Parameters
    ----------
    data : Dataset
    members : sequence of Member
    device : str
    on_epoch : callable, optional
        Told the member, the epoch and its record after each epoch; a true answer ends that
        member's training there.

    Returns
    -------
    list of TrainResult or TrainingDivergedError
        In the order of the members.
    """
    outcomes: dict[int, TrainResult | TrainingDivergedError] = {}
    for group in groups(members):
        if len(group) == 1:
            outcomes[group[0]] = _alone(data, members[group[0]], group[0], device, on_epoch)
            continue
        batch = BatchedTraining(data, [members[index] for index in group], device=device)
        while batch.active:
            records = batch.step()
            if on_epoch is not None:
                batch.drop([k for k, r in records.items() if on_epoch(group[k], batch.epoch, r)])
        outcomes.update(zip(group, batch.results()))
    return [outcomes[index] for index in range(len(members))]


def _alone(data, member, index, device, on_epoch) -> TrainResult | TrainingDivergedError:
    training = Training(data, member.settings, seed=member.seed, device=device)
    try:
        for record in training:
            if on_epoch is not None and on_epoch(index, training.epoch, record):
                break
    except TrainingDivergedError as error:
        return error
    return training.result()
