"""The page of corruptions, on the study made up by hand and on one without them."""

import json
from pathlib import Path

import pytest

from store import queries
from store.connection import reading
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
        f"true labels, epoch {cube.STEPS[-1] // 10}",
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


def test_without_corruptions_the_page_says_what_to_write_into_the_study(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    ingest(tmp_path, [cube.write_study(tmp_path)])
    test = opened("corruption", tmp_path, monkeypatch)
    assert not test.exception
    assert 'kind = "corruptions"' in test.code[0].value


def test_the_mean_error_is_over_kinds_and_held_against_the_clean_error(cube_home: Path) -> None:
    with reading(cube_home) as connection:
        found = queries.corruption_errors(connection, [cube.TRUE])
    assert found["step"].to_list() == list(cube.STEPS)
    for row in found.iter_rows(named=True):
        clean, foggy = (
            1 - cube.probe_correct(cube.TRUE, kind, row["step"]) / cube.N
            for kind in ("none", "fog")
        )
        assert (row["kinds"], row["sets"], row["n"]) == (1, 1, cube.N)
        assert row["mean_error"] == pytest.approx(foggy)
        assert row["clean_error"] == pytest.approx(clean)
        assert row["relative"] == pytest.approx(foggy - clean)


def test_kinds_weigh_alike_whatever_their_severities(own_cube_home: Path) -> None:
    # Fog at two severities, noise at one: the mean of the two means.
    (foggy,) = (
        row
        for row in cube.corruption_rows(cube.TRUE)
        if row["corruption"] == "fog" and row["step"] == cube.STEPS[0]
    )
    rows = [
        foggy | {"accuracy": 0.2, "eval_id": "0" * 12, "severity": 3},
        foggy | {"accuracy": 0.4, "eval_id": "1" * 12, "corruption": "snow"},
    ]
    sets = [cube.evaluation_row(cube.FOGGY) | {"eval_id": row["eval_id"]} for row in rows]
    ingest(
        own_cube_home,
        [
            cube.write(own_cube_home, "evaluations", "planted", sets, None),
            cube.write(own_cube_home, "corruptions", "planted", rows, cube.TRUE),
        ],
    )
    with reading(own_cube_home) as connection:
        found = queries.corruption_errors(connection, [cube.TRUE])
    row = found.row(0, named=True)
    assert (row["kinds"], row["sets"]) == (2, 3)
    assert row["mean_error"] == pytest.approx((1 - (0.2 + foggy["accuracy"]) / 2 + 0.6) / 2)
