"""The report of a study: a page for the book, the same as standalone HTML, and its figures."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from hpopt_lib.errors import HpoptError
from hpopt_lib.files import atomic_path, refuse_existing
from hpopt_lib.report import figures
from hpopt_lib.report.document import (
    Block,
    Bullets,
    Heading,
    Paragraph,
    Table,
    code,
    to_markdown,
    write_pictures,
)
from hpopt_lib.report.document_html import to_html
from hpopt_lib.report.figures_plotly import plotly_study_figures, to_json
from hpopt_lib.report.importances import EVALUATORS, Importance, importances, settled
from hpopt_lib.report.pareto_report import pareto_blocks
from hpopt_lib.report.report_sections import drawn, final_section, provenance_section
from hpopt_lib.report.study_data import NotDrawableError, objective_view
from hpopt_lib.report.study_verdicts import failure_rows, final_verdicts, pruning_sentence, search_verdicts
from hpopt_lib.report.tables import best_trial_rows
from hpopt_lib.tuning.config import CONFIG
from hpopt_lib.tuning.final import read_results
from hpopt_lib.tuning.pareto import is_pareto

if TYPE_CHECKING:
    import optuna

#: Best trials in the table.
TOP = 8
_PAGE, _STANDALONE, _FIGURES = "report.md", "report.html", "figures"


def write_report(
    study: optuna.Study, out: str | Path, *, final_dir: str | Path | None = None, overwrite: bool = False
) -> list[Path]:
    """Write the report of a study into a new folder.

    Parameters
    ----------
    study : optuna.Study
        Made by ``hpopt tune``, or by anyone else with a single objective.
    out : str or Path
        The folder: ``report.md`` (a MyST page that drops into the book), ``report.html`` (one
        file, needs nothing else) and ``figures/*.png``.
    final_dir : str or Path, optional
        Folder of the study's final model, as ``hpopt tune`` writes it; it may be missing.
    overwrite : bool
        Whether an existing report may be replaced.

    Returns
    -------
    list of Path
        What was written.

    Raises
    ------
    HpoptError
        When `out` exists (and is no report, with `overwrite`), the study has several
        objectives, or the final model is another study's.
    """
    out = refuse_existing(out, overwrite=overwrite)
    if out.exists() and not (out / _PAGE).exists():
        raise HpoptError(f"{out}: not a report, so it is not replaced", remedy="choose another folder")
    blocks = report_blocks(study, final_dir=final_dir)
    with atomic_path(out, overwrite=overwrite) as temporary:
        (temporary / _FIGURES).mkdir(parents=True)
        names = write_pictures(blocks, temporary / _FIGURES)
        (temporary / _PAGE).write_text(to_markdown(blocks, figures=_FIGURES), encoding="utf-8")
        page = to_html(blocks, title=f"Study {study.study_name}")
        (temporary / _STANDALONE).write_text(page, encoding="utf-8")
    return [out / _PAGE, out / _STANDALONE, *(out / _FIGURES / name for name in names)]


def report_blocks(study: optuna.Study, *, final_dir: str | Path | None = None) -> list[Block]:
    """The content of a report, in order (see `write_report`)."""
    if is_pareto(study) and CONFIG in study.user_attrs:
        return pareto_blocks(study, _final_record(study, final_dir), final_dir)
    objective_view(study)  # several objectives of somebody else's study end here
    record = _final_record(study, final_dir)
    rows, why_not = _importance_rows(study)
    interactive = {name: to_json(figure) for name, figure in plotly_study_figures(study, rows).items()}
    verdicts = search_verdicts(study) + (final_verdicts(record) if record else [])
    return [
        Heading(f"Study {code(study.study_name)}", level=1),
        Heading("What the numbers say"),
        Bullets(verdicts),
        *final_section(study, record, final_dir),
        *_best_trials(study),
        *_search_section(study, interactive),
        *_parameter_section(study, rows, why_not, interactive),
        *provenance_section(study, record),
    ]


def _final_record(study: optuna.Study, final_dir: str | Path | None) -> dict[str, Any] | None:
    record = read_results(final_dir) if final_dir is not None else None
    if record is not None and record["study"] != study.study_name:
        raise HpoptError(
            f"{final_dir}: holds the final model of study {record['study']!r}, not of {study.study_name!r}",
            remedy="name the right folder with --final",
        )
    return record


def _importance_rows(study: optuna.Study) -> tuple[dict[str, list[Importance]] | None, str]:
    try:
        return {name: importances(study, name) for name in EVALUATORS}, ""
    except NotDrawableError as error:
        return None, str(error)


def _best_trials(study: optuna.Study) -> list[Block]:
    rows, columns = best_trial_rows(study, TOP)
    if len(columns) == 1:
        return [Heading("The best trials"), Paragraph("No trial is complete yet.")]
    caption = "Best first; a dash where a conditional hyperparameter was not drawn."
    return [Heading("The best trials"), Table(rows, columns, caption)]


def _search_section(study: optuna.Study, interactive: dict[str, Any]) -> list[Block]:
    blocks: list[Block] = [Heading("How the search went"), Paragraph(pruning_sentence(study))]
    failed = failure_rows(study)
    if failed:
        blocks.append(Table(failed, {"trial": "failed trial", "reason": "reason"}))
    for name in ("history", "intermediate", "timeline"):
        blocks += drawn(name, getattr(figures, f"{name}_figure"), study, interactive)
    return blocks


def _parameter_section(
    study: optuna.Study,
    rows: dict[str, list[Importance]] | None,
    why_not: str,
    interactive: dict[str, Any],
) -> list[Block]:
    blocks: list[Block] = [Heading("What the hyperparameters did")]
    if rows is None:
        blocks.append(Paragraph(f"**Importances**: {why_not}."))
    else:
        blocks.append(Bullets([f"By {name}: {settled(found)}" for name, found in rows.items()]))
        blocks += drawn("importances", lambda s: figures.importances_figure(s, rows), study, interactive)
    for name in ("parallel", "slice", "contour"):
        blocks += drawn(name, getattr(figures, f"{name}_figure"), study, interactive)
    return blocks
