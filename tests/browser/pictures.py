"""Take the pictures of docs/pages.md: every page of the explorer, from one study of a store.

``make pictures`` runs it on the gallery, whose study ``digits`` is that of ``make demo``.
"""

import argparse
import io
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from PIL import Image
from playwright.sync_api import sync_playwright

from app.pages import PAGES
from tests.browser import chromium, served

WIDE, PHONE = 1440, 390
# Longer pages are cut off: their first pictures are what they are known by.
TALLEST = 1600
WAIT = 120_000
AT_REST = (
    "() => document.querySelector(\"[data-testid='stApp'][data-test-script-state='notRunning']\")"
    " && !document.querySelector(\"[data-testid='stSkeleton'], [data-testid='stProgress'],"
    " [data-testid='stSpinner']\")"
)
HEIGHT = "Math.max(...[...document.querySelectorAll('[data-testid=stMain]')].map(bottom))"
BOTTOM = (
    "const bottom = main => Math.max(...[...main.querySelectorAll('[data-testid=stElementContainer]"
    "')].map(e => e.getBoundingClientRect().bottom + main.scrollTop));"
)


@dataclass(frozen=True)
class Shot:
    """One picture: a page, what its address asks for, the window's width, light or dark."""

    path: str
    query: str = ""
    width: int = WIDE
    scheme: str = "light"

    @property
    def name(self) -> str:
        """Of the file: that of the page, and what is unusual about the window."""
        phone = "-phone" if self.width == PHONE else ""
        return f"{self.path}{phone}{'-dark' if self.scheme == 'dark' else ''}.png"


# Of the digits' checkpoints the gallery holds the weights of these two, for the lab.
QUERIES = {"lab": "&shallow=88&deep=660"}
SHOTS = (
    *(Shot(page.path, QUERIES.get(page.path, "")) for page in PAGES),
    Shot("consistency", width=PHONE),
    Shot("overview", scheme="dark"),
)


def settle(page: Any) -> None:
    """Wait until the page is drawn: at rest twice, two seconds apart, with what draws late."""
    for _ in range(2):
        page.wait_for_function(AT_REST, timeout=WAIT)
        page.wait_for_timeout(2000)


def take(browser: Any, address: str, study: str, shot: Shot) -> bytes:
    """Return a picture of a page, as PNG.

    In all its colours: a palette, of those that most pixels have, turns thin lines grey.
    """
    page = browser.new_page(viewport={"width": shot.width, "height": 900}, color_scheme=shot.scheme)
    path = "" if shot.path == PAGES[0].path else shot.path
    page.goto(f"{address}/{path}?study={study}{shot.query}")
    page.locator("[data-testid='stHeading']").first.wait_for(timeout=WAIT)
    settle(page)
    height = page.evaluate(f"() => {{ {BOTTOM} return {HEIGHT}; }}")
    page.set_viewport_size({"width": shot.width, "height": min(int(height) + 40, TALLEST)})
    settle(page)
    drawn = Image.open(io.BytesIO(page.screenshot())).convert("RGB")
    page.close()
    small = io.BytesIO()
    drawn.save(small, "PNG", optimize=True)
    return small.getvalue()


def main() -> None:
    """Take all pictures, or those of some pages."""
    asked = argparse.ArgumentParser(description=__doc__)
    asked.add_argument("--home", type=Path, default=Path("gallery"))
    asked.add_argument("--study", default="digits")
    asked.add_argument("--out", type=Path, default=Path("docs/pages"))
    asked.add_argument("pages", nargs="*", help="paths of pages; none: all")
    given = asked.parse_args()
    given.out.mkdir(parents=True, exist_ok=True)
    process, address = served.serve(given.home.resolve(), FEATDYN_READONLY="1")
    try:
        with sync_playwright() as playwright:
            flags = ["--no-sandbox", "--disable-gpu"]
            browser = playwright.chromium.launch(executable_path=chromium.find(), args=flags)
            for shot in SHOTS:
                if not given.pages or shot.path in given.pages:
                    picture = take(browser, address, given.study, shot)
                    (given.out / shot.name).write_bytes(picture)
                    print(f"{given.out / shot.name}: {len(picture) / 1024:.0f} KB", flush=True)
    finally:
        served.end(process)


if __name__ == "__main__":
    main()
