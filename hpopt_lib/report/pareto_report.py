"""The report of a study of several objectives."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from hpopt_lib.report import figures
from hpopt_lib.report.document import Block, Bullets, Heading, Paragraph, Table, code
from hpopt_lib.report.pareto_tables import front_figure, front_rows, front_sentences
from hpopt_lib.report.report_sections import drawn, final_section, provenance_section
from hpopt_lib.report.study_verdicts import failure_rows, final_verdicts

if TYPE_CHECKING:
    import optuna


def pareto_blocks(
    study: optuna.Study, record: Mapping[str, Any] | None, final_dir: str | Path | None
) -> list[Block]:
    """The content of a report, in order.

    Parameters
    ----------
    study : optuna.Study
        With several objectives, made by ``hpopt tune --select pareto``.
    record : dict, optional
        Of its final model.
    final_dir : str or Path, optional
        Where that lies.
    """
    rows, columns = front_rows(study)
    failed = failure_rows(study)
    table: list[Block] = [Table(rows, columns, "By the first objective.")] if rows else []
    return [
        Heading(f"Study {code(study.study_name)}", level=1),
        Heading("What the numbers say"),
        Bullets(front_sentences(study) + (final_verdicts(record) if record else [])),
        *final_section(study, record, final_dir),
        Heading("The front"),
        *drawn("front", front_figure, study),
        *table,
        Heading("How the search went"),
        Paragraph("Optuna does not prune studies of several objectives, so every trial ran to its end."),
        *([Table(failed, {"trial": "failed trial", "reason": "reason"})] if failed else []),
        *drawn("timeline", figures.timeline_figure, study),
        *provenance_section(study, record),
    ]
