"""How workers shared a study, as numbers: who ran what when, what was lost, how busy they were."""

from __future__ import annotations

import itertools
import re
from collections import defaultdict
from statistics import median
from typing import TYPE_CHECKING, Any

from hpopt_lib.report.study_data import NotDrawableError

if TYPE_CHECKING:
    import optuna
    from optuna.trial import FrozenTrial


def trial_spans(study: optuna.Study) -> dict[int, tuple[float, float]]:
    """Start and end of every trial that began, by its number, in seconds since the first start.

    What still runs ends where the last event of the study was.
    """
    trials = [t for t in study.get_trials(deepcopy=False) if t.datetime_start is not None]
    if not trials:
        raise NotDrawableError("The timeline needs a trial that started, and the study has none")
    starts = {t.number: t.datetime_start.timestamp() for t in trials if t.datetime_start}
    ends = {t.number: t.datetime_complete.timestamp() for t in trials if t.datetime_complete}
    zero, last = min(starts.values()), max([*starts.values(), *ends.values()])
    return {number: (start - zero, ends.get(number, last) - zero) for number, start in starts.items()}


def trials_by_worker(
    study: optuna.Study, spans: dict[int, tuple[float, float]]
) -> dict[Any, list[FrozenTrial]]:
    """Trials of every worker in the order of their starts; -1 for trials that no worker of hpopt ran."""
    rows: dict[Any, list[FrozenTrial]] = defaultdict(list)
    for trial in study.get_trials(deepcopy=False):
        if trial.number in spans:
            rows[trial.user_attrs.get("worker", -1)].append(trial)
    for trials in rows.values():
        trials.sort(key=lambda trial: spans[trial.number])
    return dict(sorted(rows.items()))


def worker_places(
    workers: dict[Any, list[FrozenTrial]], spans: dict[int, tuple[float, float]]
) -> list[tuple[list[Any], list[FrozenTrial]]]:
    """Rows of the timeline: workers of one batch job that followed each other share a row."""
    places: list[tuple[str, list[Any], list[FrozenTrial]]] = []
    for worker, trials in workers.items():
        job = next((t.user_attrs["job_id"] for t in trials if t.user_attrs.get("job_id")), "")
        for other, numbers, earlier in places:
            if job and job == other and spans[trials[0].number][0] >= spans[earlier[-1].number][1]:
                numbers.append(worker)
                earlier += trials
                break
        else:
            places.append((job, [worker], list(trials)))
    # jobs of an array in the order of their numbers
    places.sort(key=lambda place: ([int(n) for n in re.findall(r"\d+", place[0])], place[1]))
    return [(numbers, trials) for _, numbers, trials in places]


def parallel_efficiency(study: optuna.Study, *, workers: int | None = None) -> dict[str, Any]:
    """How well the workers of a study were used.

    Parameters
    ----------
    study : optuna.Study
    workers : int, optional
        Places for workers; by default the most that were there at the same time, each from its first
        trial to its last. A worker that takes the place of another is so not counted twice.

    Returns
    -------
    dict
        ``workers``, ``wall_s`` (first start to last end), ``busy_s`` (training that counts: of trials
        that finished, failed for good or went on from a checkpoint), ``lost_s`` (trials of killed
        workers, until somebody noticed), ``efficiency`` (busy_s over workers times wall_s),
        ``lost_share``, ``idle_share``, ``finished``, ``trials_per_hour``, ``overhead_s`` (median pause
        between two trials of a worker; None when none had two), ``whole_seconds`` (whether the times are
        no finer, as MySQL keeps them), and ``sentence``, which says it in words.

    Raises
    ------
    NotDrawableError
        When no trial has started.
    """
    spans = trial_spans(study)
    rows = trials_by_worker(study, spans)
    trials = [trial for row in rows.values() for trial in row]
    lost = {t.number for t in trials if t.user_attrs.get("cause") == "lost"}
    seconds = {number: end - start for number, (start, end) in spans.items()}
    busy_s = sum(s for number, s in seconds.items() if number not in lost)
    lost_s = sum(seconds[number] for number in lost)
    wall_s = max(max(end for _, end in spans.values()), 1e-9)
    places = workers or _most_at_once(rows, spans)
    pauses = [
        max(spans[after.number][0] - spans[before.number][1], 0.0)
        for row in rows.values()
        for before, after in itertools.pairwise(row)
    ]
    finished = sum(t.state.name in ("COMPLETE", "PRUNED") for t in trials)
    values = {
        "workers": places,
        "wall_s": wall_s,
        "busy_s": busy_s,
        "lost_s": lost_s,
        "efficiency": busy_s / (places * wall_s),
        "lost_share": lost_s / (places * wall_s),
        "idle_share": max(1 - (busy_s + lost_s) / (places * wall_s), 0.0),
        "finished": finished,
        "trials_per_hour": 3600 * finished / wall_s,
        "overhead_s": median(pauses) if pauses else None,
        "whole_seconds": all(float(t).is_integer() for span in spans.values() for t in span),
    }
    return {**values, "sentence": _sentence(values)}


def _most_at_once(rows: dict[Any, list[FrozenTrial]], spans: dict[int, tuple[float, float]]) -> int:
    there = [(spans[row[0].number][0], max(spans[t.number][1] for t in row)) for row in rows.values()]
    return max(sum(start <= begun < end or start == begun for start, end in there) for begun, _ in there)


def _sentence(values: dict[str, Any]) -> str:
    count, wall = values["workers"], values["wall_s"]
    time = f"{wall:.0f} s" if wall < 600 else f"{wall / 60:.0f} minutes"
    text = (
        f"{count} worker{'s' * (count != 1)} finished {values['finished']} trials in {time} "
        f"({values['trials_per_hour']:.0f} an hour). They trained for {100 * values['efficiency']:.0f} % "
        f"of that time and had no trial for {100 * values['idle_share']:.0f} %"
    )
    if values["lost_s"]:
        text += f"; {100 * values['lost_share']:.0f} % went with trials of killed workers"
    if values["overhead_s"] is not None:
        note = "median" + "; the database keeps whole seconds" * values["whole_seconds"]
        text += f". Between two trials a worker paused for {values['overhead_s']:.2f} s ({note})"
    return text + "."
