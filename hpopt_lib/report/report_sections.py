"""Sections of a study's report that need more than the study: final model, provenance, figures."""

from __future__ import annotations

import datetime
import platform
import shlex
from collections.abc import Callable, Mapping
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING, Any

import hpopt_lib
from hpopt_lib.errors import HpoptError
from hpopt_lib.report import figures
from hpopt_lib.report.document import Block, Code, Heading, Paragraph, Picture, Table, code
from hpopt_lib.report.figure_texts import TEXTS, WIDE
from hpopt_lib.report.final_tables import final_caption, final_columns, final_rows
from hpopt_lib.report.study_data import NotDrawableError, best_trial, completed, objective_view
from hpopt_lib.report.tables import setting_rows
from hpopt_lib.tuning.config import CONFIG, study_config
from hpopt_lib.tuning.pareto import is_pareto

if TYPE_CHECKING:
    import optuna
    from matplotlib.figure import Figure


def drawn(
    name: str,
    draw: Callable[[Any], Figure],
    subject: Any,
    interactive: Mapping[str, Any] | None = None,
) -> list[Block]:
    """A figure with its texts, or the sentence that says why there is none.

    Parameters
    ----------
    name : str
        Key of `hpopt_lib.report.figure_texts.TEXTS`.
    draw : callable
        Gives the figure of `subject`.
    subject : optuna.Study, or what else `draw` takes
    interactive : dict, optional
        Plotly data and layout by name, for figures of a study.
    """
    words = {}
    if interactive is not None:
        view = objective_view(subject)
        words = {"label": view.label, "step": view.step_name}
    title, alt, caption = (text.format(**words) for text in TEXTS[name])
    try:
        png = figures.png_bytes(draw(subject))
    except NotDrawableError as error:
        return [Paragraph(f"**{title}**: {error}.")]
    caption = caption[:1].upper() + caption[1:]
    return [Picture(name, title, alt, caption, png, (interactive or {}).get(name), wide=name in WIDE)]


def final_section(
    study: optuna.Study, record: Mapping[str, Any] | None, final_dir: str | Path | None
) -> list[Block]:
    """The final model's table and figures, or how to make it."""
    heading = Heading("The final model")
    if record is None or final_dir is None:
        return [heading, Paragraph(_how_to_make(study))]
    blocks: list[Block] = [heading]
    if is_pareto(study):  # any point of the front may have been asked for
        best = record["trial"]
    else:
        done = completed(study)
        best = best_trial(done, objective_view(study)).number if done else record["trial"]
    if best != record["trial"]:
        went_on = f"**The study went on**: trial {best} is the best now, and this model is of trial "
        blocks.append(Paragraph(f"{went_on}{record['trial']}. Run `hpopt tune` again to retrain."))
    blocks.append(Table(final_rows(record), final_columns(record), final_caption(record)))
    blocks += drawn("error_by_split", figures.error_by_split_figure, record)
    try:
        panels = _parity_panels(study, record, Path(final_dir))
        blocks += drawn("parity", figures.parity_figure, panels)
    except HpoptError as error:
        blocks.append(Paragraph(f"**Parity** cannot be drawn: {code(error)}."))
    return [*blocks, *drawn("learning_curves", figures.learning_curves_figure, record)]


def _how_to_make(study: optuna.Study) -> str:
    if CONFIG not in study.user_attrs:
        return "This study was not made by `hpopt tune`, so there is no model to retrain."
    store = shlex.quote(Path(study_config(study).store).name)
    command = f"hpopt tune {store} --study {shlex.quote(study.study_name)} --trials N"
    return (
        "There is no final model yet. The error of the best trial is optimistic, because the trial was "
        f"chosen for it. {code(command)} with the study's other settings retrains the best trial with fresh "
        "seeds once the study has N finished trials, and evaluates it on every split."
    )


def _parity_panels(study: optuna.Study, record: Mapping[str, Any], final_dir: Path) -> dict[str, Any]:
    from hpopt_lib.store import Store
    from hpopt_lib.tuning.backends import training_backend

    config = study_config(study)
    with Store.open(config.store) as store:
        backend = training_backend(config.backend)
        potential = backend.load(final_dir / f"trial{record['trial']}-seed0.npz")
        return figures.parity_panels(potential, store, read=backend.read)


def provenance_section(study: optuna.Study, record: Mapping[str, Any] | None) -> list[Block]:
    """Settings, times, seeds, versions and the search space."""
    facts = {row["setting"]: row["value"] for row in setting_rows(study)}
    trials = study.get_trials(deepcopy=False)
    begun = [t.datetime_start for t in trials if t.datetime_start is not None]
    ended = [t.datetime_complete for t in trials if t.datetime_complete is not None]
    clock = "%Y-%m-%d %H:%M (Optuna's clock)"
    if begun:
        facts["first trial began"] = min(begun).strftime(clock)
    if ended:
        facts["last trial ended"] = max(ended).strftime(clock)
    spent = sum(t.duration.total_seconds() for t in trials if t.duration is not None)
    facts["time in trials"] = f"{spent:.0f} s"
    if record is not None:
        facts["seeds of the final model"] = ", ".join(str(run["seed"]) for run in record["runs"])
        facts["final model made"] = f"{record['date']} with hpopt {record['hpopt_version']}"
    facts["report written"] = datetime.datetime.now(datetime.timezone.utc).isoformat(timespec="seconds")
    libraries = ", ".join(f"{name} {version(name)}" for name in ("optuna", "numpy", "torch"))
    facts["with"] = f"hpopt {hpopt_lib.__version__}, Python {platform.python_version()}, {libraries}"
    rows = [{"setting": name, "value": value} for name, value in facts.items()]
    table = Table(rows, {"setting": "setting", "value": "value"})
    blocks: list[Block] = [Heading("Settings and provenance"), table]
    if CONFIG in study.user_attrs:
        blocks.append(Code(study_config(study).space, "toml", "The search space:"))
    return blocks
