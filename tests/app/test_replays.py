"""Replay as a way to train: words on planted rows, and the section of the page Freezing."""

import json
from pathlib import Path
from typing import Any

import polars as pl
import pytest

from app import replays as words
from store import queries
from store.connection import reading
from store.results import ingest
from tests.app.test_views import opened, text_of
from tests.store import cube, freezing, replays


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("replays")
    replays.write(folder)
    return folder


def rows(*limits: tuple[float, float | None, float | None]) -> pl.DataFrame:
    return words.named(
        pl.DataFrame(
            [
                {
                    "arm": f"arm {i}",
                    "network": "last",
                    "images": "clean",
                    "against": "plain",
                    "difference": value,
                    "difference_low": low,
                    "difference_high": high,
                    "n_pairs": 1 if low is None else 3,
                }
                for i, (value, low, high) in enumerate(limits)
            ],
            schema_overrides={"difference_low": pl.Float64, "difference_high": pl.Float64},
        )
    )


@pytest.mark.parametrize(
    ("limits", "verdict", "phrase"),
    [
        ((0.02, 0.01, 0.03), "helps", "better: arm 0 **+2.0 points** (+1.0 to +3.0)"),
        ((-0.02, -0.03, -0.01), "hurts", "worse: arm 0 **-2.0 points** (-3.0 to -1.0)"),
        ((0.02, -0.01, 0.05), "no difference shows", "no difference shows for: arm 0"),
        ((0.02, None, None), "can't be told", "one seed, so it can't be told for: arm 0 +2.0"),
    ],
)
def test_a_verdict_needs_an_interval_that_leaves_out_zero(
    limits: tuple[float, float | None, float | None], verdict: str, phrase: str
) -> None:
    found = rows(limits)
    assert found["verdict"].to_list() == [verdict]
    assert phrase in str(words.finding(found, "clean", "plain"))
    assert words.finding(found, "corrupted", "plain") is None


def specs(test: Any) -> dict[str, Any]:
    found = [json.loads(chart.proto.spec) for chart in test.get("vega_lite_chart")]
    return {spec["title"]["text"]: spec for spec in found}


def test_the_page_draws_differences_and_says_who_paid_more(
    home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    test = opened("freezing", home, monkeypatch)
    assert not test.exception
    assert not test.warning
    drawn = specs(test)
    assert list(drawn) == ["Minus the plain run", "Older minus current features"]
    assert drawn["Minus the plain run"]["title"]["subtitle"] == "bars: 95 % over 3 seeds (t)"
    text = text_of(test)
    assert "better: replay **+2.3 points**" in text
    assert "the 19 to 38 % that replay" in text
    assert "the plain run has the larger budget" in text
    assert "mean over 2 kinds" in text
    assert "Nothing stands still" in text


def test_intervals_lie_within_the_picture(home: Path) -> None:
    from app import charts

    with reading(home) as connection:
        found = words.named(queries.replay(connection, replays.STUDY))
    spec = charts.replay_forest(found, "x").to_dict()
    domain = next(
        layer["encoding"]["x"]["scale"]["domain"]
        for layer in spec["layer"]
        if "scale" in layer["encoding"].get("x", {})
    )
    assert domain[0] <= min(found["difference_low"].drop_nulls().to_list())
    assert domain[1] >= max(found["difference_high"].drop_nulls().to_list())


def test_a_single_seed_says_so(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    replays.write(tmp_path, single_seed=True)
    test = opened("freezing", tmp_path, monkeypatch)
    assert not test.exception
    assert "it can't be told for" in text_of(test)
    assert specs(test)["Minus the plain run"]["title"]["subtitle"].startswith("a single seed")


def test_without_replay_the_section_says_how_to_ask(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    ingest(tmp_path, [cube.write_study(tmp_path)])
    test = opened("freezing", tmp_path, monkeypatch)
    assert not test.exception
    assert 'source = "current"' in test.code[-1].value


def test_the_control_of_replay_is_drawn_apart_where_things_stand_still(tmp_path: Path) -> None:
    from app.charts.freezing import CURRENT, REPLAY, kinds

    freezing.write(tmp_path)
    with reading(tmp_path) as connection:
        found = queries.freezing(connection, freezing.STUDY)
    replayed = found.filter("replay")
    current = replayed.with_columns(pl.lit("current").alias("source"))
    assert kinds(pl.concat([replayed, current]))["kind"].to_list() == [REPLAY, CURRENT]
