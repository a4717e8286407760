"""From the overview to a cell, by its link into the Splice lab, and there to another checkpoint."""

import re
from pathlib import Path
from typing import Any

import pytest

from tests.browser.test_pages import WAIT, charts, open_page

pytestmark = pytest.mark.browser


def test_a_click_on_a_cell_opens_it_and_a_click_on_the_curve_moves_on(
    page: Any, serve: Any, tiny_home: Path
) -> None:
    open_page(page, serve(tiny_home), "How features move")
    page.get_by_text("Every cut, metric").click(timeout=2 * WAIT)
    page.get_by_role("heading", name="Temporal consistency").wait_for(timeout=WAIT)
    charts(page).first.locator("canvas, svg").first.wait_for(timeout=3 * WAIT)
    page.wait_for_timeout(1000)
    box = charts(page).first.locator("canvas, svg").first.bounding_box()
    page.mouse.click(box["x"] + 0.6 * box["width"], box["y"] + 0.4 * box["height"])
    page.wait_for_url(re.compile(r"[?&]cell_run="), timeout=WAIT)
    page.get_by_role("link", name="Evaluate this splice live").click(timeout=WAIT)
    page.get_by_role("heading", name="Splice lab").wait_for(timeout=WAIT)
    page.get_by_text(re.compile("The store has the same: ")).wait_for(timeout=2 * WAIT)
    assert "/lab?" in page.url
    dot = charts(page).first.locator("[aria-label='deep part of step 4']")
    dot.click(timeout=WAIT)
    page.wait_for_url(re.compile(r"[?&]deep=4(&|$)"), timeout=WAIT)
    page.get_by_text(re.compile("deep part of epoch 1.3 of")).wait_for(timeout=WAIT)
    page.get_by_text(re.compile("The store has the same: ")).wait_for(timeout=2 * WAIT)
