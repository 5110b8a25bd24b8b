"""A study's standalone report in headless Chromium: quiet, offline, drawn, dark, at home on a phone."""

from __future__ import annotations

from pathlib import Path

import pytest
from browser import DESKTOP, PHONE, open_browser
from optuna.distributions import FloatDistribution
from optuna.trial import create_trial

from hpopt_lib.report.study_report import write_report


@pytest.fixture(scope="module")
def page(tmp_path_factory: pytest.TempPathFactory) -> Path:
    import optuna

    study = optuna.create_study(study_name="page")
    space = {"lr": FloatDistribution(1e-4, 1e-1, log=True), "dropout_rate": FloatDistribution(0.0, 0.5)}
    for k in range(6):
        params = {"lr": 10.0 ** (-4 + 0.5 * k), "dropout_rate": 0.1 * (k % 3)}
        reports = {step: 20.0 + k - step for step in range(4)}
        study.add_trial(
            create_trial(value=17.0 + k, params=params, distributions=space, intermediate_values=reports)
        )
    return write_report(study, tmp_path_factory.mktemp("page") / "report")[1]


def test_the_report_opens_from_a_disk(page, needs, tmp_path):
    needs("chromium")
    with open_browser(tmp_path / "chromium") as browser:
        for theme, size in (("light", DESKTOP), ("dark", PHONE)):
            browser.open(page, theme=theme, size=size)  # waits until every figure is drawn
            errors, asked = browser.drain()
            assert errors == []
            assert [address for address in asked if not address.startswith(("file:", "data:", "blob:"))] == []
            assert browser.script("return document.querySelectorAll('.js-plotly-plot').length") == 7
            assert browser.script("return document.documentElement.dataset.theme") == theme
            width, window = browser.script("return [document.documentElement.scrollWidth, innerWidth]")
            assert width <= window
            red, *_ = browser.script(
                "return getComputedStyle(document.body).backgroundColor.match(/\\d+/g).map(Number)"
            )
            assert (red > 128) == (theme == "light")
