"""What a study's numbers say, in sentences; every word that judges is decided by a comparison."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import numpy as np

from hpopt_lib.potential.evaluation import HEADLINE
from hpopt_lib.report.study_data import (
    Axis,
    axes_of,
    best_so_far,
    best_trial,
    completed,
    objective_view,
    trials_in,
)
from hpopt_lib.report.tables import mean_and_spread
from hpopt_lib.tuning.config import CONFIG, study_config
from hpopt_lib.tuning.selection import COMBINE, ONE

if TYPE_CHECKING:
    import optuna
    from optuna.trial import FrozenTrial

#: A best value within this share of the range counts as at its edge.
EDGE_SHARE = 0.02


def search_verdicts(study: optuna.Study) -> list[str]:
    """Sentences on the search: its size, its gain, whether it was still improving, edges."""
    view, done = objective_view(study), completed(study)
    n = len(study.get_trials(deepcopy=False))
    states = {"COMPLETE": "complete", "PRUNED": "pruned", "FAIL": "failed", "RUNNING": "running"}
    counts = [f"{len(found)} {text}" for state, text in states.items() if (found := trials_in(study, state))]
    sentences = [f"The study has {n} trial{'s' * (n != 1)}: {', '.join(counts) or 'none started'}."]
    if not done:
        return [*sentences, "No trial is complete, so there is no best one."]
    best = best_trial(done, view)
    values = np.array([float(t.value) for t in done if t.value is not None])
    top, middle = float(best.value or 0.0), float(np.median(values))
    sentences.append(f"The best trial is number {best.number}: {view.quantity(top)}.")
    if len(done) > 1:
        change = (
            f", the best {abs(top / middle - 1):.0%} {'below' if top < middle else 'above'} it"
            if middle
            else ""
        )
        sentences.append(f"The median of the {len(done)} completed trials is {middle:.4g}{change}.")
        sentences.append(_last_gain(done, values, view.sign))
    sentences += [_edge_sentence(axis, best) for axis in axes_of(study) if at_edge(axis, best) is not None]
    if len(done) >= 1 and not any(at_edge(axis, best) for axis in axes_of(study) if not axis.choices):
        sentences.append("No number of the best trial lies at an edge of its search range.")
    return sentences


def _last_gain(done: list[FrozenTrial], values: np.ndarray, sign: int) -> str:
    running = best_so_far(values, sign)
    since = len(values) - 1 - int(np.argmax(running == running[-1]))
    if since == 0:
        return "The last completed trial is the best: the search was still improving when it ended."
    return f"The last {since} completed trial{'s' * (since > 1)} brought no improvement."


def at_edge(axis: Axis, trial: FrozenTrial) -> str | None:
    """``"lower"`` or ``"upper"`` when a trial's number lies at an end of its range, else None."""
    if axis.choices or axis.name not in trial.params or axis.low == axis.high:
        return None
    share = axis.fraction(trial.params[axis.name])
    return "lower" if share <= EDGE_SHARE else "upper" if share >= 1 - EDGE_SHARE else None


def _edge_sentence(axis: Axis, trial: FrozenTrial) -> str:
    edge = at_edge(axis, trial)
    return (
        f"`{axis.name}` = {trial.params[axis.name]:.4g} of the best trial lies at the {edge} edge of its "
        f"range ({axis.low:g} to {axis.high:g}): the optimum may lie outside; widen the range unless it ends "
        "there by nature."
    )


def final_verdicts(record: Mapping[str, Any]) -> list[str]:
    """Sentences on a final model: against the baselines on every split, and against the search."""
    sentences = [_baseline_sentence(split, record) for split in record["summary"]]
    tuned = record["summary"].get(record["tuned_on"])
    if tuned is not None:
        sentences.append(_optimism_sentence(record, tuned))
        others = {s: v[HEADLINE] for s, v in record["summary"].items() if s != record["tuned_on"]}
        if others:
            worst = max(others, key=lambda s: others[s])
            ratio = others[worst] / tuned[HEADLINE]
            name = "the split" if record.get("select", ONE) == ONE else "the first split"
            sentences.append(
                f"The hardest other split is `{worst}`: its error is {ratio:.2f} times that on "
                f"`{record['tuned_on']}`, {name} that was tuned on."
            )
    return sentences


def _baseline_sentence(split: str, record: Mapping[str, Any]) -> str:
    summary = record["summary"][split]
    linear, model = (
        summary[f"linear_{HEADLINE}"],
        mean_and_spread(summary[HEADLINE], summary[f"{HEADLINE}_std"]),
    )
    errors = [score[HEADLINE] for score in record["splits"][split]]
    wins, n = sum(error < linear for error in errors), len(errors)
    if wins == n:
        verdict = "better with every seed" if n > 1 else "better"
    elif wins == 0:
        verdict = "**not better with any seed**" if n > 1 else "**not better**"
    else:
        verdict = f"better with {wins} of {n} seeds, so not told apart"
    skill = summary["skill_over_linear"]
    return (
        f"On `{split}` the model's MAE is {model} meV/atom and the linear baseline's {linear:.1f}: {verdict} "
        f"(skill {skill:.2f})."
    )


def _tuned(record: Mapping[str, Any], tuned: Mapping[str, float]) -> tuple[float, float, float, str]:
    """Mean and standard deviation over seeds of what was minimised, its value in the search, and where."""
    select, found = record.get("select", ONE), record["tuned_error"]
    if select not in COMBINE or isinstance(found, list):
        first = found[0] if isinstance(found, list) else found
        return tuned[HEADLINE], tuned[f"{HEADLINE}_std"], first, f"on `{record['tuned_on']}`"
    seeds = zip(*(record["splits"][split] for split in record["selected_on"]))
    values = [float(COMBINE[select]([score[HEADLINE] for score in scores])) for scores in seeds]
    std = float(np.std(values, ddof=1)) if len(values) > 1 else float("nan")
    names = ", ".join(f"`{split}`" for split in record["selected_on"])
    return float(np.mean(values)), std, found, f"by `{select}` over {names}"


def _optimism_sentence(record: Mapping[str, Any], tuned: Mapping[str, float]) -> str:
    mean, std, found, where = _tuned(record, tuned)
    text = (
        f"The best trial had {found:.1f} meV/atom {where}; retrained with fresh seeds it "
        f"has {mean_and_spread(mean, std)}"
    )
    if math.isnan(std):
        return f"{text}. One seed cannot tell luck from merit."
    if mean - found > 2 * std:
        return f"{text}: the trial was lucky (by more than two standard deviations of the seeds)."
    return f"{text}: the difference is within two standard deviations of the seeds."


def pruning_sentence(study: optuna.Study) -> str:
    """How many trials were pruned, when, and what that saved."""
    pruned = trials_in(study, "PRUNED")
    if not pruned:
        return "No trial was pruned."
    view, steps = objective_view(study), [len(t.intermediate_values) for t in pruned]
    low, high = min(steps), max(steps)
    after = f"{low}" if low == high else f"{low} to {high}"
    n, total = len(pruned), len(study.get_trials(deepcopy=False))
    plural = "s" * (high != 1)
    text = (
        f"{n} of {total} trials {'was' if n == 1 else 'were'} pruned, after {after} {view.step_name}{plural}"
    )
    if CONFIG in study.user_attrs and view.step_name == "epoch":
        longest = study_config(study).epochs()
        saved = sum(longest - n for n in steps)
        text += f"; at {longest} epochs for a whole trial, that saved {saved} epochs of training"
    return f"{text}."


def failure_rows(study: optuna.Study) -> list[dict[str, Any]]:
    """Failed trials with the reasons that were recorded."""
    unknown = "none recorded (interrupted, or an error outside hpopt)"
    return [
        {"trial": trial.number, "reason": trial.user_attrs.get("failure") or unknown}
        for trial in trials_in(study, "FAIL")
    ]
