"""The page of SGD noise, on the study made up by hand and on one without noise."""

import json
from pathlib import Path

import pytest

from store.results import ingest
from tests.app.test_views import opened, text_of
from tests.store import cube, noise


def test_the_page_shows_spectrum_effects_and_a_verdict_with_its_evidence(
    cube_home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    test = opened("noise", cube_home, monkeypatch)
    assert not test.exception
    assert not test.warning
    (chart,) = test.get("vega_lite_chart")
    spec = json.loads(chart.proto.spec)
    assert spec["title"]["text"] == "Spectrum of the noise"
    assert spec["layer"][-1]["encoding"]["x"]["scale"]["type"] == "log"
    text = text_of(test)
    for words in ("n = 20", "BatchNorm `inherit`", "jackknife", "Null", "-0.70 [-0.90, -0.50]"):
        assert words in text
    assert "**Anisotropic.**" in text
    effects = test.dataframe[0].value
    assert len(effects) == 2 * (1 + len(noise.EFFECTS))
    assert set(effects["noise"]) == {"sgd", "global"}


def test_the_gradient_has_no_verdict(cube_home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    place = f"{cube.TEST}-parameters-20--1"
    test = opened("noise", cube_home, monkeypatch, place=place)
    assert not test.exception
    assert not test.warning
    assert "has no control here" in text_of(test)


def test_without_noise_the_page_says_what_to_write_into_the_study(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    ingest(tmp_path, [cube.write_study(tmp_path)])
    test = opened("noise", tmp_path, monkeypatch)
    assert not test.exception
    assert 'kind = "noise"' in test.code[0].value
