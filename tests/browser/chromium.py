"""A real Chromium without a window, driven through ChromeDriver."""

from __future__ import annotations

import json
import shutil
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

from selenium.webdriver import Chrome, ChromeOptions, ChromeService
from selenium.webdriver.common.by import By
from selenium.webdriver.remote.webelement import WebElement

SKIP = (
    None
    if shutil.which("chromium") and shutil.which("chromedriver")
    else "no Chromium here: apt-get install chromium chromium-driver"
)
"""Why tests in a browser are skipped, or None."""

PHONE, DESK = (390, 844), (1280, 900)
"""Widths and heights of what the page is looked at with."""

_FLAGS = (
    "--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-dev-shm-usage",
    "--disable-background-networking", "--disable-component-update", "--disable-sync", "--disable-default-apps",
    "--disable-extensions", "--hide-scrollbars", "--no-default-browser-check",
)  # fmt: skip


class Page:
    """A page that a browser shows."""

    def __init__(self, driver: Chrome) -> None:
        self.driver = driver

    def open(self, url: str) -> None:
        """Load it anew; what the browser noted of the last one is thrown away."""
        self.driver.get("about:blank")
        self.requests()
        self.driver.get_log("browser")
        self.driver.get(url)

    def size(self, width: int, height: int, ratio: float = 1.0) -> None:
        """Give the window another size, as a phone has."""
        metrics = {"width": width, "height": height, "deviceScaleFactor": ratio, "mobile": width < 600}
        self.driver.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", metrics)

    def prefer(self, **features: str) -> None:
        """Have the user prefer something: ``color_scheme="dark"``."""
        listed = [{"name": f"prefers-{name.replace('_', '-')}", "value": value} for name, value in features.items()]
        self.driver.execute_cdp_cmd("Emulation.setEmulatedMedia", {"features": listed})

    def run(self, script: str, *arguments: Any) -> Any:
        """Run a script in the page, and return what it returns."""
        return self.driver.execute_script(script, *arguments)

    def find(self, selector: str) -> WebElement:
        """Return the first element of a selector."""
        return self.driver.find_element(By.CSS_SELECTOR, selector)

    def text(self, selector: str) -> str:
        """Return the text of it, whether it can be seen or not."""
        return str(self.run("return document.querySelector(arguments[0]).textContent", selector))

    def rows(self, table: str) -> list[list[str]]:
        """Return the text of each cell of a table's body."""
        rows = self.run(
            "return [...document.querySelectorAll(arguments[0])].map(row => row.innerText)", f"{table} tbody tr"
        )
        return [str(row).split("\t") for row in rows]

    def seen(self, selector: str) -> bool:
        """Whether it is there and can be seen."""
        return any(found.is_displayed() for found in self.driver.find_elements(By.CSS_SELECTOR, selector))

    def type(self, *keys: str) -> None:
        """Press keys, wherever the focus is."""
        self.driver.switch_to.active_element.send_keys(*keys)

    @property
    def focused(self) -> str:
        """The id of what has the focus, else its text."""
        return str(self.run("const on = document.activeElement; return on.id || on.textContent"))

    def wait(self, true: Callable[[], object], seconds: float = 120.0) -> None:
        """Wait until something is true."""
        ends = time.monotonic() + seconds
        while not true():
            if time.monotonic() > ends:
                raise AssertionError(f"not true after {seconds} s; the page says {self.text('main')[:2000]!r}")
            time.sleep(0.05)

    def errors(self) -> list[str]:
        """Return what the console was told since the last time."""
        return [str(entry["message"]) for entry in self.driver.get_log("browser")]

    def requests(self) -> list[str]:
        """Return every address that was asked for since the last time."""
        asked = []
        for entry in self.driver.get_log("performance"):
            message = json.loads(entry["message"])["message"]
            if message["method"] in ("Network.requestWillBeSent", "Network.webSocketCreated"):
                asked.append(message["params"].get("request", message["params"])["url"])
        return asked


@contextmanager
def browser() -> Iterator[Page]:
    """Run a browser with a profile of its own, and take it down again."""
    profile = tempfile.mkdtemp(prefix="heimdall-chromium-")
    options = ChromeOptions()
    options.binary_location = shutil.which("chromium") or ""
    for flag in (*_FLAGS, f"--user-data-dir={profile}"):
        options.add_argument(flag)
    options.set_capability("goog:loggingPrefs", {"performance": "ALL", "browser": "ALL"})
    driver = Chrome(options, ChromeService(shutil.which("chromedriver")))
    try:
        page = Page(driver)
        page.size(*DESK)
        yield page
    finally:
        driver.quit()
        shutil.rmtree(profile, ignore_errors=True)
