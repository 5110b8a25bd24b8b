"""The proof after faults, from the database alone: every trial accounted for, none lost, none twice, none left over."""

from __future__ import annotations

from collections import Counter
from typing import Any

#: Why a trial failed, as the workers note it: `lost` and `stopped` ones have a successor.
CAUSES = {"lost", "stopped", "training", "duplicate"}


def root_of(trial: Any, trials: list[Any]) -> int:
    """Number of the first attempt at a trial."""
    while (earlier := trial.user_attrs.get("resumed_from")) is not None:
        trial = trials[earlier]
    return trial.number


def problems(study: Any, wanted: int, *, epochs: int | None = None) -> list[str]:
    """What is wrong with a study that shall have `wanted` finished trials; empty when all is well.

    Parameters
    ----------
    study : optuna.Study
    wanted : int
    epochs : int, optional
        Values that every complete trial must have reported, when all train for the same number of epochs.
    """
    trials = study.get_trials(deepcopy=False)
    found = []
    states = Counter(trial.state.name for trial in trials)
    finished = states["COMPLETE"] + states["PRUNED"]
    if finished != wanted:
        found.append(f"{finished} finished trials instead of {wanted}")
    if left := states["RUNNING"] + states["WAITING"]:
        found.append(f"{left} trials are left running or waiting")
    if [trial.number for trial in trials] != list(range(len(trials))):
        found.append("the numbers of the trials have gaps or repetitions")
    successors = Counter(
        trial.user_attrs["resumed_from"] for trial in trials if "resumed_from" in trial.user_attrs
    )
    for number, count in successors.items():
        if count != 1 or trials[number].state.name != "FAIL":
            found.append(f"trial {number} ({trials[number].state.name}) has {count} successors")
    for trial in trials:
        failure, cause = trial.user_attrs.get("failure", ""), trial.user_attrs.get("cause")
        if trial.state.name == "FAIL":
            if not failure or cause not in CAUSES:
                found.append(f"trial {trial.number} failed without a reason ({failure!r}, {cause!r})")
            again = cause == "stopped" or (
                cause == "lost" and trial.params and "not tried again" not in failure
            )
            if again and successors[trial.number] != 1:
                found.append(f"trial {trial.number} was {cause} and has no successor")
            if not again and successors[trial.number]:
                found.append(f"trial {trial.number} failed for good ({cause}) and has a successor")
        elif failure:
            found.append(f"trial {trial.number} is {trial.state.name} and has a failure: {failure}")
        earlier = trial.user_attrs.get("resumed_from")
        if earlier is not None and trial.params != trials[earlier].params:
            found.append(f"trial {trial.number} has other hyperparameters than {earlier}, which it continues")
        if trial.state.name == "COMPLETE" and epochs and len(trial.intermediate_values) != epochs:
            found.append(f"trial {trial.number} reported {len(trial.intermediate_values)} of {epochs} epochs")
    ends = Counter(root_of(trial, trials) for trial in trials if trial.state.name in ("COMPLETE", "PRUNED"))
    found += [f"trial {root} was finished {count} times" for root, count in ends.items() if count > 1]
    params = Counter(str(sorted(t.params.items())) for t in trials if t.state.name in ("COMPLETE", "PRUNED"))
    found += [f"{count} finished trials have {text}" for text, count in params.items() if count > 1]
    return found


def summary(study: Any) -> str:
    """Counts of states and causes in one line."""
    trials = study.get_trials(deepcopy=False)
    states = Counter(trial.state.name.lower() for trial in trials)
    causes = Counter(trial.user_attrs.get("cause") for trial in trials if trial.state.name == "FAIL")
    resumed = sum(trial.user_attrs.get("resumed_epoch", 0) > 0 for trial in trials)
    parts = [f"{count} {name}" for name, count in sorted(states.items())]
    parts += [f"{count} of them {cause}" for cause, count in sorted(causes.items(), key=str)]
    return ", ".join(parts) + f"; {resumed} went on from a checkpoint"
