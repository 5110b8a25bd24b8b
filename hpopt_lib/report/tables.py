"""Tables of studies and final models, as text for the terminal and as Markdown for pages."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from hpopt_lib.potential.evaluation import HEADLINE
from hpopt_lib.potential.forces import FORCE_ERROR
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

#: Columns of `final_rows`, in order.
FINAL_COLUMNS = {
    "split": "split",
    "n_frames": "frames",
    "n_systems": "systems",
    "model": "MAE (meV/atom)",
    "interval": "95 % interval",
    "energy_ev": "MAE (eV)",
    "median": "median (meV/atom)",
    "linear": "linear (meV/atom)",
    "skill_over_median": "skill over median",
    "skill_over_linear": "skill over linear",
}
#: Column that follows the split's name when several splits were selected on.
SELECTED_COLUMN = {"selected": "selected on"}
#: Those that follow where the forces of a split were evaluated.
FORCE_COLUMNS = {"force_mae": "force MAE (meV/Å)", "zero_force_mae": "no force (meV/Å)"}


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


def final_rows(record: Row) -> list[dict[str, Any]]:
    """One row for each split of a final model, with the keys of `FINAL_COLUMNS`.

    Parameters
    ----------
    record : dict
        From `hpopt_lib.tuning.final.final_model`.

    Returns
    -------
    list of dict
        Errors are mean ± sample standard deviation over seeds; the interval's ends are the
        means over seeds of each seed's 95 % bootstrap interval over systems.
    """

    rows = []
    for split, summary in record["summary"].items():

        def spread(name: str, digits: int, summary: Row = summary) -> str:
            return mean_and_spread(summary[name], summary[f"{name}_std"], digits=digits)

        scores = record["splits"][split]
        low, high = (sum(score[f"{HEADLINE}_interval"][i] for score in scores) / len(scores) for i in (0, 1))
        row = {"split": split, "n_frames": int(scores[0]["n_frames"]), "n_systems": int(summary["n_systems"])}
        row["selected"] = "yes" if split in record.get("selected_on", ()) else "no"
        row |= {"model": spread(HEADLINE, 1), "interval": f"{low:.1f} to {high:.1f}"}
        row |= {"energy_ev": spread("energy_mae_ev", 3)}
        row |= {name: f"{summary[f'{name}_{HEADLINE}']:.1f}" for name in ("median", "linear")}
        row |= {name: spread(name, 2) for name in ("skill_over_median", "skill_over_linear")}
        if FORCE_ERROR in summary:
            row["force_mae"] = spread(FORCE_ERROR, 0 if summary[FORCE_ERROR] >= 100 else 1)
            row["zero_force_mae"] = f"{summary[f'zero_{FORCE_ERROR}']:.0f}"
        rows.append(row)
    return rows


def final_columns(record: Row) -> dict[str, str]:
    """`FINAL_COLUMNS`, those of forces where there are some, and what was selected on when several were."""
    forces = any(FORCE_ERROR in summary for summary in record["summary"].values())
    columns = {**FINAL_COLUMNS, **(FORCE_COLUMNS if forces else {})}
    if len(record.get("selected_on", ())) < 2:
        return columns
    return {"split": columns["split"], **SELECTED_COLUMN, **columns}


def final_caption(record: Row) -> str:
    """Unit, number of seeds and meaning of the columns of a final model's table."""
    seeds = record["seeds"]
    spread = f"mean ± standard deviation over {seeds} seeds" if seeds > 1 else "1 seed, so no spread is known"
    weight = record.get("settings", {}).get("force_weight", 0.0)
    forces = ""
    if FORCE_COLUMNS.keys() <= final_columns(record).keys():
        trained = f"forces too (force_weight {weight:g})" if weight else "energies only"
        forces = " Force MAE over the components on free atoms, beside that of predicting no force; "
        forces += f"trained on {trained}."
    return (
        f"Energy MAE of the final model (trial {record['trial']} of study "
        f"`{record['study']}`, retrained): {spread}. "
        "Energies per atom in meV/atom, of whole frames in eV; 95 % interval by resampling whole systems; "
        "baselines fitted on the training split: median energy per atom, and per-element linear fit; "
        f"skill = 1 − error / baseline error.{forces} {reference_sentence(record.get('reference'))} "
        f"{unseen_sentence(record)}"
    ).strip()


def unseen_sentence(record: Row) -> str:
    """Which splits the search selected on and which it never saw; empty for results that do not say."""
    used = record.get("selected_on")
    if not used:
        return ""
    unseen = [f"`{split}`" for split in record["summary"] if split not in used]
    names = ", ".join(f"`{split}`" for split in used)
    rest = f"not selected on: {', '.join(unseen)}" if unseen else "no split is left that was not selected on"
    return f"Selected on {names} (too good there); {rest}."


def reference_sentence(reference: Mapping[str, Any] | None) -> str:
    """Which reference a model was trained with; empty for results of before this was recorded."""
    if not reference:
        return ""
    return (
        f"The model was trained on energies relative to {reference['label']}; the reference cancels in an "
        "error, so these are errors of the total energy too."
    )


def final_table(record: Row) -> str:
    """Text table of a final model: every split beside both baselines, with a caption."""
    return f"{final_caption(record)}\n\n{text_table(final_rows(record), final_columns(record))}"


def final_table_markdown(record: Row) -> str:
    """The same as Markdown, without the caption (see `final_caption`)."""
    return markdown_table(final_rows(record), final_columns(record))


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
