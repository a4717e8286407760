"""A running app and a browser page that fails the test on any console error."""

import os
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.browser import chromium, served

# Streamlit asks for these beside a sub-page's path on a direct visit, and is answered 404.
HARMLESS = ("/_stcore/health", "/_stcore/host-config")


@pytest.fixture(scope="session")
def browser() -> Iterator[Any]:
    """A headless Chromium."""
    path = chromium.find()
    if path is None:
        if os.environ.get("CI"):
            pytest.fail("CI needs a Chromium; tests/browser/chromium.py found and installed none")
        pytest.skip("no Chromium on the PATH, from Playwright, or from Debian")
    from playwright.sync_api import sync_playwright

    with sync_playwright() as playwright:
        flags = ["--no-sandbox", "--disable-background-networking", "--disable-gpu"]
        yield playwright.chromium.launch(executable_path=path, args=flags)


@pytest.fixture(scope="session")
def serve() -> Iterator[Callable[[Path], str]]:
    """Start the app on a home; returns its address. One process a home, ended with the session."""
    running: dict[Path, tuple[subprocess.Popen[bytes], str]] = {}

    def start(home: Path) -> str:
        if home not in running:
            running[home] = served.serve(home)
        return running[home][1]

    yield start
    for process, _ in running.values():
        served.end(process)


@pytest.fixture
def page(browser: Any) -> Iterator[Any]:
    """A page of 1440 x 900; errors on its console fail the test at its end."""
    page = browser.new_page(viewport={"width": 1440, "height": 900})
    errors: list[str] = []

    def hear(message: Any) -> None:
        place = (message.location or {}).get("url", "")
        if message.type == "error" and not place.endswith(HARMLESS):
            errors.append(f"{message.text} ({place})")

    page.on("console", hear)
    page.on("pageerror", lambda error: errors.append(str(error)))
    yield page
    page.close()
    assert errors == []
