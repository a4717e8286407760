"""The page on distances: full, without its analysis, and what its picture holds."""

import json
from pathlib import Path

import polars as pl
import pytest

from app import charts
from tests.app.test_views import opened, text_of
from tests.store import cube


def test_the_page_draws_a_picture_a_cut_and_says_what_it_rests_on(
    cube_home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    test = opened("divergences", cube_home, monkeypatch, study=cube.STUDY)
    assert not test.exception
    assert not test.warning
    specs = [json.loads(chart.proto.spec) for chart in test.get("vega_lite_chart")]
    assert [spec["title"]["text"] for spec in specs] == [cut for cut, _ in cube.CUTS]
    text = text_of(test)
    for words in (
        f"n = {cube.N}",
        "200 and 39 permutations",
        "its excess is a test statistic",
        "TV shown by a classifier is a lower bound",
        "BatchNorm inherit",
        "TV needed",
    ):
        assert words in text


def test_without_distances_the_page_says_what_to_write_into_the_study(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from store.results import ingest

    ingest(tmp_path, [cube.write_study(tmp_path)])
    test = opened("divergences", tmp_path, monkeypatch)
    assert not test.exception
    assert 'kind = "divergences"' in text_of(test)


def test_a_line_is_relative_to_its_own_largest_and_the_band_is_that_of_the_null() -> None:
    rows = pl.DataFrame(
        {
            "measure": ["mmd2", "mmd2", "c2st", "c2st"],
            "shallow_epoch": [1.0, 3.0, 1.0, 3.0],
            "deep_epoch": [5.0] * 4,
            "excess": [0.004, 0.001, 0.3, 0.0],
            "null_mean": [0.0, 0.0, 0.5, 0.5],
            "null_high": [0.002, 0.0002, 0.53, 0.56],
        }
    )
    spec = charts.excess_by_lag(rows, "stem").to_dict()
    drawn = next(iter(spec["datasets"].values()))
    assert [row["relative"] for row in drawn] == pytest.approx([1, 0.25, 1, 0])
    assert [row["lag"] for row in drawn] == [4, 2, 4, 2]
    assert [row["band"] for row in drawn] == pytest.approx([0.5, 0.2, 0.5, 0.2])
