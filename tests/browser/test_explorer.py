"""Journeys: from the overview to a cell, a shared link, downloads, a phone in the dark, axe."""

import io
import json
import zipfile
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import polars as pl
import pytest
from PIL import Image

from app.pages import PAGES
from tests.browser.test_pages import WAIT, open_page, wait_for_charts

pytestmark = pytest.mark.browser
GALLERY = Path(__file__).parents[2] / "gallery"
# Streamlit's own markup, which no page can change.
NOT_OURS = ("list", "listitem", "scrollable-region-focusable")
SETTLED = "[data-testid='stApp'][data-test-script-state='notRunning']"


def settle(page: Any) -> None:
    page.locator(SETTLED).wait_for(timeout=WAIT)
    page.wait_for_timeout(500)


def serious(page: Any) -> list[tuple[str, list[str]]]:
    """What axe finds serious or worse, with the first places of each."""
    from axe_playwright_python.sync_playwright import Axe

    return [
        (each["id"], [node["html"][:200] for node in each["nodes"]][:3])
        for each in Axe().run(page).response["violations"]
        if each["impact"] in ("serious", "critical") and each["id"] not in NOT_OURS
    ]


def test_from_the_overview_to_a_cell_and_back(page: Any, serve: Any, cube_home: Path) -> None:
    open_page(page, f"{serve(cube_home)}/?study=by-hand", "How features move")
    # Both arms.
    wait_for_charts(page, 2)
    page.get_by_text("Every cut, metric").click(timeout=WAIT)
    page.get_by_role("heading", name="Temporal consistency").wait_for(timeout=WAIT)
    assert "/consistency?study=by-hand" in page.url
    wait_for_charts(page, 5)
    settle(page)
    # A click in the upper right corner of the first matrix: late shallow part, last deep part.
    plot = page.locator("[data-testid='stVegaLiteChart']").first.locator("canvas, svg").first
    box = plot.bounding_box()
    plot.click(position={"x": box["width"] * 0.85, "y": box["height"] * 0.25})
    page.wait_for_url("**cell_run=**", timeout=WAIT)
    settle(page)
    assert "shallow=" in page.url
    assert "deep=40" in page.url
    chosen = page.url
    page.get_by_text("Shallow part of step").first.wait_for(timeout=WAIT)
    page.go_back()
    page.wait_for_url(lambda url: url != chosen, timeout=WAIT)
    page.get_by_role("heading", name="Temporal consistency").wait_for(timeout=WAIT)


def test_a_matrix_of_many_cells_on_a_canvas_tells_and_opens_its_cells(
    page: Any, serve: Any
) -> None:
    open_page(page, f"{serve(GALLERY)}/consistency?study=digits", "Temporal consistency")
    wait_for_charts(page, 5)
    settle(page)
    plot = page.locator("[data-testid='stVegaLiteChart']").first.locator("canvas")
    plot.wait_for(timeout=WAIT)
    box = plot.bounding_box()
    place = {"x": box["width"] * 0.6, "y": box["height"] * 0.4}
    plot.hover(position=place)
    page.locator("#vg-tooltip-element.visible").get_by_text("accuracy").first.wait_for(timeout=WAIT)
    assert serious(page) == []
    plot.click(position=place)
    page.wait_for_url("**cell_run=**", timeout=WAIT)
    page.get_by_text("Shallow part of step").first.wait_for(timeout=WAIT)


def test_a_link_to_a_cell_reopens_it(page: Any, serve: Any, cube_home: Path) -> None:
    view = "study=by-hand&split=test&cut=stem&cell_run=bbbbbbbbbbbb&shallow=10&deep=40"
    open_page(page, f"{serve(cube_home)}/consistency?{view}", "Temporal consistency")
    page.get_by_text("Shallow part of step 10 under the deep part of step 40").wait_for(
        timeout=WAIT
    )


def test_each_file_of_a_figure_opens_again(page: Any, serve: Any, cube_home: Path) -> None:
    open_page(page, f"{serve(cube_home)}/runs?study=by-hand", "Runs")
    wait_for_charts(page, 2)
    settle(page)
    page.get_by_role("button", name="What am I looking at?").first.click()
    found = {}
    for label in ("SVG", "PNG", "CSV", "PARQUET", "all, as zip"):
        button = page.get_by_role("button", name=label, exact=True)
        button.wait_for(timeout=WAIT)
        with page.expect_download(timeout=WAIT) as arriving:
            button.click()
        path = arriving.value.path()
        found[arriving.value.suggested_filename.rsplit(".", 1)[1]] = Path(path).read_bytes()
    assert ElementTree.fromstring(found["svg"]).tag.endswith("}svg")
    assert Image.open(io.BytesIO(found["png"])).width > 500
    assert len(pl.read_csv(io.BytesIO(found["csv"]))) == 12
    assert len(pl.read_parquet(io.BytesIO(found["parquet"]))) == 12
    archive = zipfile.ZipFile(io.BytesIO(found["zip"]))
    assert archive.testzip() is None
    endings = {name.rsplit(".", 1)[1] for name in archive.namelist()}
    assert endings == {"svg", "png", "csv", "parquet", "json"}
    record = json.loads(archive.read("provenance.json"))
    assert record["study"] == "by-hand"
    assert record["run_ids"][0] == "a" * 12
    assert "/runs?" in record["url"]
    assert "study=by-hand" in record["url"]


# Each takes seconds: the others are among the slow tests.
LOOKED_AT = ("overview", "consistency", "lab", "data")


@pytest.mark.parametrize(
    "path",
    [
        pytest.param(page.path, marks=[] if page.path in LOOKED_AT else [pytest.mark.slow])
        for page in PAGES
    ],
)
def test_a_page_in_the_dark_on_a_phone_fits_and_has_no_serious_finding_of_axe(
    page: Any, serve: Any, cube_home: Path, path: str
) -> None:
    page.set_viewport_size({"width": 390, "height": 844})
    page.emulate_media(color_scheme="dark")
    place = "" if path == PAGES[0].path else path
    page.goto(f"{serve(cube_home)}/{place}?study=by-hand")
    page.locator("[data-testid='stHeading']").first.wait_for(timeout=WAIT)
    settle(page)
    widths = "[...document.querySelectorAll('[data-testid=stMain]')].map(e => e.scrollWidth)"
    assert page.evaluate("document.documentElement.scrollWidth") <= 390
    assert max(page.evaluate(widths)) <= 390
    assert serious(page) == []


def test_the_first_control_is_reached_by_keys(page: Any, serve: Any, cube_home: Path) -> None:
    open_page(page, f"{serve(cube_home)}/runs?study=by-hand", "Runs")
    settle(page)
    reached = []
    for _ in range(25):
        page.keyboard.press("Tab")
        reached.append(
            page.evaluate(
                "(e => e.getAttribute('aria-label') || e.textContent)(document.activeElement)"
            )
        )
    assert any("Study" in (each or "") for each in reached)
    assert any("What am I looking at?" in (each or "") for each in reached)
