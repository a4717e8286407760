"""Find a Chromium: the one on the PATH, Playwright's own, or Debian's package when root.

Run as a program (``make test`` does), it installs one where it can; in CI it fails without one.
"""

import os
import shutil
import subprocess
import sys
from pathlib import Path

NAMES = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable")


def find() -> str | None:
    """Return the path of a Chromium, or None."""
    for name in NAMES:
        path = shutil.which(name)
        if path:
            return path
    from playwright.sync_api import sync_playwright

    with sync_playwright() as playwright:
        own = playwright.chromium.executable_path
    return own if Path(own).exists() else None


def _run(*command: str) -> None:
    quiet = subprocess.DEVNULL
    subprocess.run(command, stdout=quiet, stderr=quiet, check=False)


def _install() -> None:
    _run(sys.executable, "-m", "playwright", "install", "chromium")
    if find() or not (shutil.which("apt-get") and os.geteuid() == 0):
        return
    _run("apt-get", "update")
    _run("apt-get", "install", "--yes", "chromium")


if __name__ == "__main__":
    if not find():
        _install()
    if not find():
        print("no Chromium here and none could be installed: browser tests are skipped")
        sys.exit(1 if os.environ.get("CI") else 0)
