"""Tables say the right numbers with their units, and survive what studies can hold."""

from __future__ import annotations

import math

import pytest
from optuna.trial import TrialState
from synthetic_studies import add, empty_study, final_record, usual_study

from hpopt_lib.report.final_tables import final_rows, final_table
from hpopt_lib.report.tables import (
    best_trials_table,
    format_value,
    markdown_table,
    mean_and_spread,
    studies_table,
    study_summary,
)
from hpopt_lib.tuning.manage import best_value, trial_states


def cells(line: str) -> list[str]:
    return [cell.strip() for cell in line.strip("|").split(" | ")]


def test_markdown_table_aligns_numbers_and_escapes_bars():
    table = markdown_table(
        [{"a": "x|y", "b": 1.23456}, {"a": "z", "b": None}], {"a": "name", "b": "error (eV)"}
    )
    lines = table.splitlines()
    assert lines[0] == "| name | error (eV) |"
    assert lines[1] == "| --- | ---: |"
    assert lines[2] == r"| x\|y | 1.235 |"
    assert lines[3] == "| z | – |"


@pytest.mark.parametrize(
    ("value", "text"),
    [(None, "–"), (math.nan, "–"), (0.0, "0"), (3, "3"), (0.00012345, "1.23e-04"), (123456.0, "1.23e+05"),
     (12345.678, "12346"), (0.5, "0.5"), (True, "True"), (math.inf, "inf"), ("tanh", "tanh")],
)  # fmt: skip
def test_a_cell_keeps_four_digits(value, text):
    assert format_value(value) == text


def test_final_table_has_means_spreads_baselines_and_skills():
    record = final_record()
    rows = {row["split"]: row for row in final_rows(record)}
    # seeds 10, 12, 14: mean 12, sample standard deviation 2; interval ends averaged over seeds
    assert rows["val"]["model"] == "12.0 ± 2.0"
    assert rows["val"]["interval"] == "10.0 to 16.0"
    assert rows["val"]["energy_ev"] == "0.120 ± 0.020"
    assert rows["val"]["linear"] == "30.0" and rows["val"]["median"] == "60.0"
    assert rows["val"]["skill_over_linear"] == "0.60 ± 0.07"
    assert rows["val_far"]["skill_over_linear"].startswith("-0.82")
    text = final_table(record)
    assert "3 seeds" in text and "meV/atom" in text and "95 % interval" in text
    assert [line.split()[0] for line in text.splitlines()[-3:]] == ["val", "val_ood", "val_far"]


def test_one_seed_claims_no_spread():
    record = final_record(seeds=1)
    assert final_rows(record)[0]["model"] == "10.0"
    assert "no spread" in final_table(record)
    assert mean_and_spread(1.0, math.nan) == "1.0"


def test_best_trials_are_sorted_and_conditional_gaps_are_dashes():
    study = usual_study()
    lines = best_trials_table(study, top=3).splitlines()
    best = sorted((t for t in study.trials if t.state == TrialState.COMPLETE), key=lambda t: t.value)[:3]
    assert cells(lines[0])[1:] == [f"trial {t.number}" for t in best]
    objective = cells(lines[2])
    assert objective[0] == "validation energy MAE (meV/atom)"
    assert [float(value) for value in objective[1:]] == [pytest.approx(t.value, rel=1e-3) for t in best]
    gamma = next(cells(line) for line in lines if cells(line)[0] == "gamma")
    assert [text == "–" for text in gamma[1:]] == ["gamma" not in t.params for t in best]


def test_a_study_that_maximises_lists_the_largest_first():
    study = empty_study(foreign=True, direction="maximize")
    for value in (1.0, 3.0, 2.0):
        add(study, value)
    assert cells(best_trials_table(study, 2).splitlines()[0])[1:] == ["trial 1", "trial 2"]
    assert cells(best_trials_table(study, 2).splitlines()[2]) == ["objective value", "3", "2"]


def test_spread_over_repeats_is_shown_when_there_is_one():
    study = empty_study()
    add(study, 13.0, repeats=[13.0])
    assert "sd over repeats" not in best_trials_table(study)
    add(study, 12.0, repeats=[10.0, 14.0])
    line = next(
        line for line in best_trials_table(study).splitlines() if "sd over repeats (meV/atom)" in line
    )
    assert cells(line)[1:] == ["2.828", "–"]


def test_study_summary_tells_settings_states_and_trials():
    text = study_summary(usual_study(), top=2)
    assert "minimise validation energy MAE (meV/atom)" in text
    assert "10 complete, 2 pruned, 1 failed" in text
    assert "fixed hyperparameters  epochs = 4" in text
    assert f"  trial {usual_study().best_trial.number}" in text


def test_studies_without_a_complete_trial_say_so():
    study = empty_study()
    assert "none" in study_summary(study) and "No trial is complete yet." in study_summary(study)
    add(study, None, state=TrialState.FAIL)
    assert best_trials_table(study) == "No trial is complete yet."


def test_studies_table():
    study = usual_study()
    rows = [{"study": "tiny", **trial_states(study), "best": best_value(study)}]
    head, _, line = studies_table(rows).splitlines()
    assert head.split()[:4] == ["study", "complete", "pruned", "failed"]
    assert line.split()[:4] == ["tiny", "10", "2", "1"]
    assert float(line.split()[-1]) == pytest.approx(best_value(study), rel=1e-3)
    assert studies_table([]) == "no study yet"
