"""The page of freezing, on planted runs."""

import json
from pathlib import Path

import polars as pl
import pytest

from app import charts
from store import queries
from store.connection import reading
from store.results import ingest
from tests.app.test_views import opened, text_of
from tests.store import cube, freezing


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("freezing")
    freezing.write(folder)
    return folder


def conditions(home: Path) -> pl.DataFrame:
    with reading(home) as connection:
        found = queries.freezing(connection, freezing.STUDY)
    return found.filter(pl.col("setting") == pl.col("setting").first())


def test_the_page_shows_the_grid_and_the_recipes_and_says_what_costs_most(
    home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    test = opened("freezing", home, monkeypatch)
    assert not test.exception
    assert not test.warning
    specs = [json.loads(chart.proto.spec) for chart in test.get("vega_lite_chart")]
    assert [spec["title"]["text"] for spec in specs] == [
        "Final accuracy against the freezing step",
        "Sensitivity to the recipe",
        "Minus the plain run",
    ]
    text = text_of(test)
    assert "blocks 1 to 2 still from epoch 0" in text
    assert "**-41.0 points**" in text
    assert "95 % over 3 seeds" in text
    assert "n = 100" in text
    # The worst has no deep control; the final weights of other blocks were held.
    assert "Against holding" not in text
    assert "Blocks 1 to 1 held from the beginning with their final weights" in text
    assert "**+3.0 points**" in text


def test_the_worst_freezing_is_held_against_its_deep_control(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    arms = [
        arm for arm in freezing.ARMS if arm[0] in ("not frozen", "frozen 1 from 0", "deep control")
    ]
    monkeypatch.setattr(freezing, "ARMS", tuple(arms))
    freezing.write(tmp_path)
    text = text_of(opened("freezing", tmp_path, monkeypatch))
    assert "the lowest of" not in text
    assert "Against holding a block behind them still instead: **-16.3 points**" in text
    assert "final weights, which" not in text


def test_another_recipe_is_compared_with_its_own_unfrozen_run(
    home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with reading(home) as connection:
        found = queries.freezing(connection, freezing.STUDY)
    setting = found.row(by_predicate=pl.col("arm") == "small steps", named=True)["setting"]
    test = opened("freezing", home, monkeypatch, setting=setting)
    assert "**-20.0 points**" in text_of(test)
    alone = found.row(by_predicate=pl.col("arm") == "no reference", named=True)["setting"]
    test = opened("freezing", home, monkeypatch, setting=alone)
    assert not test.exception
    assert "add an arm without `freeze`" in text_of(test)


def test_the_link_chooses_corrupted_images(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with reading(home) as connection:
        found = queries.freezing(connection, freezing.STUDY, "corrupted")
    of_first = found.filter(pl.col("setting") == found["setting"][0], pl.col("part") == "shallow")
    test = opened("freezing", home, monkeypatch, images="corrupted")
    text = text_of(test)
    assert (
        f"on corrupted test images by **{100 * min(of_first['difference']):+.1f} points**" in text
    )
    assert "mean over kinds of the mean over severities, n = 50" in text
    axes = [layer for chart in test.get("vega_lite_chart") for layer in chart.proto.spec.split('"')]
    assert "final accuracy, corrupted test images" in axes


def test_a_single_seed_says_so(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    freezing.write(tmp_path, single_seed=True)
    test = opened("freezing", tmp_path, monkeypatch)
    assert not test.exception
    assert "a single seed, so no interval" in text_of(test)
    assert "One seed" in text_of(test)


def test_without_frozen_runs_the_page_says_how_to_ask_for_a_grid(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    ingest(tmp_path, [cube.write_study(tmp_path)])
    test = opened("freezing", tmp_path, monkeypatch)
    assert not test.exception
    assert "[arms.sweep.freeze]" in test.code[0].value


def test_an_empty_store_says_what_to_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert opened("freezing", tmp_path / "none", monkeypatch).code[0].value == "make demo"


def test_the_control_is_dashed_replay_hollow_and_the_rule_is_the_unfrozen_run(home: Path) -> None:
    spec = charts.freezing(conditions(home)).to_dict()
    (x,) = [
        layer["encoding"]["x"]
        for layer in spec["layer"]
        if layer.get("encoding", {}).get("x", {}).get("field") == "place"
    ][:1]
    frozen_from = set(conditions(home)["frozen_from_epoch"].drop_nulls())
    assert (set(x["axis"]["values"]), x["scale"]["nice"]) == (frozen_from, False)
    dashes = next(
        layer["encoding"]["strokeDash"]["scale"]
        for layer in spec["layer"]
        if "strokeDash" in layer["encoding"]
    )
    dash = dict(zip(dashes["domain"], dashes["range"], strict=True))
    assert dash["deep block frozen (control)"] == [5, 4]
    assert dash["shallow part frozen"] == [1, 0]
    points = [layer for layer in spec["layer"] if layer["mark"]["type"] == "point"]
    assert [layer["mark"]["filled"] for layer in points] == [True, True, True, False]
    rows = spec["datasets"][spec["layer"][1]["data"]["name"]]
    assert [row["arm"] for row in rows] == ["not frozen"]
    *marks, seeds = spec["title"]["subtitle"]
    assert "dashed, squares: deep block frozen (control)" in marks
    assert "hollow: replay" in marks
    assert seeds.endswith("95 % over 1 to 3 seeds")
