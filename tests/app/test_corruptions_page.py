"""The page of corruptions, on the study made up by hand and on one without them."""

import json
import shutil
from pathlib import Path
from typing import Any

import polars as pl
import pytest

from app import retained
from app.charts import corruption_over_time, slopes
from store.results import ingest
from tests.app.test_views import opened, text_of
from tests.store import cube


def test_the_page_shows_kinds_time_and_scores_with_n_and_the_null(
    cube_home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    test = opened("corruption", cube_home, monkeypatch)
    assert not test.exception
    assert not test.warning
    specs = [json.loads(chart.proto.spec) for chart in test.get("vega_lite_chart")]
    assert [spec["title"]["text"] for spec in specs][:2] == [
        f"true, seed 0, epoch {cube.STEPS[-1] // 10}",
        "Along training",
    ]
    text = text_of(test)
    for words in ("n = 30", "C-like", "BatchNorm `inherit`", "95 % over examples", "Null"):
        assert words in text
    clean, foggy = (cube.probe_correct(cube.TRUE, k, cube.STEPS[-1]) for k in ("none", "fog"))
    assert f"Clean images: **{100 * clean / cube.N:.1f}%** right" in text
    assert f"least under fog, **{100 * foggy / cube.N:.1f}%**" in text


def test_the_link_chooses_the_checkpoint(cube_home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    test = opened("corruption", cube_home, monkeypatch, step=str(cube.STEPS[0]))
    assert not test.warning
    clean = cube.probe_correct(cube.TRUE, "none", cube.STEPS[0])
    assert f"Clean images: **{100 * clean / cube.N:.1f}%** right" in text_of(test)


@pytest.fixture
def own_home(cube_home: Path, tmp_path: Path) -> Path:
    """A copy of the study made up by hand that a test may change."""
    return Path(shutil.copytree(cube_home, tmp_path / "cube"))


def with_snow(home: Path) -> str:
    """Plant another corruption, before fog's in no order and after it in the alphabet."""
    snowy = "9" * 12
    sets = [cube.evaluation_row(cube.FOGGY) | {"eval_id": snowy, "corruption": "snow"}]
    other = {"eval_id": snowy, "corruption": "snow", "severity": 2}
    rows = [r | other for r in cube.corruption_rows(cube.TRUE) if r["eval_id"] == cube.FOGGY]
    kept = [r for r in cube.retention_rows(cube.TRUE) if r["eval_id"] == cube.FOGGY]
    kept = [r | {"eval_id": snowy, "retention": 0.11} for r in kept]
    scores = [r for r in cube.consistency_rows(cube.TRUE) if r["eval_id"] == cube.FOGGY]
    scores = [r | {"eval_id": snowy, "score": 0.22} for r in scores]
    parts = [
        cube.write(home, "evaluations", "snowy", sets, None),
        cube.write(home, "corruptions", "snowy", rows, cube.TRUE),
        cube.write(home, "retentions", "snowy", kept, cube.TRUE),
        cube.write(home, "consistency", "snowy", scores, cube.TRUE),
    ]
    ingest(home, parts)
    return "snow 2"


def test_the_corruption_that_is_followed_has_splices_where_any_has(
    own_home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    sleet = "8" * 12
    kind = {"eval_id": sleet, "corruption": "sleet", "severity": 2}
    rows = [r | kind for r in cube.corruption_rows(cube.TRUE) if r["eval_id"] == cube.FOGGY]
    sets = [cube.evaluation_row(cube.FOGGY) | {"eval_id": sleet, "corruption": "sleet"}]
    parts = [
        cube.write(own_home, "evaluations", "sleet", sets, None),
        cube.write(own_home, "corruptions", "sleet", rows, cube.TRUE),
    ]
    ingest(own_home, parts)
    test = opened("corruption", own_home, monkeypatch)
    (followed,) = [each for each in test.selectbox if each.label == "Corruption followed"]
    assert (followed.options[-1], followed.value) == ("sleet 2", "fog 2")
    assert "No splices on" not in text_of(test)


def test_the_slopes_are_those_of_the_corruption_that_was_chosen(
    own_home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    snow = with_snow(own_home)
    drawn: dict[str, pl.DataFrame] = {}

    def watched(rows: pl.DataFrame, arms: list[str], heading: str, *others: str) -> Any:
        drawn[heading.split(",")[0]] = rows
        return slopes(rows, arms, heading, *others)

    monkeypatch.setattr("app.charts.slopes", watched)
    for kind, retention, score in ((snow, 0.11, 0.22), ("fog 2", 0.4, 0.91)):
        test = opened("corruption", own_home, monkeypatch, kind=kind, shallow="10")
        assert not test.exception
        assert not test.warning
        assert set(drawn) == {"Retention", "Score"}
        for name, value in (("Retention", retention), ("Score", score)):
            of_run = drawn[name].filter(pl.col("run_id") == cube.TRUE)
            assert of_run["set"].to_list() == ["clean", kind]
            assert of_run["value"][1] == pytest.approx(value)
            assert (of_run["low"] < of_run["high"]).all()
        assert f"Under {kind}, the shallow part of epoch 1" in text_of(test)


def test_a_kind_without_splices_says_what_to_write(
    own_home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    snowy = "9" * 12
    sets = [cube.evaluation_row(cube.FOGGY) | {"eval_id": snowy, "corruption": "snow"}]
    other = {"eval_id": snowy, "corruption": "snow", "severity": 2}
    rows = [r | other for r in cube.corruption_rows(cube.TRUE) if r["eval_id"] == cube.FOGGY]
    ingest(
        own_home,
        [
            cube.write(own_home, "evaluations", "snowy", sets, None),
            cube.write(own_home, "corruptions", "snowy", rows, cube.TRUE),
        ],
    )
    test = opened("corruption", own_home, monkeypatch, kind="snow 2")
    assert not test.exception
    assert "No splices on snow 2 yet; there are some on fog 2" in text_of(test)
    assert 'corruption = "snow", severity = 2' in test.code[0].value


def paired(*gaps: float, width: float = 0.02) -> pl.DataFrame:
    return pl.DataFrame(
        {
            "arm": ["a"] * len(gaps),
            "clean": [0.8] * len(gaps),
            "clean_low": [0.8 - width] * len(gaps),
            "clean_high": [0.8 + width] * len(gaps),
            "retention": [0.8 + gap for gap in gaps],
            "retention_low": [0.8 + gap - width for gap in gaps],
            "retention_high": [0.8 + gap + width for gap in gaps],
        }
    )


@pytest.mark.parametrize(
    ("rows", "words"),
    [
        (
            paired(-0.3, -0.31, -0.29),
            "it retains **less** (50.0 % against 80.0 % on clean images, -30.0",
        ),
        (paired(0.1, 0.11, 0.12), "it retains **more**"),
        (paired(0.01, 0.0, -0.01), "it retains **as much**"),
        (paired(0.3, -0.3), "it can't be told"),
        (
            paired(-0.2),
            "it retains **less** (60.0 % against 80.0 % on clean images, -20.0 points, one",
        ),
        (paired(-0.2, width=0.15), "it can't be told"),
        (paired(0.0, width=0.01), "it retains **as much**"),
    ],
)
def test_words_under_corruption(rows: pl.DataFrame, words: str) -> None:
    assert f"a: {words}" in retained.finding(rows, "fog 2", "8", ["a", "b"])


def test_without_corruptions_the_page_says_what_to_write_into_the_study(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    ingest(tmp_path, [cube.write_study(tmp_path)])
    test = opened("corruption", tmp_path, monkeypatch)
    assert not test.exception
    assert 'kind = "corruptions"' in test.code[0].value


def test_long_names_of_arms_make_no_picture_wider_than_a_phone() -> None:
    import vl_convert

    arms = ["true labels", *(f"frozen, cut stage{k}.2, from_epoch 3" for k in (1, 2))]
    rows = pl.DataFrame(
        [
            {"run_id": arm, "arm": arm, "epoch": epoch, "step": epoch, "set": of}
            | {"corruption": of, "severity": 5, "n": 10, "accuracy": 0.5}
            | {"accuracy_low": 0.4, "accuracy_high": 0.6}
            for arm in arms
            for of in ("clean", "gaussian_noise 5")
            for epoch in (0, 40)
        ]
    )
    drawn = vl_convert.vegalite_to_svg(corruption_over_time(rows, arms).to_dict())
    # 390 pixels less the page's margins.
    assert float(drawn.split('width="')[1].split('"')[0]) < 358
