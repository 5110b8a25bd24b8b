"""Headless Chromium that records what pages say and ask for."""

from __future__ import annotations

import base64
import json
import shutil
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from selenium import webdriver
from selenium.webdriver.chrome.service import Service
from selenium.webdriver.support.ui import WebDriverWait

FLAGS = (
    "--headless=new", "--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage", "--enable-unsafe-swiftshader",
    "--disable-background-networking", "--disable-component-update", "--disable-sync", "--no-first-run",
    "--hide-scrollbars", "--force-prefers-reduced-motion",
)  # fmt: skip
DESKTOP = (1280, 900)
PHONE = (390, 844)

_READY = """
const waiting = [...document.querySelectorAll('.book-plotly, .book-chemiscope')].filter(e => !e.dataset.drawn);
const math = document.querySelectorAll('.math').length && !document.querySelector('mjx-container');
return document.readyState === 'complete' && waiting.length === 0 && !math;
"""


class Browser:
    """One Chromium window; see `open_browser`."""

    def __init__(self, driver: webdriver.Chrome) -> None:
        self.driver = driver

    def open(self, page: Path, *, theme: str = "light", size: tuple[int, int] = DESKTOP) -> None:
        """Load a page in a theme and size, and wait until its figures and equations are drawn."""
        self._size(*size)
        self.driver.execute_cdp_cmd(
            "Emulation.setEmulatedMedia", {"features": [{"name": "prefers-color-scheme", "value": theme}]}
        )
        self.drain()
        self.driver.get(page.resolve().as_uri())
        self.wait(_READY)

    def wait(self, script: str, *, seconds: float = 60) -> None:
        """Wait until a script's ``return`` is true."""
        WebDriverWait(self.driver, seconds).until(lambda driver: driver.execute_script(script))

    def script(self, text: str) -> Any:
        """The value of a script's ``return``."""
        return self.driver.execute_script(text)

    def drain(self) -> tuple[list[str], list[str]]:
        """Console errors, and addresses asked for, since the last call."""
        errors = [entry["message"] for entry in self.driver.get_log("browser") if entry["level"] == "SEVERE"]
        events = [json.loads(entry["message"])["message"] for entry in self.driver.get_log("performance")]
        asked = [e["params"]["request"]["url"] for e in events if e["method"] == "Network.requestWillBeSent"]
        return errors, asked

    def screenshot(self, path: Path, *, tallest_px: int = 14000) -> None:
        """A picture of the page, at most `tallest_px` high."""
        width, height = self.script("return [innerWidth, document.documentElement.scrollHeight]")
        self._size(width, min(height, tallest_px))
        time.sleep(0.5)  # figures follow the new size
        shot = self.driver.execute_cdp_cmd("Page.captureScreenshot", {"format": "png"})
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(base64.b64decode(shot["data"]))

    def _size(self, width: int, height: int) -> None:
        metrics = {"width": width, "height": height, "deviceScaleFactor": 1, "mobile": width == PHONE[0]}
        self.driver.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", metrics)


@contextmanager
def open_browser(profile: Path) -> Iterator[Browser]:
    """A browser with its data in the folder `profile`; closed at the end."""
    options = webdriver.ChromeOptions()
    found = [
        path for name in ("chromium", "chromium-browser", "google-chrome") if (path := shutil.which(name))
    ]
    options.binary_location = found[0]
    for flag in (*FLAGS, f"--user-data-dir={profile}"):
        options.add_argument(flag)
    options.set_capability("goog:loggingPrefs", {"browser": "ALL", "performance": "ALL"})
    driver = webdriver.Chrome(options=options, service=Service(shutil.which("chromedriver")))
    try:
        yield Browser(driver)
    finally:
        driver.quit()
