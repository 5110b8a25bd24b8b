"""The learning curve of a trial as a figure that optuna-dashboard shows with it."""

from __future__ import annotations

import io
import tempfile
from pathlib import Path
from typing import Any

from hpopt_lib.report.style import BLUE, STYLE, VERMILION, plain_numbers

METRIC = "validation_energy_mae_mev_per_atom"
#: Points of a curve at most: a figure of this size shows no more, and its file stays small.
MAX_POINTS = 300
#: From this factor on between the ends of a curve a linear axis would press its long flat part together.
LOG_FROM_RATIO = 8.0
#: Text stays text: a smaller file, drawn sooner. The salt makes the same curve give the same file.
SVG: Any = {"svg.fonttype": "none", "svg.hashsalt": "hpopt"}


def learning_curve_svg(history: list[dict[str, float]], *, title: str) -> bytes:
    """Draw validation error and training loss over epochs.

    Parameters
    ----------
    history : list of dict
        One record an epoch, see `hpopt_lib.potential.training.TrainResult`.
    title : str
        What the figure belongs to; the best epoch is added.

    Returns
    -------
    bytes
        An SVG image.
    """
    from matplotlib import rc_context
    from matplotlib.backends.backend_svg import FigureCanvasSVG
    from matplotlib.figure import Figure
    from matplotlib.ticker import MaxNLocator

    shown = history[:: -(-len(history) // MAX_POINTS)]
    if shown[-1] is not history[-1]:
        shown.append(history[-1])
    best = min(history, key=lambda record: record[METRIC])
    stream = io.BytesIO()
    with rc_context({**STYLE, **SVG}):
        # the object interface only: workers must not depend on pyplot's global state, nor on a display
        figure = Figure(figsize=(5.2, 3.2))
        FigureCanvasSVG(figure)
        figure.subplots_adjust(left=0.13, right=0.87, bottom=0.14, top=0.9)
        left = figure.add_subplot()
        right = left.twinx()
        right.grid(False)
        _curve(right, shown, "train_loss", VERMILION, _loss_label(history), style="--")
        _curve(left, shown, METRIC, BLUE, "validation energy MAE (meV/atom)")
        left.plot([best["epoch"]], [best[METRIC]], "o", color=BLUE)
        left.set_xlim(0, history[-1]["epoch"] * 1.02)
        left.xaxis.set_major_locator(MaxNLocator(7, integer=True))
        # the error is what counts: it lies above the loss
        left.set_zorder(right.get_zorder() + 1)
        left.patch.set_visible(False)
        best_text = f"best {best[METRIC]:.2f} meV/atom in epoch {best['epoch']:.0f}"
        left.set(xlabel="epoch", title=f"{title}: {best_text}")
        figure.savefig(stream, format="svg", metadata={"Date": None})
    return stream.getvalue()


def _loss_label(history: list[dict[str, float]]) -> str:
    forces = any("force" in key for key in history[-1])
    return f"training loss (scaled energies{' and forces' if forces else ''})"


def _curve(
    axes: Any, records: list[dict[str, float]], key: str, color: str, label: str, style: str = "-"
) -> None:
    """One quantity on its own axis; the label has the colour of the line, so that no legend hides data."""
    values = [record[key] for record in records]
    axes.plot([record["epoch"] for record in records], values, style, color=color, linewidth=1.2)
    axes.set_ylabel(f"{label}  {'- -' if style == '--' else '—'}", color=color)
    if min(values) > 0 and max(values) / min(values) > LOG_FROM_RATIO:
        axes.set_yscale("log")
        plain_numbers(axes.yaxis)
        axes.minorticks_off()  # each would cost as much time as a labelled one


def attach_learning_curve(trial: Any, history: list[dict[str, float]], *, folder: Path) -> None:
    """Store a trial's learning curve as an artifact.

    With ``functools.partial(attach_learning_curve, folder=...)`` it is the ``on_result`` of
    `hpopt_lib.tuning.workers.WorkerOptions`, also for workers in other processes.

    Parameters
    ----------
    trial : optuna.trial.Trial
        Still running: a finished trial takes nothing more.
    history : list of dict
    folder : Path
        `hpopt_lib.tuning.addresses.files_folder` of the study's storage.
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
