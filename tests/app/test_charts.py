"""Charts are functions from frames to specifications: scales, order, labels, missing cells."""

import numpy as np
import polars as pl
import pytest

from app import charts

STEPS = [0, 5, 10]


def cells(fill: float | None = None) -> pl.DataFrame:
    rows = [
        {
            "run_id": "r",
            "shallow_step": s,
            "deep_step": t,
            "shallow_epoch": s / 5,
            "deep_epoch": t / 5,
            "n": 100,
            "accuracy": 0.1 + 0.045 * (s + t) if fill is None else fill,
            "accuracy_low": 0.0,
            "accuracy_high": 1.0,
            "agreement": 1.0,
            "retention": None if t == 0 else 0.5,
        }
        for s in STEPS
        for t in STEPS
    ]
    return pl.DataFrame(rows)


def test_heatmap_runs_from_chance_to_one_whatever_the_data() -> None:
    spec = charts.heatmap(cells(), "accuracy", 0.1, "arm").to_dict()
    colour = spec["layer"][0]["encoding"]["color"]
    assert colour["scale"]["domain"] == [0.1, 1]
    assert colour["scale"]["scheme"] == "viridis"
    assert "chance 10 %" in colour["legend"]["labelExpr"]


def test_heatmap_puts_shallow_upwards_and_deep_to_the_right() -> None:
    encoding = charts.heatmap(cells(), "accuracy", 0.1, "arm").to_dict()["layer"][0]["encoding"]
    assert encoding["x"]["field"] == "deep_step"
    assert "sort" not in encoding["x"]
    assert encoding["y"]["field"] == "shallow_step"
    assert encoding["y"]["sort"] == "descending"


def test_steps_whose_epochs_round_alike_keep_rows_of_their_own() -> None:
    close = cells().with_columns(
        (10.61 + pl.col("shallow_step") / 100).alias("shallow_epoch"),
        (10.61 + pl.col("deep_step") / 100).alias("deep_epoch"),
    )
    encoding = charts.heatmap(close, "accuracy", 0.1, "arm").to_dict()["layer"][0]["encoding"]
    assert encoding["x"]["type"] == encoding["y"]["type"] == "ordinal"
    assert encoding["x"]["axis"]["labelExpr"].startswith('({"0": "11"')


def test_heatmap_is_square() -> None:
    spec = charts.heatmap(cells(), "accuracy", 0.1, "arm").to_dict()
    assert spec["width"] == spec["height"]
    assert spec["autosize"]["type"] == "pad"


def test_hover_says_step_epoch_value_and_n() -> None:
    tooltip = charts.heatmap(cells(), "retention", 0.1, "arm").to_dict()["layer"][0]["encoding"][
        "tooltip"
    ]
    fields = {entry["field"] for entry in tooltip}
    assert fields >= {
        "shallow_step",
        "shallow_epoch",
        "deep_step",
        "deep_epoch",
        "accuracy",
        "agreement",
        "retention",
        "n",
    }


def test_thumbnail_is_the_heatmap_in_pixels() -> None:
    picture = charts.thumbnail(cells(), "accuracy", 0.1, 9)
    assert picture.shape == (9, 9, 3)
    bottom_left, top_right = picture[-1, 0], picture[0, -1]
    assert tuple(bottom_left) == (68, 1, 84)
    assert tuple(top_right) == (253, 231, 37)
    # Off the diagonal: row = shallow. Make the top row differ from the right column.
    odd = cells().with_columns(
        pl.when(pl.col("shallow_step") == 10).then(1.0).otherwise(0.1).alias("accuracy")
    )
    picture = charts.thumbnail(odd, "accuracy", 0.1, 9)
    assert (picture[0] == np.array([253, 231, 37])).all()
    assert tuple(picture[-1, -1]) == (68, 1, 84)


def test_thumbnail_shows_missing_cells_grey() -> None:
    picture = charts.thumbnail(cells(), "retention", 0.1, 3)
    assert tuple(picture[0, 0]) == (128, 128, 128)
    assert tuple(picture[0, 1]) != (128, 128, 128)


def test_lag_profile_has_forward_pairs_only_and_a_line_a_deep_step() -> None:
    spec = charts.lag_profile(cells(), "accuracy", 0.1, "arm").to_dict()
    rows = next(iter(spec["datasets"].values()))
    assert sorted((row["shallow_step"], row["deep_step"]) for row in rows) == [
        (0, 5),
        (0, 10),
        (5, 5),
        (5, 10),
        (10, 10),
    ]
    assert spec["encoding"]["detail"]["field"] == "deep_step"


@pytest.mark.parametrize(("epoch", "label"), [(0.0, "0"), (12.0, "12"), (0.25, "0.25")])
def test_epoch_labels(epoch: float, label: str) -> None:
    assert charts.epoch_label(epoch) == label


def test_arms_have_different_colours_in_a_fixed_order() -> None:
    points = pl.DataFrame(
        {
            "run": ["b", "a"],
            "shallow_epoch": [1.0, 1.0],
            "shallow_step": [1, 1],
            "own_accuracy": [0.5, 0.6],
            "retention": [0.5, 0.6],
            "n": [10, 10],
        }
    )
    spec = charts.retention_against_own_accuracy(points, ["a", "b"]).to_dict()
    scale = spec["layer"][1]["encoding"]["color"]["scale"]
    assert scale["domain"] == ["a", "b"]
    assert len(set(scale["range"])) == len(scale["range"])
