"""The page of SGD noise, on the study made up by hand and on one without noise."""

import json
from pathlib import Path
from typing import Any

import polars as pl
import pytest
from scipy.stats import t
from streamlit.testing.v1 import AppTest

from app.noise_findings import of_alignment
from app.noises import (
    CONTROL,
    NOISE,
    UNIFORM,
    aligned,
    as_shares,
    isotropic_bands,
    with_series,
)
from featdyn_engine.science.spectra import marchenko_pastur_edges
from store.results import ingest
from tests.app.test_views import opened, text_of
from tests.store import cube, noise


def specs(test: AppTest) -> list[dict[str, Any]]:
    return [json.loads(each.proto.spec) for each in test.get("vega_lite_chart")]


def test_the_page_shows_both_batch_sizes_and_a_verdict_with_its_evidence(
    cube_home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    test = opened("noise", cube_home, monkeypatch)
    assert not test.exception
    assert not test.warning
    scree, difference, *alignments = specs(test)
    assert scree["title"]["text"] == "Spectrum of the noise"
    assert scree["layer"][-1]["encoding"]["x"]["scale"]["type"] == "log"
    series = scree["layer"][-1]["encoding"]["color"]["scale"]["domain"]
    # Three runs, each with mini-batches of two sizes.
    assert len(series) == 6
    assert all(f"mini-batches of {size}" in " ".join(series) for size in noise.BATCH_SIZES)
    assert difference["title"]["text"] == "Difference to the control"
    assert difference["layer"][-1]["encoding"]["color"]["scale"]["domain"] == series
    assert [each["title"]["text"] for each in alignments] == series
    text = text_of(test)
    for words in ("n = 20", "BatchNorm `inherit`", "jackknife", "Null", "-0.70 [-0.90, -0.50]"):
        assert words in text
    assert f"**{series[0]}: anisotropic.**" in text
    assert "the same verdict at 2 of 2" in text
    assert "80.0% of the drift lies along the noise, 70.0% along the control: +10.0" in text
    effects = test.dataframe[0].value
    assert len(effects) == 6 * 2
    assert "1 (1)" in effects["participation ratio"].to_list()


def test_the_gradient_has_no_verdict_and_no_alignment(
    cube_home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    test = opened("noise", cube_home, monkeypatch, cut="parameters")
    assert not test.exception
    assert not test.warning
    assert "has no control here" in text_of(test)
    assert len(specs(test)) == 1


def rows(**columns: list[object]) -> pl.DataFrame:
    return pl.DataFrame(columns)


def test_series_are_named_by_what_differs() -> None:
    one = rows(run_id=["a", "a"], batch_size=[8, 32], step_rule=["sgd", "sgd"])
    names = {"a": "SGD", "b": "Adam"}
    assert with_series(one, names)["series"].to_list() == [
        "mini-batches of 8",
        "mini-batches of 32",
    ]
    arms = rows(run_id=["a", "b"], batch_size=[8, 8], step_rule=["sgd", "adam"])
    assert with_series(arms, names)["series"].to_list() == ["SGD", "Adam"]
    both = rows(run_id=["b", "b"], batch_size=[8, 8], step_rule=["sgd", "adam"])
    assert with_series(both, names)["series"].to_list() == ["steps of SGD", "steps of Adam"]
    alone = rows(run_id=["a"], batch_size=[8], step_rule=["sgd"])
    assert with_series(alone, names)["series"].to_list() == ["mini-batches of 8"]


def test_spectra_of_one_shape_are_the_same_shares_whatever_their_size() -> None:
    spectra = rows(
        series=["small"] * 2 + ["large"] * 2,
        source=["sgd"] * 4,
        rank=[1, 2] * 2,
        eigenvalue=[6.0, 2.0, 0.75, 0.25],
        band_low=[4.0, 3.0, 0.5, 0.375],
        band_high=[5.0, 4.0, 0.625, 0.5],
        n=[20] * 4,
        p=[2] * 4,
    )
    shares = as_shares(spectra)
    assert shares["eigenvalue"].to_list() == [0.75, 0.25] * 2
    bands = isotropic_bands(shares)
    assert bands["band_low"].to_list() == [0.5, 0.375]
    assert bands["edge"].to_list() == pytest.approx([marchenko_pastur_edges(1, 20, 2)[1] / 2] * 2)


def test_alignment_is_a_mean_over_examples_with_its_interval() -> None:
    shares = {"sgd": [0.5, 0.7, 0.9], "global": [0.2, 0.3, 0.4], "tensorwise": [0.9, 0.9, 0.9]}
    found = rows(
        series=["one"] * 9,
        step=[4] * 9,
        epoch=[1.0] * 9,
        source=[source for source in shares for _ in range(3)],
        example=[0, 1, 2] * 3,
        alignment=[each for values in shares.values() for each in values],
        features=[0.3] * 9,
        uniform=[0.25] * 9,
    )
    means = {row["of"]: row for row in aligned(found, "global").iter_rows(named=True)}
    assert means[NOISE]["value"] == pytest.approx(0.7)
    half = t.ppf(0.975, 2) * 0.2 / 3**0.5
    assert means[NOISE]["low"] == pytest.approx(0.7 - half)
    assert means[NOISE]["high"] == 1
    assert means[CONTROL]["value"] == pytest.approx(0.3)
    assert means[UNIFORM]["value"] == 0.25
    assert means[UNIFORM]["n"] == 3
    (said,) = of_alignment(found, "global")
    half = 100 * t.ppf(0.975, 2) * 0.1 / 3**0.5
    assert f"+40.0 points [{40 - half:.1f}, {40 + half:.1f}], 95 % over 3 examples (more)" in said


def test_without_noise_the_page_says_what_to_write_into_the_study(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    ingest(tmp_path, [cube.write_study(tmp_path)])
    test = opened("noise", tmp_path, monkeypatch)
    assert not test.exception
    assert 'kind = "noise"' in test.code[0].value
