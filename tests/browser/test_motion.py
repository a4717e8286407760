"""Trajectories play inside their chart: the clock is the browser's, no server turns it."""

from pathlib import Path
from typing import Any

import pytest

from tests.browser.test_pages import WAIT, open_page

pytestmark = pytest.mark.browser


def test_play_begins_anew_and_goes_on_until_it_is_stopped(
    page: Any, serve: Any, cube_home: Path
) -> None:
    open_page(page, f"{serve(cube_home)}/trajectories", "Trajectories")
    slider = page.locator("input[type=range][name=at]")
    slider.wait_for(timeout=WAIT)
    assert slider.input_value() == "3"
    # By hand: a step back is drawn anew, and no server is asked.
    picture = page.locator("[data-testid='stVegaLiteChart'] canvas").first
    last = picture.screenshot()
    slider.press("ArrowLeft")
    assert slider.input_value() == "2"
    page.wait_for_timeout(500)
    assert picture.screenshot() != last
    slider.press("ArrowRight")
    play = page.locator("input[type=checkbox][name=playing]")
    play.check()
    for checkpoint in "01":
        page.wait_for_function(
            "wanted => document.querySelector('input[name=at]').value == wanted",
            arg=checkpoint,
            timeout=WAIT,
        )
    play.uncheck()
    page.wait_for_timeout(500)
    stopped = slider.input_value()
    page.wait_for_timeout(2000)
    assert slider.input_value() == stopped
