"""The learning curve of a trial as a figure that optuna-dashboard shows with it."""

from __future__ import annotations

import io
import tempfile
from pathlib import Path
from typing import Any

from hpopt_lib.report.style import BLUE, VERMILION

METRIC = "validation_energy_mae_mev_per_atom"
#: Points of a curve at most: a figure of this size shows no more, and its file stays small.
MAX_POINTS = 300


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
    from matplotlib import rc_context
    from matplotlib.backends.backend_svg import FigureCanvasSVG
    from matplotlib.figure import Figure

    # the object interface only: workers must not depend on pyplot's global state, nor on a display
    figure = Figure(figsize=(5.2, 3.2))
    FigureCanvasSVG(figure)
    figure.subplots_adjust(left=0.14, right=0.86, bottom=0.15, top=0.9)
    shown = history[:: -(-len(history) // MAX_POINTS)]
    epochs = [record["epoch"] for record in shown]
    best = min(history, key=lambda record: record[METRIC])
    axes = figure.add_subplot()
    axes.plot(epochs, [record[METRIC] for record in shown], color=BLUE, label="validation error")
    label = f"best: {best[METRIC]:.2f} meV/atom, epoch {best['epoch']:.0f}"
    axes.plot([best["epoch"]], [best[METRIC]], "o", color=BLUE, label=label)
    axes.set(xlabel="epoch", ylabel="energy MAE (meV/atom)", title=title)
    loss = axes.twinx()
    loss.plot(
        epochs,
        [record["train_loss"] for record in shown],
        color=VERMILION,
        linewidth=1,
        label="training loss",
    )
    loss.set_ylabel("training loss (its own unit)")
    lines = [*axes.get_lines(), *loss.get_lines()]
    axes.legend(lines, [str(line.get_label()) for line in lines], fontsize="small", loc="upper right")
    stream = io.BytesIO()
    with rc_context({"svg.hashsalt": "hpopt"}):  # the same curve gives the same file
        figure.savefig(stream, format="svg", metadata={"Date": None})
    return stream.getvalue()


def attach_learning_curve(trial: Any, history: list[dict[str, float]], *, folder: Path) -> None:
    """Store a trial's learning curve as an artifact.

    Parameters
    ----------
    trial : optuna.trial.Trial
        Still running: a finished trial takes nothing more.
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
