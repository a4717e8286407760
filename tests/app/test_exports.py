"""What leaves a page: pictures that stand alone, data that open again, where they come from."""

import io
import json
import re
import zipfile
from pathlib import Path
from typing import Any

import altair as alt
import polars as pl
import pytest
from PIL import Image
from polars.testing import assert_frame_equal

from app import exports
from app.drawn import specification
from tests.app.test_views import opened
from tests.store import freezing

FRAME = pl.DataFrame({"step": [0, 10, 20], "accuracy": [0.1, 0.5, 0.9], "name": ["a", "b,", 'c"']})
RECORD = {"study": "tiny", "run_ids": ["a" * 12], "store_revision": 3}
CHARTS = [
    *[("overview", 2), ("consistency", 14), ("lab", 2), ("labels", 2), ("sensitivity", 1)],
    *[("corruption", 3), ("probes", 3), ("trajectories", 1), ("divergences", 2)],
    *[("memory", 3), ("noise", 1), ("runs", 2)],
]
# The curve on which checkpoints are clicked is a control.
CONTROLS = {"lab": 1}


def files(frame: pl.DataFrame = FRAME) -> exports.Files:
    chart = alt.Chart(frame).mark_line().encode(x="step:Q", y="accuracy:Q")
    return exports.Files(
        "a-line", "A line", chart.to_dict(), frame, "What it shows.\nn = 3.", RECORD
    )


def test_the_name_of_a_file_is_of_ascii_letters_and_its_own() -> None:
    assert exports.slug("A(s,t) of seed 0") == "a-s-t-of-seed-0"
    foreign = [
        exports.slug(name) for name in ("真标签, seed 0", "乱标签, seed 0", "真标签", "乱标签")
    ]
    assert len(set(foreign)) == 4
    assert all(re.fullmatch(r"(seed-0|figure)-[0-9a-f]{6}", name) for name in foreign)


def test_the_picture_has_its_caption_and_the_line() -> None:
    drawn = files().svg().decode()
    assert drawn.startswith("<svg")
    for words in ("A line", "What it shows.", "n = 3."):
        assert words in drawn
    assert 'aria-roledescription="line mark"' in drawn


def test_the_png_is_twice_as_wide_as_its_chart_and_not_blank() -> None:
    picture = Image.open(io.BytesIO(files().png())).convert("RGB")
    assert picture.width > 2 * exports.WIDTH
    assert len(picture.getcolors(picture.width * picture.height) or []) > 10


def test_data_open_again_as_they_were() -> None:
    assert_frame_equal(pl.read_csv(io.BytesIO(files().csv())), FRAME)
    assert_frame_equal(pl.read_parquet(io.BytesIO(files().parquet())), FRAME)


def test_parquet_holds_its_provenance() -> None:
    metadata = pl.read_parquet_metadata(io.BytesIO(files().parquet()))
    assert json.loads(metadata["featdyn"]) == RECORD


def test_lists_become_json_in_csv() -> None:
    frame = pl.DataFrame({"controls": [["twin"], []]})
    assert pl.read_csv(io.BytesIO(exports.csv(frame)))["controls"].to_list() == ['["twin"]', "[]"]


def test_the_zip_holds_picture_data_and_provenance() -> None:
    archive = zipfile.ZipFile(io.BytesIO(files().zip()))
    assert sorted(archive.namelist()) == [
        "a-line.csv",
        "a-line.parquet",
        "a-line.png",
        "a-line.svg",
        "provenance.json",
    ]
    assert json.loads(archive.read("provenance.json")) == RECORD


def test_nothing_is_drawn_before_it_is_asked_for(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(exports, "captioned", lambda *_: pytest.fail("drawn"))
    assert files().csv()


@pytest.mark.parametrize(("path", "least"), CHARTS)
def test_every_picture_of_a_page_can_be_taken_along(
    path: str, least: int, cube_home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert_every_picture_is_taken(path, least, cube_home, "by-hand", monkeypatch)


def test_every_picture_of_freezing_and_replay_can_be_taken_along(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    freezing.write(tmp_path)
    assert_every_picture_is_taken("freezing", 3, tmp_path, freezing.STUDY, monkeypatch)


def assert_every_picture_is_taken(
    path: str, least: int, home: Path, study: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    from app.views import figure

    found: list[tuple[Any, ...]] = []
    monkeypatch.setattr(figure, "_behind", lambda *drawn: found.append(drawn))
    test = opened(path, home, monkeypatch, study=study, split="test")
    assert not test.exception
    drawn = len(test.get("vega_lite_chart")) - CONTROLS.get(path, 0)
    assert len(found) == drawn >= least
    assert len({exports.slug(name) for _, _, _, name, _, _ in found}) == len(found)
    for picture, frame, about, name, _, provenance in found:
        assert about.endswith(".")
        assert len(provenance.run_ids) > 0
        assert "n = " in provenance.basis or path == "runs"
        taken = exports.Files(exports.slug(name), name, specification(picture()), frame, about, {})
        assert b"<svg" in taken.svg()
        assert len(pl.read_csv(io.BytesIO(taken.csv()))) == len(frame) > 0
