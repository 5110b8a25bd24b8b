"""The learning curve of a trial as a figure that optuna-dashboard shows with it."""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import Any

METRIC = "validation_energy_mae_mev_per_atom"
#: Points of a curve at most; longer ones are thinned out, a figure shows no more.
MAX_POINTS = 400


def learning_curve_svg(history: list[dict[str, float]], *, title: str) -> bytes:
    """Draw validation error and training loss over epochs.

    Parameters
    ----------
    history : list of dict
        One record an epoch, see `hpopt_lib.potential.training.TrainResult`.
    title : str

    Returns
    -------
    bytes
        An SVG image.
    """
    import io

    from matplotlib.backends.backend_svg import FigureCanvasSVG
    from matplotlib.figure import Figure

    figure = Figure(figsize=(5.2, 3.2), layout="constrained")
    FigureCanvasSVG(figure)
    step = max(1, len(history) // MAX_POINTS)
    shown = history[::step]
    epochs = [record["epoch"] for record in shown]
    errors = [record[METRIC] for record in shown]
    axes = figure.add_subplot()
    axes.plot(epochs, errors, color="#1f77b4", label="validation error")
    best = min(history, key=lambda record: record[METRIC])
    axes.plot([best["epoch"]], [best[METRIC]], "o", color="#1f77b4", label=f"best: {best[METRIC]:.2f} meV/atom")
    axes.set_xlabel("epoch")
    axes.set_ylabel("energy MAE (meV/atom)")
    axes.set_title(title)
    loss = axes.twinx()
    loss.plot(epochs, [r["train_loss"] for r in shown], color="#ff7f0e", linewidth=1, label="training loss")
    loss.set_ylabel("training loss (own unit)")
    handles = axes.get_lines() + loss.get_lines()
    axes.legend(handles, [str(line.get_label()) for line in handles], fontsize="small")
    stream = io.BytesIO()
    figure.savefig(stream, format="svg")
    return stream.getvalue()


def attach_learning_curve(trial: Any, history: list[dict[str, float]], *, folder: Path) -> None:
    """Store a trial's learning curve as an artifact.

    Parameters
    ----------
    trial : optuna.trial.Trial
        Still running: the storage takes nothing for a finished trial.
    history : list of dict
    folder : Path
        `hpopt_lib.tuning.storage.files_folder` of the study's storage.
    """
    from optuna.artifacts import FileSystemArtifactStore, upload_artifact

    base = Path(folder) / "artifacts"
    base.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory() as temporary:
        path = Path(temporary) / "learning-curve.svg"
        path.write_bytes(learning_curve_svg(history, title=f"trial {trial.number}"))
        upload_artifact(
            artifact_store=FileSystemArtifactStore(base_path=str(base)),
            file_path=str(path),
            study_or_trial=trial,
            mimetype="image/svg+xml",
        )
