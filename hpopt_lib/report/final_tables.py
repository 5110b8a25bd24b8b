"""Tables of final models, as text for the terminal and as Markdown for pages."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from hpopt_lib.potential.evaluation import HEADLINE
from hpopt_lib.potential.forces import FORCE_ERROR
from hpopt_lib.report.tables import Row, mean_and_spread, text_table

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
