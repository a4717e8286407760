"""Open every page of a running explorer in a browser: ``python visit.py FOLDER [ADDRESS]``.

Prints, in one line, the seconds until each page stands with its charts and what the Splice lab made
of its splice, and fails on an error box or an error in the browser's console. A screenshot of each
goes into FOLDER. The last page stays open until standard input ends.
"""

import json
import re
import sys
import time
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).parents[2]))

from playwright.sync_api import sync_playwright

from app.pages import PAGES
from tests.browser import chromium

PATHS = [page.path for page in PAGES]
# What the lab says of a splice that was computed, and of one that can't be.
OUTCOMES = re.compile(r"Computed on \S+ in [\d.e-]+ s|nothing is computed: this is the stored cell")
PATIENCE = 300_000
# The script of the page has come to its end.
ENDED = "[data-testid='stApp'][data-test-script-state='notRunning']"
# Stands where the browser has still to load what draws a chart.
UNDRAWN = "[data-testid='stSkeleton']"
# Streamlit asks for these beside a sub-page's path on a direct visit, and is answered 404.
HARMLESS = ("/_stcore/health", "/_stcore/host-config")


def visit(page: Any, address: str, path: str, folder: Path) -> float:
    """Open one page; return the seconds until it stands."""
    started = time.monotonic()
    page.goto(f"{address}/{'' if path == PATHS[0] else path}")
    page.locator("[data-testid='stHeading']").first.wait_for(timeout=PATIENCE)
    page.locator(ENDED).wait_for(timeout=PATIENCE)
    page.wait_for_function(f'!document.querySelector("{UNDRAWN}")', timeout=PATIENCE)
    seconds = round(time.monotonic() - started, 2)
    if path == "lab":
        page.get_by_text(OUTCOMES).wait_for(timeout=PATIENCE)
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
        taken = {path: visit(page, address, path, folder) for path in PATHS if path != "lab"}
        taken["lab"] = visit(page, address, "lab", folder)
        said = OUTCOMES.search(page.get_by_text(OUTCOMES).inner_text())
        assert said is not None
        if heard:
            raise SystemExit(f"errors in the browser's console: {heard}")
        print(json.dumps({"seconds": taken, "lab": said.group()}), flush=True)
        sys.stdin.read()
        browser.close()


if __name__ == "__main__":
    main(Path(sys.argv[1]), sys.argv[2] if len(sys.argv) > 2 else "http://127.0.0.1:8501")
