"""A running app and a browser page that fails the test on any console error."""

import os
import socket
import subprocess
import sys
import time
import urllib.request
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.browser import chromium

ROOT = Path(__file__).parents[2]
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
    processes: dict[Path, tuple[subprocess.Popen[bytes], str]] = {}

    def start(home: Path) -> str:
        if home in processes:
            return processes[home][1]
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            port = free.getsockname()[1]
        command = [sys.executable, "-m", "streamlit", "run", "app/main.py"]
        command += ["--server.port", str(port), "--server.address", "127.0.0.1"]
        process = subprocess.Popen(
            command,
            cwd=ROOT,
            env={**os.environ, "FEATDYN_HOME": str(home)},
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )
        address = f"http://127.0.0.1:{port}"
        processes[home] = (process, address)
        deadline = time.monotonic() + 180
        while True:
            try:
                urllib.request.urlopen(f"{address}/_stcore/health", timeout=2).close()
                return address
            except OSError:
                assert time.monotonic() < deadline, "the app did not start within 180 s"
                time.sleep(0.2)

    yield start
    for process, _ in processes.values():
        process.terminate()
        process.wait(timeout=20)


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
