"""The dashboard in a real browser: the printed address leads to the study, its attributes and its curves.

The chapter's screenshots (``dashboard.png``, ``dashboard-trial.png``) are made by this test when the variable
names a file: ``HPOPT_DASHBOARD_PNG=book/images/dashboard.png pytest tests/book/test_dashboard_browser.py``.
"""

from __future__ import annotations

import functools
import os
import queue
import threading
from contextlib import ExitStack
from pathlib import Path

import pytest
from browser import open_browser

from hpopt_lib.report.dashboard import make_dashboard
from hpopt_lib.report.dashboard_server import open_page
from hpopt_lib.report.trial_artifact import attach_learning_curve
from hpopt_lib.tuning.addresses import files_folder
from hpopt_lib.tuning.config import StudyConfig, store_path
from hpopt_lib.tuning.space_file import load_space
from hpopt_lib.tuning.study import tune
from hpopt_lib.tuning.workers import WorkerOptions
from hpopt_lib.workspace import embedded_store

ROOT = Path(__file__).resolve().parents[2]
TEXT = "return document.body.innerText"


@pytest.mark.slow
# Optuna says so of its importances when pruning leaves few complete trials; here the server is a thread
@pytest.mark.filterwarnings("ignore:Some regimes for parameter:UserWarning")
def test_the_dashboard_shows_the_study_its_attributes_and_its_curves(tmp_path, needs, monkeypatch):
    needs("chromium")
    pytest.importorskip("optuna_dashboard")
    opened: queue.Queue[str] = queue.Queue()
    monkeypatch.setattr("webbrowser.open", lambda uri: opened.put(uri) or True)
    # the name of the computer is nobody's business on a screenshot
    monkeypatch.setattr(
        "hpopt_lib.tuning.queue.origin", lambda: {"host": "node", "job_id": "1234_5", "commit": "abc1234"}
    )
    storage = f"sqlite:///{tmp_path}/studies.db"
    store = embedded_store("oc20-like", stride=8)
    fixed = {"epochs": 12}
    config = StudyConfig(
        store=store_path(store.path),
        space=load_space(None, fixed=fixed).text,
        validation="val_id",
        fixed=fixed,
    )
    hook = functools.partial(attach_learning_curve, folder=files_folder(storage))
    study = tune("oc20-like", config, trials=20, storage=storage, options=WorkerOptions(on_result=hook))
    server, address = make_dashboard("oc20-like", storage, token="a-token")
    threading.Thread(target=server.serve_forever, daemon=True).start()
    try:
        with open_browser(tmp_path / "browser") as browser:
            browser.driver.set_window_size(1200, 1380)
            # from a page of another origin, as with --open or a click in a web terminal
            with ExitStack() as stack:
                open_page(address, stack)
                browser.driver.get(opened.get(timeout=10))
                browser.wait("return location.pathname.startsWith('/dashboard/studies/')")
            assert "token" not in browser.script("return location.href")
            assert browser.script("return document.cookie") == "", "scripts do not see the cookie"
            browser.wait(f"{TEXT}.includes('oc20-like')")
            browser.wait("return document.querySelectorAll('.plotly .main-svg').length >= 2")
            picture = Path(os.environ.get("HPOPT_DASHBOARD_PNG") or tmp_path / "dashboard.png")
            browser.driver.execute_script("window.scrollTo(0, 0)")
            browser.wait(
                "return [...document.querySelectorAll('.plotly')].every(e => e.getBoundingClientRect().width > 100)"
            )
            picture.parent.mkdir(parents=True, exist_ok=True)
            browser.driver.save_screenshot(str(picture))
            assert picture.stat().st_size > 20_000

            best = study.best_trial.number
            page = address.partition("?")[0]
            browser.driver.get(f"{page}/trials?numbers={best}")
            browser.wait(f"{TEXT}.includes('energy_mae_mev_per_atom')")
            text = browser.script(TEXT)
            for name in (
                "energy_mae_ev",
                "skill_over_linear",
                "epochs",
                "seconds",
                "host",
                "job_id",
                "device",
                "commit",
            ):
                assert name in text, name
            assert f"Trial {best} " in text and "abc1234" in text and "1234_5" in text
            browser.wait(
                "return [...document.images].some(i => i.src.includes('/artifacts/') && i.naturalWidth > 100)"
            )
            browser.script(
                "[...document.images].find(i => i.src.includes('/artifacts/'))"
                ".closest('.MuiCard-root').scrollIntoView({block: 'end'})"
            )
            browser.driver.save_screenshot(str(picture.with_name(f"{picture.stem}-trial.png")))
            errors, asked = browser.drain()
            assert not [e for e in errors if "favicon" not in e], errors
            outside = [url for url in asked if url.startswith("http") and "//127.0.0.1:" not in url]
            assert not outside, outside
    finally:
        server.shutdown()
        server.server_close()
