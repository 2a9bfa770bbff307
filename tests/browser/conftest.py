"""A real browser without a window. Where there is none, the tests say so; in CI that is a failure."""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

BROWSERS, DRIVERS = ("chromium", "chromium-browser", "google-chrome"), ("chromedriver", "chromium-driver")
ARGUMENTS = (
    *("--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run"),
    *("--disable-background-networking", "--disable-component-update", "--disable-sync", "--disable-dev-shm-usage"),
)
ALLOWED = ("file:", "data:", "blob:", "about:", "chrome:", "chrome-error:")  # schemes that leave the machine in peace


def _found(names: tuple[str, ...]) -> str:
    return next(filter(None, map(shutil.which, names)), "")


class Browser:
    """A page in Chromium, and what it complained of and asked for."""

    def __init__(self, driver: Any) -> None:
        self.driver = driver
        self.complaints: list[str] = []
        self.requests: list[str] = []

    def open(self, page: Path) -> None:
        self.driver.get(page.absolute().as_uri())

    def run(self, script: str, *arguments: Any) -> Any:
        return self.driver.execute_script(script, *arguments)

    def find(self, selector: str) -> Any:
        return self.driver.find_element("css selector", selector)

    def all(self, selector: str) -> list[Any]:
        return self.driver.find_elements("css selector", selector)

    def text(self, selector: str) -> str:
        return self.run("return document.querySelector(arguments[0]).textContent", selector)

    def press(self, selector: str, *keys: str) -> None:
        self.find(selector).send_keys(*keys)

    def command(self, name: str, **parameters: Any) -> Any:
        return self.driver.execute_cdp_cmd(name, parameters)

    def size(self, width: int, height: int = 900) -> None:
        self.command(
            "Emulation.setDeviceMetricsOverride", width=width, height=height, deviceScaleFactor=1, mobile=False
        )

    def dark(self, is_dark: bool) -> None:
        scheme = {"name": "prefers-color-scheme", "value": "dark" if is_dark else "light"}
        self.command("Emulation.setEmulatedMedia", features=[scheme])

    def scripts(self, on: bool) -> None:
        self.command("Emulation.setScriptExecutionDisabled", value=not on)

    def collect(self) -> None:
        """Complaints on the console and addresses asked for since the last time."""
        self.complaints += [entry["message"] for entry in self.driver.get_log("browser")]
        events = [json.loads(entry["message"])["message"] for entry in self.driver.get_log("performance")]
        self.requests += [
            event["params"]["request"]["url"] for event in events if event["method"] == "Network.requestWillBeSent"
        ]

    def assert_quiet(self) -> None:
        self.collect()
        assert self.complaints == []
        assert [address for address in self.requests if not address.startswith(ALLOWED)] == []


@pytest.fixture(scope="session")
def _driver(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Any]:
    browser, driver = _found(BROWSERS), _found(DRIVERS)
    if not (browser and driver):
        message = "no Chromium with its driver on the path: 'make test' brings them"
        pytest.fail(message) if os.environ.get("CI") else pytest.skip(message)
    from selenium import webdriver
    from selenium.webdriver.chrome.service import Service

    options = webdriver.ChromeOptions()
    options.binary_location = browser
    for argument in (*ARGUMENTS, f"--user-data-dir={tmp_path_factory.mktemp('profile')}"):
        options.add_argument(argument)
    options.set_capability("goog:loggingPrefs", {"browser": "ALL", "performance": "ALL"})
    started = webdriver.Chrome(options=options, service=Service(driver))
    yield started
    started.quit()


@pytest.fixture
def browser(_driver: Any) -> Iterator[Browser]:
    """Wide, light and with scripts; after the test nothing must have been complained of or asked for."""
    opened = Browser(_driver)
    opened.collect()
    opened.complaints, opened.requests = [], []
    opened.scripts(True)
    opened.dark(False)
    opened.size(1400)
    yield opened
    opened.scripts(True)
    opened.assert_quiet()
    _driver.get("about:blank")
