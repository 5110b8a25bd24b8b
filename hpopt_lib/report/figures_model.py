"""Figures of trained models: parity, error by split, learning curves."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from hpopt_lib.potential.evaluation import HEADLINE
from hpopt_lib.potential.passes import train_median_ev_per_atom
from hpopt_lib.potential.predictions import predict_split, split_parts
from hpopt_lib.report.study_data import NotDrawableError
from hpopt_lib.report.style import (
    BLUE,
    GREY,
    ORANGE,
    PALETTE,
    VERMILION,
    legend_above,
    new_figure,
    plain_numbers,
    styled,
    wants_log,
)
from hpopt_lib.store import Blocks, Store
from hpopt_lib.tuning.objective import METRIC

if TYPE_CHECKING:
    from matplotlib.figure import Figure

    from hpopt_lib.potential.model import Potential
    from hpopt_lib.store import SplitArrays


def parity_panels(
    potential: Potential,
    store: Store,
    splits: Iterable[str] | None = None,
    *,
    read: Callable[[Store, str], SplitArrays] | None = None,
) -> dict[str, dict[str, np.ndarray]]:
    """Data of `parity_figure`: energies per atom in eV of frames that were not trained on.

    Parameters
    ----------
    potential : Potential
    store : Store
    splits : iterable of str, optional
        All but the training split by default.
    read : callable, optional
        See `hpopt_lib.potential.evaluation.evaluate`.

    Returns
    -------
    dict of dict
        For each split ``reference``, ``predicted``, ``linear`` and ``median``, each of shape
        (n_frames,), in eV/atom.
    """
    median, panels = train_median_ev_per_atom(Blocks(store, store.train_split)), {}
    for split in splits if splits is not None else store.validation_splits():
        parts = split_parts(store, store.check_split(split), read)
        found = predict_split(potential, parts, store.reference)
        energies = {"reference": found.energy, "predicted": found.predicted, "linear": found.linear}
        panels[split] = {name: values / found.n_atoms for name, values in energies.items()}
        panels[split]["median"] = np.full(len(found.energy), median)
    return panels


@styled
def parity_figure(panels: Mapping[str, Mapping[str, np.ndarray]], *, subtract_linear: bool = True) -> Figure:
    """Predicted against reference energies, one panel for each split.

    Parameters
    ----------
    panels : dict
        From `parity_panels`.
    subtract_linear : bool
        Show energies relative to the per-element linear baseline, in meV/atom: what the
        model has to learn. The baseline itself is then the horizontal line at zero. When
        false, whole energies in eV/atom.

    Raises
    ------
    NotDrawableError
        When there is no split.
    """
    if not panels:
        raise NotDrawableError("A parity plot needs a split that was not trained on, and the store has none")
    columns = min(3, len(panels))
    rows = math.ceil(len(panels) / columns)
    width = 3.6 if columns == 1 else 7.0
    figure = new_figure((width / columns + 0.45) * rows, width=width)
    grid = figure.subplots(rows, columns, squeeze=False)
    for axes, (split, data) in zip(grid.flat, panels.items()):
        origin = data["linear"] if subtract_linear else 0.0
        factor = 1000.0 if subtract_linear else 1.0
        x, y = factor * (data["reference"] - origin), factor * (data["predicted"] - origin)
        low, high = float(min(x.min(), y.min())), float(max(x.max(), y.max()))
        pad = 0.05 * (high - low) or 1.0
        low, high = low - pad, high + pad
        axes.plot([low, high], [low, high], color=GREY, linewidth=0.9, label="exact")
        if subtract_linear:
            axes.axhline(0.0, color=ORANGE, linewidth=1.2, linestyle="--", label="linear baseline")
        size = 10 if len(x) < 500 else 4
        axes.scatter(x, y, s=size, color=BLUE, alpha=0.55, linewidths=0, label="model", rasterized=True)
        axes.set(xlim=(low, high), ylim=(low, high), aspect="equal")
        mae = {
            name: 1000.0 * float(np.abs(data[name] - data["reference"]).mean())
            for name in ("predicted", "linear")
        }
        axes.set_title(
            f"{split}\nMAE {mae['predicted']:.1f} meV/atom\n(linear baseline {mae['linear']:.1f})", fontsize=9
        )
    for axes in list(grid.flat)[len(panels) :]:
        axes.set_visible(False)
    what = "energy − linear baseline (meV/atom)" if subtract_linear else "energy (eV/atom)"
    figure.supxlabel(f"reference {what}", fontsize=9)
    figure.supylabel(f"predicted {what}", fontsize=9)
    handles, labels = grid.flat[0].get_legend_handles_labels()
    figure.legend(handles, labels, loc="outside upper left", ncols=3)
    return figure


@styled
def error_by_split_figure(record: Mapping[str, Any]) -> Figure:
    """Error of the final model on every split beside both baselines.

    Parameters
    ----------
    record : dict
        From `hpopt_lib.tuning.final.final_model`.

    Returns
    -------
    matplotlib.figure.Figure
        Mean and sample standard deviation over seeds, every seed as a faint dot.
    """
    summary = record["summary"]
    if not summary:
        raise NotDrawableError("The final model was evaluated on no split")
    splits, seeds = list(summary), record["seeds"]
    figure = new_figure(1.2 + 0.42 * len(splits))
    axes = figure.subplots()
    y = np.arange(len(splits))
    for name, marker, color in (("median", "D", GREY), ("linear", "s", ORANGE)):
        values = [summary[split][f"{name}_{HEADLINE}"] for split in splits]
        axes.plot(values, y, marker, color=color, label=f"{name} baseline")
    means = np.array([summary[split][HEADLINE] for split in splits])
    spread = np.nan_to_num([summary[split][f"{HEADLINE}_std"] for split in splits])
    single = [(s[HEADLINE], place) for place, split in enumerate(splits) for s in record["splits"][split]]
    axes.plot(*zip(*single), ".", color=BLUE, alpha=0.35, markersize=4, label="_")
    name = f"model, mean ± sd over {seeds} seeds" if seeds > 1 else "model, 1 seed"
    axes.errorbar(means, y, xerr=spread, fmt="o", color=BLUE, capsize=3, markersize=6, label=name)
    everything = [*means, *(summary[s][f"{b}_{HEADLINE}"] for s in splits for b in ("median", "linear"))]
    if wants_log(everything):
        axes.set_xscale("log")
        plain_numbers(axes.xaxis)
    else:
        axes.set_xlim(left=0.0)
    axes.set_yticks(y, splits)
    axes.set_ylim(len(splits) - 0.5, -0.5)
    axes.set_xlabel("energy MAE (meV/atom)")
    legend_above(axes, columns=3)
    return figure


@styled
def learning_curves_figure(record: Mapping[str, Any]) -> Figure:
    """Training loss and validation error of the final trainings, epoch by epoch.

    Parameters
    ----------
    record : dict
        From `hpopt_lib.tuning.final.final_model`; ``runs`` holds one history for each seed.

    Returns
    -------
    matplotlib.figure.Figure
        Two panels, each in its own unit; a dot marks the epoch whose weights were kept.
    """
    if not record.get("runs"):
        raise NotDrawableError("The final model's record holds no training history")
    figure = new_figure(3.2)
    left, right = figure.subplots(1, 2)
    split = record["tuned_on"]
    for k, run in enumerate(record["runs"]):
        color = PALETTE[k % len(PALETTE)]
        epochs = [entry["epoch"] for entry in run["history"]]
        left.plot(epochs, [entry["train_loss"] for entry in run["history"]], color=color, label=f"seed {k}")
        errors = [entry.get(f"{METRIC}/{split}", entry[METRIC]) for entry in run["history"]]
        right.plot(epochs, errors, color=color, label="_")
        best = run["best_epoch"]
        if best in epochs:
            right.plot(best, errors[epochs.index(best)], "o", color=color)
    baseline = record["summary"].get(split, {}).get(f"linear_{HEADLINE}")
    if baseline is not None:
        right.axhline(
            baseline, color=GREY, linestyle="--", linewidth=1, label=f"linear baseline ({baseline:.0f})"
        )
    loss = record["settings"].get("loss", "loss")
    left.set(xlabel="epoch", ylabel=f"training loss ({loss}, residuals in sd)")
    right.set(xlabel="epoch", ylabel=f"energy MAE on {split} (meV/atom)")
    for axes in (left, right):
        if wants_log([value for line in axes.lines for value in line.get_ydata()]):
            axes.set_yscale("log")
            plain_numbers(axes.yaxis)
        legend_above(axes, columns=5 if axes is left else 1)
    return figure


@styled
def training_size_figure(curves: Mapping[str, Mapping[str, Sequence[float]]], *, ylabel: str) -> Figure:
    """Error against the number of training frames, on logarithmic axes.

    Parameters
    ----------
    curves : dict
        Name of a curve to `hpopt_lib.metrics.learning_curve`'s result.
    ylabel : str
        The error, with its unit.
    """
    figure = new_figure(3.4)
    axes = figure.subplots()
    for k, (name, curve) in enumerate(curves.items()):
        spread = np.nan_to_num(curve["std"])
        color = VERMILION if len(curves) == 1 else PALETTE[k % len(PALETTE)]
        axes.errorbar(curve["size"], curve["mean"], yerr=spread, fmt="o-", capsize=3, color=color, label=name)
    axes.set(xscale="log", yscale="log", xlabel="training frames", ylabel=ylabel)
    plain_numbers(axes.xaxis)
    plain_numbers(axes.yaxis)
    legend_above(axes, columns=3)
    return figure
