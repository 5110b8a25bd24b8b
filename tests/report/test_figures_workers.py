"""Who ran which trial when, how busy the workers were, and studies kept as plain numbers."""

from __future__ import annotations

import datetime
import json
from pathlib import Path
from typing import Any

import optuna
import pytest
from optuna.trial import TrialState
from synthetic_studies import START, add, draw, empty_study

from hpopt_lib.errors import HpoptError
from hpopt_lib.report.figures_workers import parallel_efficiency, timeline
from hpopt_lib.report.recorded_study import record_trials, recorded_study
from hpopt_lib.report.study_data import NotDrawableError
from hpopt_lib.report.style import png_bytes

RECORD = Path(__file__).resolve().parents[2] / "book" / "results" / "slurm_run.json"
OK, PRUNED, FAIL = TrialState.COMPLETE, TrialState.PRUNED, TrialState.FAIL


def shared_study(*trials: tuple[int, float, float | None, TrialState, dict[str, Any]]) -> optuna.Study:
    """A study of trials given as worker, start and end in seconds, state, and more user attributes."""
    study = empty_study()
    for number, (worker, start, end, state, attrs) in enumerate(trials):
        source = attrs.get("resumed_from", number)
        add(study, 30.0, state=state, params=draw(source), curve=[40.0, 30.0])
        trial = study._storage._get_trial(number)  # in memory: the trial itself
        trial.user_attrs |= {"worker": worker, "host": "node", "job_id": "", **attrs}
        trial.datetime_start = START + datetime.timedelta(seconds=start)
        trial.datetime_complete = None if end is None else START + datetime.timedelta(seconds=end)
    return study


@pytest.fixture
def faulty() -> optuna.Study:
    """Two places for 100 s: worker 1 is killed in trial 1 (noticed at 40 s), worker 2 takes its place."""
    return shared_study(
        (0, 0, 40, OK, {}),
        (1, 0, 40, FAIL, {"cause": "lost", "failure": "the worker died"}),
        (0, 41, 60, FAIL, {"cause": "stopped", "failure": "stopped by SIGTERM"}),
        (2, 50, 90, OK, {"resumed_from": 1, "resumed_epoch": 0}),
        (0, 62, 100, PRUNED, {"resumed_from": 2, "resumed_epoch": 3}),
    )


def texts(figure: Any) -> list[str]:
    axes = figure.axes[0]
    labels = [text.get_text() for text in axes.get_legend().get_texts()]
    return labels + [label.get_text() for label in axes.get_yticklabels()]


def test_a_row_for_each_worker_with_crosses_and_arrows(faulty: optuna.Study) -> None:
    figure = timeline(faulty, outages=[(20.0, 30.0)])
    axes = figure.axes[0]
    bars = [bar for group in axes.containers for bar in group]
    assert len(bars) == 5
    assert [bar.get_width() for bar in bars] == pytest.approx([40, 19, 38, 40, 40])
    arrows = [text for text in axes.texts if hasattr(text, "arrow_patch")]
    assert {(a.xyann, a.xy) for a in arrows} == {((40.0, 1), (50.0, 2)), ((60.0, 0), (62.0, 0))}
    crosses = [tuple(map(float, line.get_xydata()[0])) for line in axes.lines if line.get_marker() == "x"]
    assert crosses == [(40.0, 1.0)]
    said = texts(figure)
    assert said[-3:] == ["worker 0", "worker 1", "worker 2"], "one host only: its name says nothing"
    assert {"no database", "goes on as", "worker killed, noticed here", "cut short or failed"} <= set(said)
    assert png_bytes(figure).startswith(b"\x89PNG")


def test_hosts_and_jobs_stand_in_the_labels_when_there_are_several() -> None:
    study = shared_study(
        (0, 0, 10, OK, {"host": "n1", "job_id": "7_1"}), (1, 0, 10, OK, {"host": "n2", "job_id": "7_2"})
    )
    assert texts(timeline(study)) == ["complete", "worker 0, job 7_1, n1", "worker 1, job 7_2, n2"]


def test_a_job_that_was_started_again_keeps_its_row_and_workers_side_by_side_do_not() -> None:
    def at(host: str, job: str) -> dict[str, Any]:
        return {"host": host, "job_id": job}

    study = shared_study(
        (0, 0, 10.5, OK, at("n1", "7_10")),
        (1, 0, 10, OK, at("n2", "7_2")),
        (2, 0, 10, OK, at("n2", "7_2")),
        (3, 20, 30, OK, at("n1", "7_2")),
    )
    figure = timeline(study)
    assert texts(figure)[1:] == [
        "job 7_2, 2 starts, n2, n1",
        "worker 2, job 7_2, n2",
        "worker 0, job 7_10, n1",
    ]
    rows = [round(bar.get_y() + bar.get_height() / 2) for g in figure.axes[0].containers for bar in g]
    assert sorted(rows) == [0, 0, 1, 2]
    assert not parallel_efficiency(study)["whole_seconds"]


def test_a_long_study_is_shown_in_minutes_and_a_running_trial_until_now() -> None:
    study = shared_study((0, 0, 600, OK, {}), (1, 0, None, TrialState.RUNNING, {}))
    figure = timeline(study)
    assert "(min)" in figure.axes[0].get_xlabel()
    assert [bar.get_width() for group in figure.axes[0].containers for bar in group] == [10.0, 10.0]


def test_efficiency_counts_what_was_lost_and_the_places_of_workers(faulty: optuna.Study) -> None:
    found = parallel_efficiency(faulty)
    assert found["workers"] == 2, "worker 2 came after worker 1 had gone"
    assert found["wall_s"] == 100 and found["finished"] == 3
    assert found["busy_s"] == 40 + 19 + 40 + 38 and found["lost_s"] == 40
    assert found["efficiency"] == pytest.approx(137 / 200)
    assert found["lost_share"] == pytest.approx(0.2)
    assert found["idle_share"] == pytest.approx(23 / 200)
    assert found["trials_per_hour"] == pytest.approx(108)
    assert found["overhead_s"] == pytest.approx(1.5), "of the pauses 1 and 2 s"
    assert found["sentence"] == (
        "2 workers finished 3 trials in 100 s (108 an hour). They trained for 68 % of that time and had no trial "
        "for 12 %; 20 % went with trials of killed workers. Between two trials a worker paused for 1.50 s "
        "(median; the database keeps whole seconds)."
    )
    assert parallel_efficiency(faulty, workers=4)["efficiency"] == pytest.approx(137 / 400)


def test_one_worker_that_is_always_busy() -> None:
    found = parallel_efficiency(shared_study((0, 0, 10, OK, {}), (0, 10, 20, OK, {})))
    assert (found["workers"], found["efficiency"], found["idle_share"], found["overhead_s"]) == (1, 1, 0, 0)
    assert "killed" not in found["sentence"]
    assert parallel_efficiency(shared_study((0, 0, 10, OK, {})))["overhead_s"] is None


def test_a_study_that_has_not_begun() -> None:
    for draw_ in (timeline, parallel_efficiency):
        with pytest.raises(NotDrawableError, match="needs a trial that started"):
            draw_(empty_study())


def test_a_recorded_study_gives_the_same_figures(faulty: optuna.Study) -> None:
    records = json.loads(json.dumps(record_trials(faulty)))
    again = recorded_study(records)
    assert parallel_efficiency(again) == parallel_efficiency(faulty)
    assert [t.state for t in again.trials] == [t.state for t in faulty.trials]
    assert again.trials[3].user_attrs["resumed_from"] == 1
    assert again.trials[3].user_attrs["params"] == faulty.trials[1].params
    assert record_trials(again)[4]["start_s"] == 62
    assert set(records[0]["attrs"]) == {"worker", "host", "job_id", "epochs"}, "settings are not kept"


def test_a_record_with_a_gap_is_refused(faulty: optuna.Study) -> None:
    with pytest.raises(HpoptError, match="trial 2 stands where 1 belongs"):
        recorded_study([r for r in record_trials(faulty) if r["number"] != 1])
    with pytest.raises(HpoptError, match="no trial has started"):
        record_trials(empty_study())


def test_the_committed_record_is_whole_and_shows_the_faults() -> None:
    run = json.loads(RECORD.read_text(encoding="utf-8"))
    study = recorded_study(run["trials"])
    states = [trial.state for trial in study.trials]
    assert run["proof"]["problems"] == []
    assert sum(state in (OK, PRUNED) for state in states) == run["wanted"]
    assert all(state.is_finished() for state in states)
    causes = {trial.user_attrs.get("cause") for trial in study.trials}
    assert {"lost", "stopped"} <= causes and run["outages_s"]
    assert len({trial.user_attrs["job_id"] for trial in study.trials if "job_id" in trial.user_attrs}) == 6
    assert parallel_efficiency(study)["workers"] == run["workers"]
    assert png_bytes(timeline(study, outages=run["outages_s"]))
