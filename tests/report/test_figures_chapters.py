"""Figures of single chapters show the numbers that they are given."""

from __future__ import annotations

import numpy as np
import pytest

from hpopt_lib.data.frames import fixed_mask
from hpopt_lib.data.slabs import ADSORBATES, Bulk, clean_slab, place_adsorbate
from hpopt_lib.report import figures_chapters, figures_oc20
from hpopt_lib.report.style import VERMILION, WIDTH


@pytest.fixture(scope="module")
def slab():
    return place_adsorbate(clean_slab(Bulk("fcc", ("Cu",)), "100"), "CO", np.random.default_rng(1))


def check(figure) -> None:
    assert figure.get_figwidth() <= WIDTH
    assert figure.get_facecolor() == (1.0, 1.0, 1.0, 1.0)
    assert figure._repr_png_().startswith(b"\x89PNG")


def test_curves_keep_names_and_values():
    x = np.linspace(0.1, 1.0, 5)
    lines = {"one": (x, x), "two": (x, x**2)}
    figure = figures_chapters.curves(
        lines,
        xlabel="x / Å",
        ylabel="y / eV",
        points=(x, x, "seen"),
        shaded=(0.1, 0.2, "not trained"),
        logx=True,
    )
    (axis,) = figure.axes
    drawn = {line.get_label(): line for line in axis.lines}
    np.testing.assert_allclose(drawn["two"].get_ydata(), x**2)
    assert {"one", "two", "seen"} <= set(drawn)
    assert axis.get_xscale() == "log"
    check(figure)


def test_landscape_marks_atoms():
    rng = np.random.default_rng(0)
    positions = rng.uniform(-2, 2, size=(40, 2))
    atoms = np.array([[0.0, 0.0], [1.0, 1.0]])
    limits = np.array([[-1, 1], [-1, 1]])
    figure = figures_chapters.landscape(positions, positions[:, 0], atoms, label="energy / eV", limits=limits)
    np.testing.assert_allclose(figure.axes[0].lines[0].get_xydata(), atoms)
    check(figure)


def test_workflow_names_the_tasks():
    figure = figures_oc20.workflow()
    text = " ".join(item.get_text() for item in figure.axes[0].texts)
    assert all(task in text for task in ("S2EF", "IS2RE", "IS2RS"))
    check(figure)


def test_slab_views_show_every_atom_by_tag(slab):
    assert "CO" in ADSORBATES
    figure = figures_oc20.slab_views(slab)
    side, top = figure.axes
    assert len(side.patches) == len(slab)
    assert len(top.patches) == 9 * len(slab)
    adsorbate = [patch for patch in side.patches if patch.get_facecolor() == _rgba(VERMILION)]
    assert len(adsorbate) == (slab.get_tags() == 2).sum() == 2
    assert sum(text.get_text() == "×" for text in side.texts) == fixed_mask(slab).sum() > 0
    check(figure)


def test_relaxation_marks_first_and_last():
    figure = figures_oc20.relaxation_roles([1.0, 0.5, 0.2], [2.0, 0.5, 0.04])
    by_label = {line.get_label(): line for line in figure.axes[0].lines}
    assert by_label["input of IS2RE and IS2RS"].get_ydata() == [1.0]
    assert by_label["target of IS2RE (energy) and IS2RS (positions)"].get_ydata() == [0.2]
    check(figure)


def test_relative_error_is_error_over_linear_baseline():
    summary = {
        "val_id": {"mae": 10.0, "linear_mae": 40.0, "median_mae": 50.0},
        "val_ood_cat": {"mae": 12.0, "linear_mae": 20.0, "median_mae": 30.0},
    }
    figure = figures_chapters.absolute_and_relative(
        summary, {"val_id": (8.0, 13.0), "val_ood_cat": (11.0, 14.0)}, headline="mae"
    )
    left, right = figure.axes
    np.testing.assert_allclose(right.containers[0][0].get_xdata(), [0.25, 0.6])
    (bars,) = right.containers[0][2]
    np.testing.assert_allclose(
        [segment[:, 0] for segment in bars.get_segments()], [[0.2, 0.325], [0.55, 0.7]]
    )
    assert left.lines[0].get_label() == "median baseline"
    check(figure)


def test_parity_hover_is_relative_to_the_linear_baseline():
    panel = {
        "reference": np.array([1.0, 2.0]),
        "predicted": np.array([1.1, 1.9]),
        "linear": np.array([0.9, 2.1]),
    }
    figure = figures_chapters.parity_hover(panel, ["a", "b"], name="val_id")
    points = figure.data[1]
    np.testing.assert_allclose(points.x, [100.0, -100.0])
    np.testing.assert_allclose(points.y, [200.0, -200.0])
    assert tuple(points.text) == ("a", "b")


def _rgba(color: str):
    from matplotlib.colors import to_rgba

    return to_rgba(color)
