"""Open every page of a running explorer in a browser: ``python visit.py FOLDER [ADDRESS]``.

Prints, for each page, the seconds until its script has ended, and fails on an error
box or an error in the browser's console. A screenshot of each goes into FOLDER.
"""

import json
import sys
import time
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).parents[2]))

from playwright.sync_api import sync_playwright

from tests.browser import chromium

PATHS = (
    "consistency",
    "corruption",
    "freezing",
    "probes",
    "trajectories",
    "divergences",
    "noise",
    "runs",
)
PATIENCE = 300_000
# The script of the page has come to its end.
ENDED = "[data-testid='stApp'][data-test-script-state='notRunning']"
# Streamlit asks for these beside a sub-page's path on a direct visit, and is answered 404.
HARMLESS = ("/_stcore/health", "/_stcore/host-config")


def visit(page: Any, address: str, path: str, folder: Path) -> float:
    """Open one page; return the seconds until it stands."""
    started = time.monotonic()
    page.goto(f"{address}/{'' if path == PATHS[0] else path}")
    page.locator("[data-testid='stHeading']").first.wait_for(timeout=PATIENCE)
    page.locator(ENDED).wait_for(timeout=PATIENCE)
    seconds = round(time.monotonic() - started, 2)
    page.screenshot(path=str(folder / f"{path}.png"))
    errors = page.locator("[data-testid='stException'], [data-testid='stAlertContentError']")
    if errors.count():
        raise SystemExit(f"{path}: {errors.first.inner_text()}")
    return seconds


def main(folder: Path, address: str) -> None:
    """Visit all pages and print what they took."""
    folder.mkdir(parents=True, exist_ok=True)
    heard: list[str] = []

    def hear(message: Any) -> None:
        place = (message.location or {}).get("url", "")
        if message.type == "error" and not place.endswith(HARMLESS):
            heard.append(f"{message.text} ({place})")

    with sync_playwright() as playwright:
        flags = ["--no-sandbox", "--disable-background-networking", "--disable-gpu"]
        browser = playwright.chromium.launch(executable_path=chromium.find(), args=flags)
        page = browser.new_page(viewport={"width": 1440, "height": 900})
        page.on("console", hear)
        taken = {path: visit(page, address, path, folder) for path in PATHS}
        browser.close()
    if heard:
        raise SystemExit(f"errors in the browser's console: {heard}")
    print(json.dumps(taken))


if __name__ == "__main__":
    main(Path(sys.argv[1]), sys.argv[2] if len(sys.argv) > 2 else "http://127.0.0.1:8501")
