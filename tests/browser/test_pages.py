"""The explorer in a real browser: pictures are drawn, controls work, the URL holds the view."""

import io
import re
from pathlib import Path
from typing import Any

import pytest
from PIL import Image
from playwright.sync_api import TimeoutError as Late

pytestmark = pytest.mark.browser
WAIT = 30_000


def open_page(page: Any, address: str, heading: str) -> None:
    page.goto(address)
    page.get_by_role("heading", name=heading).first.wait_for(timeout=WAIT)


def charts(page: Any) -> Any:
    return page.locator("[data-testid='stVegaLiteChart']:visible")


def wait_for_charts(page: Any, count: int) -> None:
    charts(page).nth(count - 1).wait_for(timeout=WAIT)
    # Vega draws after the element is there.
    charts(page).nth(count - 1).locator("canvas, svg").first.wait_for(timeout=WAIT)


def colours_of(element: Any) -> set[tuple[int, int, int]]:
    picture = Image.open(io.BytesIO(element.screenshot())).convert("RGB")
    return {colour for _, colour in picture.getcolors(picture.width * picture.height)}


def finding(page: Any) -> str:
    return page.get_by_text(re.compile("^Equal epoch")).inner_text(timeout=WAIT)


def test_consistency_page_draws_both_arms_and_the_matched_comparison(
    page: Any, serve: Any, tiny_home: Path
) -> None:
    open_page(page, f"{serve(tiny_home)}/consistency", "Temporal consistency")
    wait_for_charts(page, 5)
    heatmap = charts(page).first
    heatmap.scroll_into_view_if_needed()
    page.wait_for_timeout(1000)
    # Viridis' dark end (chance) is there, and more than one flat colour.
    assert any(r < 80 and g < 30 and 60 < b < 110 for r, g, b in colours_of(heatmap))
    assert len(colours_of(heatmap)) > 20
    assert page.locator("[data-testid='stImage']").count() == 20


def test_moving_the_cut_slider_changes_picture_sentence_and_url(
    page: Any, serve: Any, tiny_home: Path
) -> None:
    open_page(page, f"{serve(tiny_home)}/consistency", "Temporal consistency")
    wait_for_charts(page, 5)
    page.wait_for_timeout(1000)
    before = charts(page).first.screenshot()
    assert "stage1.2" in finding(page)
    page.get_by_role("slider").first.press("ArrowRight")
    page.get_by_text(re.compile("^Equal epoch.*stage2.0")).wait_for(timeout=WAIT)
    page.wait_for_timeout(1500)
    assert "cut=stage2.0" in page.url
    assert "split=train" in page.url
    assert charts(page).first.screenshot() != before


def test_a_shared_link_reopens_the_view_and_back_goes_back(
    page: Any, serve: Any, tiny_home: Path
) -> None:
    open_page(
        page, f"{serve(tiny_home)}/consistency?cut=stage3.1&split=test", "Temporal consistency"
    )
    assert re.search(r"stage3\.1.*test set", finding(page))
    # Streamlit may lose a key that is pressed while the page is still being drawn.
    page.locator("[data-testid='stApp'][data-test-script-state='notRunning']").wait_for(
        timeout=WAIT
    )
    page.get_by_role("slider").first.press("ArrowLeft")
    page.get_by_text(re.compile(r"^Equal epoch.*stage3\.0")).wait_for(timeout=WAIT)
    page.go_back()
    page.get_by_text(re.compile(r"^Equal epoch.*stage3\.1")).wait_for(timeout=WAIT)


def test_a_store_with_everything_draws_each_picture_with_its_colours(
    page: Any, serve: Any, cube_home: Path
) -> None:
    open_page(page, f"{serve(cube_home)}/consistency?split=test", "Temporal consistency")
    page.get_by_role("heading", name="Beside the score").wait_for(timeout=WAIT)
    wait_for_charts(page, 13)
    page.wait_for_timeout(1500)
    forest, difference = charts(page).nth(6), charts(page).nth(7)
    for chart, is_there in (
        (charts(page).nth(4), lambda r, g, b: r > 190 and 60 < g < 130 and b < 60),
        (forest, lambda r, g, b: r < 40 and 90 < g < 140 and b > 150),
        # Both sides of the diverging scale: control better, run better.
        (difference, lambda r, g, b: 200 < r < b - 8),
        (difference, lambda r, g, b: r > 235 and b < r - 20),
    ):
        chart.scroll_into_view_if_needed()
        page.wait_for_timeout(300)
        assert any(is_there(*colour) for colour in colours_of(chart))
    # Where nothing differs: dashed, behind the forest of excesses.
    assert page.locator(".role-mark [stroke-dasharray='3,3']").count() > 0


def choose(page: Any, name: str, option: re.Pattern[str]) -> None:
    """Choose from a list. A page that is still being drawn closes it again: then once more."""
    for _ in range(4):
        page.get_by_role("combobox", name=name).click()
        found = page.get_by_role("option", name=option)
        try:
            return found.click(timeout=5000)
        except Late:
            page.keyboard.press("Escape")
    pytest.fail(f"no {option.pattern!r} in the list {name!r}")


def test_the_tabs_beside_the_score_and_the_choice_of_a_set_work(
    page: Any, serve: Any, cube_home: Path
) -> None:
    open_page(page, f"{serve(cube_home)}/consistency?split=test", "Temporal consistency")
    page.get_by_role("tab", name="Connectivity").click(timeout=WAIT)
    page.get_by_text("Height of the loss on the straight line").wait_for(timeout=WAIT)
    choose(page, "Set", re.compile("fog 2"))
    page.get_by_text(re.compile("Test set: digits, 30 images, fog 2")).wait_for(timeout=WAIT)
    assert "test_set=" in page.url


def test_runs_page_draws_curves_and_table(page: Any, serve: Any, tiny_home: Path) -> None:
    open_page(page, f"{serve(tiny_home)}/runs", "Runs")
    wait_for_charts(page, 2)
    page.wait_for_timeout(1000)
    # The blue of the first arm, give or take antialiasing.
    assert any(
        r < 30 and abs(g - 114) < 20 and b > 150 for r, g, b in colours_of(charts(page).first)
    )
    assert page.locator("[data-testid='stDataFrame']").count() >= 1


def test_an_empty_store_says_which_command_to_run(page: Any, serve: Any, tmp_path: Path) -> None:
    address = serve(tmp_path / "empty")
    for path, heading in (("", "How features move"), ("/consistency", "Temporal consistency")):
        open_page(page, address + path, heading)
        page.get_by_text("make demo").first.wait_for(timeout=WAIT)


@pytest.mark.slow
@pytest.mark.parametrize("path", ["/consistency?split=test", "/runs"])
def test_a_phone_never_scrolls_sideways_where_the_store_has_everything(
    page: Any, serve: Any, cube_home: Path, path: str
) -> None:
    page.set_viewport_size({"width": 390, "height": 844})
    open_page(page, serve(cube_home) + path, "Runs" if path == "/runs" else "Temporal consistency")
    wait_for_charts(page, 2)
    page.wait_for_timeout(1000)
    widths = "[...document.querySelectorAll('[data-testid=stMain]')].map(e => e.scrollWidth)"
    assert page.evaluate("document.documentElement.scrollWidth") <= 390
    assert max(page.evaluate(widths)) <= 390


@pytest.mark.slow
@pytest.mark.parametrize("path", ["/consistency", "/runs"])
def test_a_phone_never_scrolls_sideways(page: Any, serve: Any, tiny_home: Path, path: str) -> None:
    page.set_viewport_size({"width": 390, "height": 844})
    open_page(page, serve(tiny_home) + path, "Runs" if path == "/runs" else "Temporal consistency")
    wait_for_charts(page, 2)
    widths = "[...document.querySelectorAll('[data-testid=stMain]')].map(e => e.scrollWidth)"
    assert page.evaluate("document.documentElement.scrollWidth") <= 390
    assert max(page.evaluate(widths)) <= 390
