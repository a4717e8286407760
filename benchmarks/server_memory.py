"""Whether the server of the app keeps memory, over many interactions of one visit."""

from playwright.sync_api import sync_playwright

from benchmarks.big_store import Size, cut_slider, made, move, served
from benchmarks.harness import write
from benchmarks.memory import megabytes

GOAL_GROWTH = 1.05


def measure(
    interactions: int = 1000, warm: int = 200, size: Size | None = None
) -> dict[str, object]:
    """Move the cut ``interactions`` times in one visit, over all of its positions and back.

    ratio: the growth allowed from the ``warm``-th interaction on (caches have filled by then) over
    the growth measured.
    """
    from tests.browser import chromium

    size = size or Size(runs=20)
    seen: dict[int, int] = {}
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
                seen[turn] = megabytes(process)
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
            "megabytes": seen,
            "growth": round(growth, 3),
            "n": 1,
        },
    )
