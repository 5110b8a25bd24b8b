"""Tables of studies, as text for the terminal and as Markdown for pages."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from hpopt_lib.report.study_data import (
    label,
    metric_label,
    objective_view,
    parameter_names,
    trial_rows,
)
from hpopt_lib.tuning.ampopt import IMPORTED
from hpopt_lib.tuning.backends import DEFAULT as BACKEND
from hpopt_lib.tuning.config import CONFIG, REFERENCE, study_config
from hpopt_lib.tuning.manage import trial_states
from hpopt_lib.tuning.pareto import is_pareto
from hpopt_lib.tuning.selection import ONE

if TYPE_CHECKING:
    import optuna

Row = Mapping[str, Any]
Columns = Mapping[str, str] | Sequence[str]


def format_value(value: Any) -> str:
    """A table cell: four significant digits, a dash for what is missing."""
    if value is None or (isinstance(value, float) and math.isnan(value)):
        return "–"
    if isinstance(value, bool) or not isinstance(value, float):
        return str(value)
    if math.isinf(value) or value == 0 or 1e-3 <= abs(value) < 1e5:
        return f"{value:.4g}" if abs(value) < 1e4 or math.isinf(value) else f"{value:.0f}"
    return f"{value:.2e}"


def mean_and_spread(mean: float, std: float, *, digits: int = 1) -> str:
    """``mean ± sd``, or the mean alone where one seed gives no spread."""
    return f"{mean:.{digits}f}" if math.isnan(std) else f"{mean:.{digits}f} ± {std:.{digits}f}"


def markdown_table(rows: Sequence[Row], columns: Columns) -> str:
    """A Markdown table; numbers are aligned right.

    Parameters
    ----------
    rows : sequence of dict
        Missing keys give an empty cell (a dash).
    columns : dict of str to str, or sequence of str
        Keys of the rows, with their headings.

    Returns
    -------
    str
        Lines without a final line break. Bars inside cells are escaped.
    """
    headings = columns if isinstance(columns, Mapping) else {name: name for name in columns}

    def line(cells: Sequence[str]) -> str:
        return "| " + " | ".join(cell.replace("|", "\\|").replace("\n", " ") for cell in cells) + " |"

    right = right_aligned(rows, headings)
    lines = [line(list(headings.values())), line(["---:" if right[key] else "---" for key in headings])]
    lines += [line([format_value(row.get(key)) for key in headings]) for row in rows]
    return "\n".join(lines)


def right_aligned(rows: Sequence[Row], headings: Mapping[str, str]) -> dict[str, bool]:
    """Which columns hold mostly numbers."""

    def is_number(cell: Any) -> bool:
        return isinstance(cell, int | float) or (isinstance(cell, str) and cell[:1].isdigit())

    columns = {key: [row[key] for row in rows if row.get(key) is not None] for key in headings}
    return {key: 2 * sum(map(is_number, cells)) > len(cells) for key, cells in columns.items()}


def text_table(rows: Sequence[Row], columns: Columns) -> str:
    """The same table with columns padded by spaces, for the terminal."""
    headings = columns if isinstance(columns, Mapping) else {name: name for name in columns}
    cells = [list(headings.values()), *([format_value(row.get(key)) for key in headings] for row in rows)]
    right = right_aligned(rows, headings).values()
    widths = [max(len(line[i]) for line in cells) for i in range(len(headings))]
    lines = [
        "  ".join(cell.rjust(w) if r else cell.ljust(w) for cell, w, r in zip(line, widths, right)).rstrip()
        for line in cells
    ]
    return "\n".join([lines[0], "  ".join("-" * w for w in widths), *lines[1:]])


def studies_table(rows: Sequence[Row]) -> str:
    """Text table of `hpopt_lib.tuning.manage.list_studies`."""
    if not rows:
        return "no study yet"
    states = {
        "complete": "complete",
        "pruned": "pruned",
        "fail": "failed",
        "running": "running",
        "waiting": "waiting",
    }
    columns = {"study": "study", **states, "best": "best value"}
    if any(row.get("metric") for row in rows):
        rows = [
            {**row, "objective": metric_label(row["metric"]) if row.get("metric") else None} for row in rows
        ]
        columns["objective"] = "of"
    return text_table(rows, columns)


def best_trial_rows(study: optuna.Study, top: int) -> tuple[list[dict[str, Any]], dict[str, str]]:
    """The best completed trials side by side, best first: one row for each quantity.

    A trial is a column, since hyperparameters are many and names are long.
    """
    view = objective_view(study)
    best = sorted(trial_rows(study, view), key=lambda row: view.sign * row["value"])[:top]
    quantities = {"value": view.label}
    optional = {"repeat_std": f"sd over repeats ({view.unit})", "epochs": "epochs", "seconds": "time (s)"}
    quantities |= {key: text for key, text in optional.items() if any(row[key] is not None for row in best)}
    rows = [{"": text, **{str(row["number"]): row[key] for row in best}} for key, text in quantities.items()]
    for name in parameter_names(study):
        if any(name in row["params"] for row in best):
            rows.append({"": label(name), **{str(row["number"]): row["params"].get(name) for row in best}})
    return rows, {"": "", **{str(row["number"]): f"trial {row['number']}" for row in best}}


def best_trials_table(study: optuna.Study, top: int = 10) -> str:
    """Markdown table of the best completed trials, or a sentence when there is none.

    Parameters
    ----------
    study : optuna.Study
    top : int
        Largest number of trials.

    Returns
    -------
    str
        A column for each trial, best first: objective with its unit, spread over repeats when
        there were several, epochs, time in seconds, and every parameter (a dash where a
        conditional one was not drawn).
    """
    rows, columns = best_trial_rows(study, top)
    return markdown_table(rows, columns) if len(columns) > 1 else "No trial is complete yet."


def setting_rows(study: optuna.Study) -> list[dict[str, str]]:
    """What a study minimises and how: name and value of every setting."""
    rows = [
        {"setting": "study", "value": study.study_name},
        {"setting": "objective", "value": _objective_text(study)},
    ]
    if CONFIG in study.user_attrs:
        config = study_config(study)
        fixed = ", ".join(f"{k} = {v}" for k, v in config.fixed.items()) or "none"
        frames = "all" if config.n_train is None else str(config.n_train)
        settings = {
            **(
                {"validation split": config.validation}
                if config.select == ONE
                else {"selects on": f"{', '.join(config.domains)} ({config.select})"}
            ),
            "training frames": frames,
            "sampler": config.sampler,
            "pruner": config.pruner,
            "repeats in a trial": config.repeats,
            **({"race, confidence": config.race} if config.race is not None else {}),
            "seed": config.seed,
            "fixed hyperparameters": fixed,
            **({"backend": config.backend} if config.backend != BACKEND else {}),
        }
        if reference := study.user_attrs.get(REFERENCE):
            settings["energies relative to"] = reference
        rows += [{"setting": name, "value": str(value)} for name, value in settings.items()]
    if origin := study.user_attrs.get(IMPORTED):
        rows.append({"setting": "imported", "value": f"from {origin['from']}, not comparable with ours"})
    return rows


def _objective_text(study: optuna.Study) -> str:
    if is_pareto(study):
        from hpopt_lib.report.pareto_tables import objective_labels

        return f"minimise {', '.join(objective_labels(study))}"
    view = objective_view(study)
    return f"{'minimise' if view.sign > 0 else 'maximise'} {view.label}"


def study_summary(study: optuna.Study, top: int = 10) -> str:
    """Settings, states and best trials of a study as text for the terminal."""
    counts = [f"{n} {'failed' if name == 'fail' else name}" for name, n in trial_states(study).items() if n]
    states = ", ".join(counts) or "none"
    lines = [f"{row['setting']:22} {row['value']}" for row in setting_rows(study)]
    if is_pareto(study):
        from hpopt_lib.report.pareto_tables import front_rows

        rows, columns = front_rows(study, top)
        table = text_table(rows, columns) if rows else "No trial is complete yet."
    else:
        rows, columns = best_trial_rows(study, top)
        table = text_table(rows, columns) if len(columns) > 1 else "No trial is complete yet."
    return "\n".join([*lines, f"{'trials':22} {states}", "", table])
