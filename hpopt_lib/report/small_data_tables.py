"""The results of the preset `small-data` as text."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

from hpopt_lib.potential.evaluation import HEADLINE
from hpopt_lib.report.tables import text_table

_CROSS_VALIDATION = {
    "name": "prediction",
    "ev": "MAE, eV",
    "ev_interval": "95 % interval",
    "mev": "MAE, meV/atom",
    "mev_interval": "95 % interval, meV/atom",
    "covered": "% within 1 / 1.96 std",
}
_SPLITS = {
    "split": "split",
    "n_frames": "frames",
    "n_systems": "systems",
    "mev": "MAE, meV/atom",
    "interval": "95 % interval",
    "ev": "MAE, eV",
    "median": "median baseline, meV/atom",
    "linear": "linear baseline, meV/atom",
    "covered": "% within 1 / 1.96 std",
}


def preset_text(record: Mapping[str, Any]) -> str:
    """Tables of `hpopt_lib.potential.small_data_preset.fit_preset`, with captions."""
    rows = [_cross_validation_row(row) for row in record["cross_validation"]]
    seeds = record["fold_seeds"]
    parts = [
        f"{record['n_folds']}-fold cross-validation by system on {record['n_train_frames']} training frames "
        f"of {record['n_train_systems']} systems, {seeds} division{'s' if seeds > 1 else ''}"
        f"{': mean ± standard deviation' if seeds > 1 else ', so no spread is known'}; 95 % interval by "
        "resampling systems",
        text_table(rows, _CROSS_VALIDATION),
    ]
    if record["splits"]:
        rows = [_split_row(split, score) for split, score in record["splits"].items()]
        parts += ["One model of all training frames on the other splits", text_table(rows, _SPLITS)]
    shares = ", ".join(f"{name} {1000 * share:.0f}" for name, share in record["shares_ev_per_atom"].items())
    parts.append(f"Standard deviation of each term over the training frames, meV/atom: {shares}")
    return "\n\n".join(parts)


def _covered(row: Mapping[str, Any]) -> str | None:
    if "within_1_std" not in row:
        return None
    return f"{100 * row['within_1_std']:.0f} / {100 * row['within_1.96_std']:.0f}"


def _cross_validation_row(row: Mapping[str, Any]) -> dict[str, Any]:
    cells: dict[str, Any] = {"name": row["name"], "covered": _covered(row)}
    for key, metric, digits in (("ev", "energy_mae_ev", 2), ("mev", "energy_mae_mev_per_atom", 1)):
        spread = row[f"{metric}_std"]
        cells[key] = f"{row[metric]:.{digits}f}" + ("" if math.isnan(spread) else f" ± {spread:.{digits}f}")
        low, high = row[f"{metric}_interval"]
        cells[f"{key}_interval"] = f"{low:.{digits}f} to {high:.{digits}f}"
    return cells


def _split_row(split: str, score: Mapping[str, Any]) -> dict[str, Any]:
    low, high = score[f"{HEADLINE}_interval"]
    return {
        "split": split,
        "n_frames": int(score["n_frames"]),
        "n_systems": score["n_systems"],
        "mev": f"{score[HEADLINE]:.1f}",
        "interval": f"{low:.1f} to {high:.1f}",
        "ev": f"{score['energy_mae_ev']:.2f}",
        "median": f"{score[f'median_{HEADLINE}']:.1f}",
        "linear": f"{score[f'linear_{HEADLINE}']:.1f}",
        "covered": _covered(score),
    }
