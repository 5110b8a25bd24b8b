"""The table of `hpopt_lib.potential.leaderboard`: every metric beside the baselines, on the four splits."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from hpopt_lib.potential.leaderboard import AVERAGE, METRICS
from hpopt_lib.potential.oc20_evaluation import EVALUATION_SPLITS
from hpopt_lib.report.tables import mean_and_spread, text_table

#: Heading, factor and decimals of each metric.
SHOWN = {
    "energy_mae_ev": ("energy MAE (eV) ↓", 1.0, 3),
    "energy_mae_mev_per_atom": ("energy MAE (meV/atom) ↓", 1.0, 1),
    "force_mae_ev_per_angstrom": ("force MAE (eV/Å) ↓", 1.0, 4),
    "force_cosine": ("force cosine ↑", 1.0, 3),
    "efwt": ("EFwT (%) ↑", 100.0, 2),
}
assert tuple(SHOWN) == METRICS
#: What stands below the model. Forces of both baselines are zero, so one line does for them.
BASELINES = {"median": "median", "linear": "per-element linear fit"}
NO_FORCE = {"median": "no force"}
COLUMNS = {"metric": "metric", "predictor": "predictor", **EVALUATION_SPLITS, AVERAGE: "average"}


def leaderboard_rows(record: Mapping[str, Any], *, model: str = "model") -> list[dict[str, str]]:
    """Rows with the keys of `COLUMNS`: for each metric the model (mean ± deviation) and the baselines.

    Parameters
    ----------
    record : dict
        From `hpopt_lib.potential.leaderboard.leaderboard`.
    model : str
        What to call the model.
    """
    rows = []
    for metric, (heading, factor, digits) in SHOWN.items():
        baselines = NO_FORCE if metric.startswith("force") else BASELINES
        for key, name in {"model": model, **baselines}.items():
            entries = record["model"] if key == "model" else [record[key]]
            row = {"metric": heading, "predictor": name}
            for split in (*EVALUATION_SPLITS, AVERAGE):
                values = factor * np.array([entry[split][metric] for entry in entries])
                spread = float(values.std(ddof=1)) if len(values) > 1 else float("nan")
                row[split] = mean_and_spread(float(values.mean()), spread, digits=digits)
            rows.append(row)
    return rows


def leaderboard_caption(record: Mapping[str, Any]) -> str:
    """What the numbers are: quantities, frames, seeds and baselines."""
    seeds = len(record["model"])
    spread = f"mean ± standard deviation of {seeds} models" if seeds > 1 else "1 model, so no spread is known"
    frames = ", ".join(
        f"{record['linear'][split]['n_frames']:,.0f} ({name})" for split, name in EVALUATION_SPLITS.items()
    )
    return (
        f"Adsorption energies, and forces on free atoms; {spread}. Frames: {frames}. EFwT: share of frames "
        "with an energy error below 0.02 eV and all force components within 0.03 eV/Å. Baselines: median "
        "energy, and per-element linear fit, of the training split; both predict no force. The average is "
        "over the four splits."
    )


def leaderboard_text(record: Mapping[str, Any]) -> str:
    """Caption and table for the terminal."""
    return f"{leaderboard_caption(record)}\n\n{text_table(leaderboard_rows(record), COLUMNS)}"
