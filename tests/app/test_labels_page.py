"""Labels and controls: which arms are compared, bands of nulls, the words, and the page."""

import json
import shutil
from pathlib import Path
from typing import Any

import polars as pl
import pytest

from app import findings, labels
from store import queries
from store.connection import reading
from tests.app.test_findings import run
from tests.app.test_sensitivity import settings
from tests.app.test_views import opened, text_of
from tests.store import cube


def test_arms_are_compared_with_true_labels_in_the_order_of_their_noise() -> None:
    found = labels.supervision(
        settings(
            {"arm": "all", "label_noise": 1.0},
            {"arm": "permuted", "pixels_permuted": True},
            {"arm": "true"},
            {"arm": "some", "label_noise": 0.4},
            {"arm": "long", "label_noise": 0.6, "steps": 200},
        )
    )
    assert found is not None
    assert found.names == {
        "true": "true labels",
        "some": "40% random labels",
        "all": "100% random labels",
        "permuted": "permuted pixels",
    }
    assert found.left_out == {"long": "steps 200 instead of 100"}


@pytest.mark.parametrize("noise", [0.0, 1.0])
def test_without_both_kinds_of_labels_there_is_nothing_to_compare(noise: float) -> None:
    assert labels.supervision(settings({"label_noise": noise}, {"label_noise": noise})) is None


def null(run_id: str, shift: float, xs: list[float]) -> pl.DataFrame:
    return pl.DataFrame(
        {
            "control": "twin",
            "run_id": run_id,
            "replicate": 0,
            "own_accuracy": xs,
            "retention": [x + shift for x in xs],
            "retention_low": [x + shift - 0.1 for x in xs],
            "retention_high": [x + shift + 0.1 for x in xs],
        }
    )


def test_a_band_is_the_envelope_of_its_runs_where_they_are() -> None:
    nulls = pl.concat([null("a", 0.0, [0.2, 0.6]), null("b", 0.2, [0.4, 0.8, 0.8])])
    found = labels.bands(nulls, "own_accuracy")
    assert found["own_accuracy"][0] == pytest.approx(0.2)
    assert found["own_accuracy"][-1] == pytest.approx(0.8)
    for x, low, high, middle in found.select("own_accuracy", "low", "high", "middle").iter_rows():
        first, second = x <= 0.6 + 1e-9, x >= 0.4 - 1e-9
        assert low == pytest.approx(x - 0.1 if first else x + 0.1)
        assert high == pytest.approx(x + 0.3 if second else x + 0.1)
        assert middle == pytest.approx(x + (0.1 if first and second else 0.0 if first else 0.2))


def test_a_null_without_displacement_has_no_band() -> None:
    nulls = null("a", 0.0, [0.2, 0.6]).with_columns(pl.lit(None, pl.Float64).alias("displacement"))
    assert labels.bands(nulls, "displacement").is_empty()


def test_the_files_of_a_picture_hold_the_bands_behind_it() -> None:
    bands = labels.bands(null("a", 0.0, [0.2, 0.6]), "own_accuracy")
    points = pl.DataFrame({"run": ["x"], "own_accuracy": [0.3], "retention": [0.9]})
    found = labels.with_nulls(points, bands)
    assert found["row"].to_list() == ["run", *["band of a null"] * len(bands)]
    assert found.filter(row="run").select(points.columns).equals(points)
    assert found.filter(row="band of a null").select(bands.columns).equals(bands)


def said(level: float, **ranges: Any) -> str:
    points = pl.concat([run("true", lambda a, d: 0.9), run("noisy", lambda a, d: level, **ranges)])
    return labels.headline([findings.compared(points, "true", "noisy")])


@pytest.mark.parametrize(
    ("level", "opening"),
    [
        (0.3, "**Consistency collapses** with noisy"),
        (0.7, "**Consistency is lower**, but does not collapse, with noisy"),
        (0.9, "**No fall of consistency shows** with noisy"),
        (1.0, "**Consistency is higher** with noisy"),
    ],
)
def test_the_headline_can_say_either_outcome(level: float, opening: str) -> None:
    assert said(level).startswith(opening)


def test_no_fall_is_said_only_where_a_large_one_is_excluded() -> None:
    assert said(0.88).startswith("**No fall of consistency shows**")
    wide = pl.concat([run(arm, lambda a, d: 0.9, half_width=0.2) for arm in ("true", "noisy")])
    sentence = labels.headline([findings.compared(wide, "true", "noisy")])
    assert sentence.startswith("No fall shows, and none of 10 points is excluded, with noisy")


def test_arms_of_one_name_keep_their_own() -> None:
    found = labels.supervision(
        settings({"arm": "true"}, *({"arm": arm, "label_noise": 0.4} for arm in ("a", "b")))
    )
    assert found is not None
    assert found.names == {"true": "true", "a": "a", "b": "b"}


def test_a_collapse_in_one_picture_alone_is_not_called() -> None:
    # The same line at equal accuracy; at equal displacement far below.
    points = pl.concat(
        [
            run("true", lambda a, d: a),
            run("noisy", lambda a, d: a, displacements=(0.75, 0.0)),
        ]
    )
    sentence = labels.headline([findings.compared(points, "true", "noisy")])
    assert sentence.startswith("Whether consistency falls is not decided with noisy")
    blank = points.with_columns(pl.lit(None, pl.Float64).alias("displacement"))
    assert "not decided" in labels.headline([findings.compared(blank, "true", "noisy")])


def test_the_page_draws_both_pictures_with_the_nulls_behind(
    cube_home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    test = opened("labels", cube_home, monkeypatch, split="test", cut="stem")
    assert not test.exception
    assert not test.warning
    specs = [json.loads(chart.proto.spec) for chart in test.get("vega_lite_chart")]
    assert [spec["title"]["text"] for spec in specs] == [
        "At equal accuracy",
        "At equal displacement",
        "Score by share of random labels",
    ]
    assert [layer["mark"]["type"] for layer in specs[1]["layer"]][:2] == ["area", "line"]
    text = text_of(test)
    assert (
        "with 100% random labels (against true labels, at equal accuracy and at equal displacement"
        in text
    )
    assert "Grey: nulls of true labels, at" in text
    assert "Not corrected for how many arms are compared." in text
    assert "The rule is ours" in text
    (points,) = (each.value for each in test.dataframe)
    # Limits of the store, Fieller's, rather than those of the accuracy alone.
    stored = cube.kept(cube.TRUE, "none", cube.TEST, 10) - 0.05
    of_run = points[(points["run_id"] == cube.TRUE) & (points["shallow_step"] == 10)]
    assert list(of_run["retention_low"]) == [pytest.approx(stored)]


def test_nulls_are_those_of_one_arm(monkeypatch: pytest.MonkeyPatch) -> None:
    gallery = Path(__file__).parents[2] / "gallery"
    test = opened("labels", gallery, monkeypatch, study="cifar10_noisy_labels")
    # Seven arms of three runs have nulls.
    assert "Grey: nulls of true labels, at" in text_of(test)
    assert "limit over examples of 3 runs." in text_of(test)


def of_equal_labels(noise: float, home: Path, copy: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    with reading(home) as connection:
        arms = queries.arm_settings(connection, cube.STUDY)
    plain = arms.with_columns(pl.lit(noise).alias("label_noise"))
    monkeypatch.setattr("store.queries.arm_settings", lambda *_: plain)
    # A home of its own, as answers are kept by home.
    return Path(shutil.copytree(home, copy))


@pytest.mark.parametrize("noise", [0.0, 1.0])
def test_where_nothing_is_to_be_compared_an_arm_stands_beside_its_nulls(
    noise: float, cube_home: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    home = of_equal_labels(noise, cube_home, tmp_path / "home", monkeypatch)
    test = opened("labels", home, monkeypatch, split="test", cut="stem")
    assert not test.exception
    assert not test.code
    specs = [json.loads(chart.proto.spec) for chart in test.get("vega_lite_chart")]
    assert [spec["title"]["text"] for spec in specs] == [
        "At equal accuracy",
        "At equal displacement",
    ]
    assert "true beside its nulls alone: no arm of this study has random labels" in text_of(test)
    assert "Grey: nulls of true, at" in text_of(test)
    (points,) = (each.value for each in test.dataframe)
    assert set(points["run_id"]) == {cube.TRUE, cube.SECOND}


def test_of_several_arms_with_nulls_one_is_chosen(monkeypatch: pytest.MonkeyPatch) -> None:
    gallery = Path(__file__).parents[2] / "gallery"
    study = "cifar10_ten_thousand_augmented"
    for arm in ("augmented", "true labels"):
        test = opened("labels", gallery, monkeypatch, study=study, cut="stage1.2", arm=arm)
        assert not test.exception
        assert f"Grey: nulls of {arm}, at" in text_of(test)
        (points,) = (each.value for each in test.dataframe)
        assert set(points["arm"]) == {arm}


def test_with_neither_random_labels_nor_nulls_the_page_says_what_to_write(
    cube_home: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    home = of_equal_labels(0.0, cube_home, tmp_path / "home", monkeypatch)
    stored = queries.retentions
    monkeypatch.setattr(
        "store.queries.retentions", lambda *asked: stored(*asked).filter(control="none")
    )
    test = opened("labels", home, monkeypatch, split="test", cut="stem")
    assert not test.exception
    assert "sweep.label_noise" in test.code[0].value
    assert 'kind = "controls"' in test.code[0].value


def test_an_arm_that_was_trained_otherwise_is_named_and_not_compared(
    cube_home: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with reading(cube_home) as connection:
        arms = queries.arm_settings(connection, cube.STUDY)
    noisy = pl.col("arm") == "random"
    longer = arms.with_columns(
        pl.when(noisy).then(7).otherwise("train_size").cast(pl.Int64).alias("train_size")
    )
    monkeypatch.setattr("store.queries.arm_settings", lambda *_: longer)
    home = Path(shutil.copytree(cube_home, tmp_path / "home"))
    test = opened("labels", home, monkeypatch, split="test", cut="stem")
    assert not test.exception
    assert test.warning[0].value.startswith("random is not compared: train size 7 instead of 100.")
