"""All figures of studies and models, gathered under one name.

Every function returns a figure, or raises `NotDrawableError` with a sentence that says why the
data at hand cannot give one.
"""

from __future__ import annotations

from hpopt_lib.report.figures_contour import contour_figure
from hpopt_lib.report.figures_model import (
    error_by_split_figure,
    learning_curves_figure,
    parity_figure,
    parity_panels,
    training_size_figure,
)
from hpopt_lib.report.figures_params import (
    importances_figure,
    parallel_figure,
    slice_figure,
)
from hpopt_lib.report.figures_plotly import plotly_study_figures
from hpopt_lib.report.figures_study import history_figure, intermediate_figure, timeline_figure
from hpopt_lib.report.study_data import NotDrawableError
from hpopt_lib.report.style import PALETTE, new_figure, png_bytes, styled

__all__ = [
    "PALETTE",
    "NotDrawableError",
    "contour_figure",
    "error_by_split_figure",
    "history_figure",
    "importances_figure",
    "intermediate_figure",
    "learning_curves_figure",
    "new_figure",
    "parallel_figure",
    "parity_figure",
    "parity_panels",
    "plotly_study_figures",
    "png_bytes",
    "slice_figure",
    "styled",
    "timeline_figure",
    "training_size_figure",
]
