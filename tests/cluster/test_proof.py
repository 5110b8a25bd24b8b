"""The proof itself must be able to fail."""

from __future__ import annotations

from types import SimpleNamespace

import pytest
from proof import problems


def trial(number: int, state: str, x: float = 0.0, **attributes) -> SimpleNamespace:
    return SimpleNamespace(
        number=number, state=SimpleNamespace(name=state), params={"x": x}, user_attrs=attributes, intermediate_values={}
    )  # fmt: skip


def study(*trials) -> SimpleNamespace:
    return SimpleNamespace(get_trials=lambda deepcopy: list(trials))


def good() -> list[SimpleNamespace]:
    return [
        trial(0, "COMPLETE", 1.0),
        trial(1, "FAIL", 2.0, failure="the worker died", cause="lost"),
        trial(2, "COMPLETE", 2.0, resumed_from=1),
        trial(3, "FAIL", 3.0, failure="NaN", cause="training"),
        trial(4, "PRUNED", 4.0),
    ]


def test_a_good_study():
    assert problems(study(*good()), 3) == []


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (lambda t: t.pop(), "2 finished trials instead of 3"),
        (lambda t: t.append(trial(5, "RUNNING")), "1 trials are left"),
        (lambda t: t.append(trial(5, "WAITING")), "1 trials are left"),
        (lambda t: t.append(trial(7, "COMPLETE", 9.0)), "gaps"),
        (lambda t: t.append(trial(5, "COMPLETE", 2.0, resumed_from=1)), "has 2 successors"),
        (lambda t: t.append(trial(5, "COMPLETE", 1.0, resumed_from=0)), "trial 0 (COMPLETE) has 1 successors"),
        (lambda t: t[1].user_attrs.pop("failure"), "trial 1 failed without a reason"),
        (lambda t: t[2].user_attrs.clear(), "trial 1 was lost and has no successor"),
        (lambda t: t.append(trial(5, "COMPLETE", 3.0, resumed_from=3)), "failed for good (training) and has a successor"),
        (lambda t: t[2].params.update(x=7.0), "other hyperparameters than 1"),
        (lambda t: t[4].params.update(x=1.0), "2 finished trials have"),
        (lambda t: t[0].user_attrs.update(failure="?"), "is COMPLETE and has a failure"),
    ],
)  # fmt: skip
def test_what_it_finds(change, said):
    trials = good()
    change(trials)
    assert any(said in problem for problem in problems(study(*trials), 3))


def test_a_report_that_was_lost():
    trials = good()
    trials[0].intermediate_values = {1: 0.0, 2: 0.0}
    trials[2].intermediate_values = {1: 0.0}
    assert problems(study(*trials), 3, epochs=2) == ["trial 2 reported 1 of 2 epochs"]
