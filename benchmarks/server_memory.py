"""Whether the server of the app keeps memory: its resident set over many interactions."""

from pathlib import Path

from playwright.sync_api import sync_playwright

from benchmarks.big_store import Size, cut_slider, made, move, served
from benchmarks.harness import write

GOAL_GROWTH = 1.05
MB = 1e6


def resident_bytes(process: int) -> int:
    """Return the resident set of a process (Linux)."""
    lines = Path(f"/proc/{process}/status").read_text().splitlines()
    return 1024 * int(next(line.split()[1] for line in lines if line.startswith("VmRSS:")))


def measure(
    interactions: int = 1000, warm: int = 200, size: Size | None = None
) -> dict[str, object]:
    """Move the cut ``interactions`` times in one visit, over all of its positions and back.

    ratio: the growth allowed from the ``warm``-th interaction on (caches have filled by then) over
    the growth measured.
    """
    from tests.browser import chromium

    size = size or Size(runs=20)
    seen: dict[int, float] = {}
    with (
        made(size) as home,
        served(home) as (address, process),
        sync_playwright() as playwright,
    ):
        browser = playwright.chromium.launch(
            executable_path=chromium.find(), args=["--no-sandbox", "--disable-gpu"]
        )
        page = browser.new_page(viewport={"width": 1440, "height": 900})
        slider = cut_slider(page, address)
        slider.press("Home")
        page.wait_for_timeout(2000)
        for turn in range(interactions + 1):
            if turn % 100 == 0:
                seen[turn] = round(resident_bytes(process) / MB, 1)
            there = turn // (size.cuts - 1) % 2 == 0
            move(page, slider, "ArrowRight" if there else "ArrowLeft")
        browser.close()
    growth = seen[interactions] / seen[warm]
    return write(
        "server_memory",
        {
            "ratio": round(GOAL_GROWTH / growth, 3),
            "goal": 1.0,
            "reference": f"{GOAL_GROWTH:g} times the memory after {warm} interactions",
            "workload": {"interactions": interactions, "runs": size.runs, "rows": size.rows},
            "resident_megabytes": seen,
            "growth": round(growth, 3),
            "n": 1,
        },
    )
