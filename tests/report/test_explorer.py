"""Interactive outputs: what a page receives, and what a reader without scripts sees."""

from __future__ import annotations

import base64
import json
import re

import numpy as np
import plotly.graph_objects as go
import pytest
from ase.build import fcc111, molecule
from matplotlib.figure import Figure

from hpopt_lib.errors import HpoptError
from hpopt_lib.report.explorer import plotly_figure, structure_explorer
from hpopt_lib.report.sphinx_ext import PLOTLY_MIME, inline_json, plotly_html, repository_url

PNG = b"\x89PNG\r\n\x1a\n"


def slabs(count: int = 3) -> list:
    return [fcc111("Cu", (1, 1, 4), vacuum=4.0 + i, periodic=True) for i in range(count)]


def dataset(html: str) -> dict:
    found = re.search(
        r'<script type="application/json" data-chemiscope-for="[^"]+">(.*)</script>', html, re.DOTALL
    )
    assert found
    return json.loads(found[1])


def test_a_map_carries_its_data_and_a_picture() -> None:
    explorer = structure_explorer(
        slabs(),
        {
            "energy": {"values": [1.0, 2.0, 3.0], "units": "eV"},
            "height": np.arange(3.0),
            "split": ["a", "b", "b"],
        },
        x="height",
        y="energy",
        symbol="split",
    )
    bundle = explorer._repr_mimebundle_()
    data = dataset(bundle["text/html"])
    assert data["properties"]["energy"]["units"] == "eV"
    assert data["settings"]["map"]["x"]["property"] == "height"
    assert data["settings"]["map"]["symbol"] == "split"
    assert len(data["structures"]) == 3
    assert base64.b64decode(bundle["image/png"]).startswith(PNG)
    assert '<img class="book-fallback" alt="structures: 3 structures"' in bundle["text/html"]


def test_slabs_are_shown_with_their_normal_upwards_and_are_not_changed() -> None:
    slab = slabs(1)[0]
    before = slab.positions.copy()
    data = dataset(structure_explorer([slab], mode="structure")._repr_mimebundle_()["text/html"])
    np.testing.assert_array_equal(slab.positions, before)
    shown = np.column_stack([data["structures"][0][axis] for axis in "xyz"])
    bottom, top = shown[np.argmin(before[:, 2])], shown[np.argmax(before[:, 2])]
    thickness = np.ptp(before[:, 2])
    assert (top - bottom)[1] == pytest.approx(thickness * np.cos(np.radians(15)))
    distances = [np.linalg.norm(p[:, None] - p[None], axis=-1) for p in (shown, before)]
    np.testing.assert_allclose(*distances, atol=1e-6)


def test_molecules_keep_their_orientation() -> None:
    water = molecule("H2O")
    data = dataset(structure_explorer([water], mode="structure")._repr_mimebundle_()["text/html"])
    np.testing.assert_allclose(np.column_stack([data["structures"][0][a] for a in "xyz"]), water.positions)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (dict(frames=[]), "frames: there are none"),
        (dict(frames=slabs(), mode="map"), "mode: 'map' is unknown; use 'default' or 'structure'"),
        (dict(frames=slabs(), properties={"a": [1, 2, 3]}), "a map needs two numeric properties"),
        (dict(frames=slabs(), properties={"a": [1, 2]}), "property 'a' has 2 values for 3 structures"),
        (
            dict(frames=slabs(), properties={"a": [1, 2, 3], "b": [1, 2, 3]}, x="c"),
            "'c' is not a property; there are a, b",
        ),
    ],
)
def test_bad_input_is_one_clear_line(arguments: dict, message: str) -> None:
    with pytest.raises(HpoptError) as caught:
        structure_explorer(**arguments)
    assert message in str(caught.value)


def test_a_plotly_figure_gets_a_picture_only_when_one_is_given() -> None:
    figure = go.Figure(go.Scatter(y=[1, 2]), layout={"title": {"text": "Errors <b>now</b>"}})
    assert plotly_figure(figure) is figure
    still = Figure(figsize=(2, 1))
    data, metadata = plotly_figure(figure, fallback=still)._repr_mimebundle_()
    assert data[PLOTLY_MIME]["layout"]["title"]["text"] == "Errors <b>now</b>"
    html = plotly_html(data[PLOTLY_MIME], metadata[PLOTLY_MIME])
    assert '<img class="book-fallback" alt="Errors &lt;b&gt;now&lt;/b&gt;"' in html
    assert base64.b64decode(metadata[PLOTLY_MIME]["fallback_png"]).startswith(PNG)
    assert "<noscript>" in plotly_html(data[PLOTLY_MIME])
    assert (
        plotly_figure(figure, png=PNG)._repr_mimebundle_()[0]["image/png"] == base64.b64encode(PNG).decode()
    )


def test_data_cannot_end_the_script_element() -> None:
    content = {"a": "</script><!-- x"}
    text = inline_json(content)
    assert "</" not in text
    assert "<!--" not in text
    assert json.loads(text) == content


def test_links_to_the_repository_come_from_the_workflow(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("GITHUB_SERVER_URL", "https://github.com")
    monkeypatch.setenv("GITHUB_REPOSITORY", "somebody/fork")
    assert repository_url() == "https://github.com/somebody/fork"
