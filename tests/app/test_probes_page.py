"""The page of probes, on the study made up by hand and on one without probes."""

import json
from pathlib import Path

import polars as pl
import pytest

from app import charts
from store import queries
from store.connection import reading
from store.results import ingest
from tests.app.test_views import opened, text_of
from tests.store import cube


def titles(test: object) -> list[str]:
    specs = [json.loads(chart.proto.spec) for chart in test.get("vega_lite_chart")]  # type: ignore[attr-defined]
    return [spec["title"]["text"] for spec in specs]


def test_the_page_shows_depth_time_and_the_splice_with_n_and_the_null(
    cube_home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    test = opened("probes", cube_home, monkeypatch)
    assert not test.exception
    assert not test.warning
    assert titles(test) == [
        "Accuracy of a linear probe along depth",
        "Depth against time",
        "Does the splice only restate the probe?",
    ]
    text = text_of(test)
    for words in ("n = 30", "100 training", "BatchNorm `inherit`", "95 % over examples", "Null"):
        assert words in text
    assert "not independent" in text
    agreement = next(each.value for each in test.dataframe if "spearman" in each.value.columns)
    assert agreement["checkpoints"].tolist() == [3, 3]


def test_the_link_chooses_run_and_set(cube_home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    test = opened("probes", cube_home, monkeypatch, run=cube.SECOND, probe=f"{cube.FOGGY}-true-1")
    assert not test.warning
    numbers = test.dataframe[-1].value
    assert set(numbers["run_id"]) == {cube.SECOND}
    assert set(numbers["eval_id"]) == {cube.FOGGY}
    assert "fog 2" in text_of(test)


def test_without_probes_the_page_says_what_to_write_into_the_study(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    ingest(tmp_path, [cube.write_study(tmp_path)])
    test = opened("probes", tmp_path, monkeypatch)
    assert not test.exception
    assert 'kind = "probes"' in test.code[0].value


def test_an_empty_store_says_what_to_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert opened("probes", tmp_path / "none", monkeypatch).code[0].value == "make demo"


@pytest.fixture(scope="module")
def shown(cube_home: Path) -> pl.DataFrame:
    with reading(cube_home) as connection:
        found = queries.probes(connection, [cube.TRUE])
    return found.filter(pl.col("eval_id") == cube.TEST)


def test_cuts_stand_in_their_order_with_the_network_behind_them(shown: pl.DataFrame) -> None:
    lines = charts.probes_by_depth(shown).to_dict()
    assert lines["layer"][0]["encoding"]["x"]["sort"] == ["stem", "stage1", "network"]
    heat = charts.probe_heatmap(shown).to_dict()
    assert heat["encoding"]["y"]["sort"] == ["network", "stage1", "stem"]
    assert heat["encoding"]["color"]["scale"]["domain"] == [pytest.approx(1 / 3), 1]
    (rows,) = heat["datasets"].values()
    assert len(rows) == (len(cube.CUTS) + 1) * len(cube.STEPS)
    assert {row["accuracy"] for row in rows if row["cut"] == "network"} == {0.8}
