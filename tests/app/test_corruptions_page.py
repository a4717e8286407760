"""The page of corruptions, on the study made up by hand and on one without them."""

import json
from pathlib import Path

import pytest

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


def test_without_corruptions_the_page_says_what_to_write_into_the_study(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    ingest(tmp_path, [cube.write_study(tmp_path)])
    test = opened("corruption", tmp_path, monkeypatch)
    assert not test.exception
    assert 'kind = "corruptions"' in test.code[0].value
