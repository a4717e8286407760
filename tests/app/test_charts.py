"""Charts are functions from frames to specifications: scales, order, labels, missing cells."""

import base64
import io
import subprocess
import sys
from itertools import pairwise
from pathlib import Path

import numpy as np
import polars as pl
import pytest
from PIL import Image

from app import charts
from app.charts.scores import row_label
from app.charts.style import reference

STEPS = [0, 5, 10]
ROOT = Path(__file__).parents[2]


def test_pandas_is_whole_before_two_visitors_draw_at_once() -> None:
    code = "import sys, app.charts; sys.modules['pandas'].Timestamp"
    subprocess.run([sys.executable, "-c", code], cwd=ROOT, check=True)


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


def test_a_heatmap_sends_no_column_that_it_neither_draws_nor_tells() -> None:
    spec = charts.heatmap(cells(), "accuracy", 0.1, "arm").to_dict()
    (rows,) = spec["datasets"].values()
    assert set(rows[0]) == set(cells().columns) - {"run_id"}


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


def test_a_link_to_a_thumbnail_holds_the_same_pixels() -> None:
    kind, _, content = charts.thumbnail_link(cells(), "accuracy", 0.1, 9).partition(",")
    assert kind == "data:image/png;base64"
    picture = np.asarray(Image.open(io.BytesIO(base64.b64decode(content))))
    assert (picture == charts.thumbnail(cells(), "accuracy", 0.1, 9)).all()


def test_links_to_thumbnails_are_one_for_each_cut_and_run() -> None:
    both = pl.concat(
        cells().with_columns(pl.lit(cut).alias("cut"), pl.lit(run).alias("run_id"))
        for cut, run in (("stem", "a"), ("head", "b"))
    )
    link = charts.thumbnail_link(cells(), "accuracy", 0.1, 9)
    found = charts.thumbnail_links(both, "accuracy", 0.1, 9)
    assert found == {("stem", "a"): link, ("head", "b"): link}


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
    bands, lines = spec["layer"]
    assert bands["mark"]["type"] == "area"
    assert bands["encoding"]["y2"]["field"] == "accuracy_high"
    assert all(layer["encoding"]["detail"]["field"] == "deep_step" for layer in (bands, lines))


def many(count: int) -> pl.DataFrame:
    """Cells of ``count`` checkpoints, as ``cells`` has them."""
    steps = pl.DataFrame({"shallow_step": range(count)})
    return steps.join(steps.rename({"shallow_step": "deep_step"}), how="cross").with_columns(
        pl.lit("r").alias("run_id"),
        pl.col("shallow_step").alias("shallow_epoch").cast(pl.Float64),
        pl.col("deep_step").alias("deep_epoch").cast(pl.Float64),
        pl.lit(100).alias("n"),
        *(
            pl.lit(0.5).alias(name)
            for name in ("accuracy", "accuracy_low", "accuracy_high", "agreement", "retention")
        ),
    )


def test_of_many_deep_parts_a_lag_profile_draws_some_and_says_so() -> None:
    spec = charts.lag_profile(many(31), "accuracy", 0.1, "arm").to_dict()
    rows = next(iter(spec["datasets"].values()))
    deep = sorted({row["deep_step"] for row in rows})
    assert len(deep) == 12
    assert (deep[0], deep[-1]) == (1, 30)
    assert max(later - earlier for earlier, later in pairwise(deep)) <= 3
    # Each of them whole.
    assert sum(row["deep_step"] == 30 for row in rows) == 31
    assert spec["title"]["subtitle"] == "bands: 95 % over examples; 12 of 30 deep parts"


@pytest.mark.parametrize(
    ("count", "metric", "told"),
    [
        (31, "accuracy", 10),
        (33, "accuracy", 6),
        (33, "agreement", 4),
    ],
)
def test_a_large_matrix_tells_less_of_a_cell(count: int, metric: str, told: int) -> None:
    spec = charts.heatmap(many(count), metric, 0.1, "arm").to_dict()
    tooltip = spec["layer"][0]["encoding"]["tooltip"]
    assert len(tooltip) == told
    fields = {each["field"] for each in tooltip}
    assert {"shallow_epoch", "deep_epoch", metric, "n"} <= fields


def test_a_lag_profile_of_retention_has_no_band_and_says_so() -> None:
    spec = charts.lag_profile(cells(), "retention", 0.1, "arm").to_dict()
    assert len(spec["layer"]) == 1
    assert spec["title"]["subtitle"] == "no interval"


def test_a_matrix_that_can_be_clicked_selects_steps_and_keeps_its_layers() -> None:
    matrix = charts.heatmap(cells(), "accuracy", 0.1, "arm")
    spec = charts.selectable(matrix).to_dict()
    (param,) = spec["params"]
    assert param["name"] == charts.CELL
    assert param["select"]["fields"] == ["shallow_step", "deep_step"]
    assert len(spec["layer"]) == len(matrix.to_dict()["layer"])
    assert "params" not in matrix.to_dict()


def test_a_class_has_a_bar_for_the_splice_and_a_tick_for_its_network() -> None:
    rows = pl.DataFrame(
        {
            "class": [1, 0],
            "class_name": ["ant", "cat"],
            "n": 10,
            "accuracy": 0.5,
            "accuracy_low": 0.2,
            "accuracy_high": 0.8,
            "own_accuracy": 0.9,
        }
    )
    spec = charts.by_class(rows).to_dict()
    bar, interval, own = (layer["encoding"] for layer in spec["layer"])
    assert [x["x"]["field"] for x in (bar, interval, own)] == [
        "accuracy",
        "accuracy_low",
        "own_accuracy",
    ]
    assert bar["x"]["scale"]["domain"] == [0, 1]
    # In the order of the classes, not of the alphabet.
    assert bar["y"]["sort"] == ["cat", "ant"]


@pytest.mark.parametrize(("epoch", "label"), [(0.0, "0"), (12.0, "12"), (0.25, "0.25")])
def test_epoch_labels(epoch: float, label: str) -> None:
    assert charts.epoch_label(epoch) == label


def points(arms: list[str], **columns: object) -> pl.DataFrame:
    plain: dict[str, object] = {
        "run_id": arms,
        "run": [f"{arm}, seed 0" for arm in arms],
        "arm": arms,
        "shallow_epoch": 1.0,
        "shallow_step": 1,
        "own_accuracy": 0.5,
        "displacement": 0.7,
        "retention": 0.6,
        "retention_low": 0.5,
        "retention_high": 0.7,
        "n": 10,
    }
    return pl.DataFrame({**plain, **columns})


def test_arms_have_different_colours_in_a_fixed_order_and_the_legend_names_those_in_sight() -> None:
    arms = ["a", "b", "c"]
    spec = charts.retention_against(points(["b", "a"]), "own_accuracy", arms).to_dict()
    colour = spec["layer"][2]["encoding"]["color"]
    assert colour["scale"]["domain"] == arms
    assert len(set(colour["scale"]["range"])) == len(colour["scale"]["range"])
    assert colour["legend"]["values"] == ["a", "b"]


def test_retention_stands_against_both_with_its_interval() -> None:
    for matched_by in ("own_accuracy", "displacement"):
        spec = charts.retention_against(points(["a"]), matched_by, ["a"]).to_dict()
        # An earlier shallow part may do better than the last one: nothing is cut off at 1.
        shares = {"domain": {"unionWith": [0, 1]}}
        assert [layer["encoding"]["y"]["scale"] for layer in spec["layer"]] == [shares] * 3
        assert {layer["encoding"]["x"]["field"] for layer in spec["layer"]} == {matched_by}
        bars = spec["layer"][1]["encoding"]
        assert (bars["y"]["field"], bars["y2"]["field"]) == ("retention_low", "retention_high")
        assert "95 % over examples" in spec["title"]["subtitle"]


def test_a_difference_is_blue_orange_around_zero_whatever_the_data() -> None:
    frame = cells().with_columns(
        pl.lit(0.1).alias("of_control"), (pl.col("accuracy") - 0.1).alias("difference")
    )
    spec = charts.difference_heatmap(frame, "accuracy", "arm").to_dict()
    scale = spec["layer"][0]["encoding"]["color"]["scale"]
    assert scale["scheme"] == "blueorange"
    assert scale["domain"] == [-1, 1]
    assert scale["domainMid"] == 0
    assert spec["layer"][0]["transform"] == [{"filter": "isValid(datum.difference)"}]
    assert spec["width"] == spec["height"]


def scores(arms: list[str]) -> pl.DataFrame:
    return pl.DataFrame(
        {
            "run": [f"{arm}, seed {seed}" for arm in arms for seed in range(2)],
            "arm": [arm for arm in arms for _ in range(2)],
            "cut": "stem",
            "depth": 1,
            "score": 0.8,
            "score_low": 0.7,
            "score_high": 0.9,
            "n": 10,
        }
    )


def test_scores_stand_side_by_side_and_say_which_variance_is_which() -> None:
    over_seeds = pl.DataFrame(
        {
            "arm": ["b"],
            "cut": ["stem"],
            "score": [0.8],
            "score_low": [0.6],
            "score_high": [1.0],
            "n_seeds": [2],
        }
    )
    spec = charts.scores_by_depth(scores(["a", "b"]), over_seeds, ["a", "b"], "accuracy").to_dict()
    assert spec["layer"][0]["encoding"]["xOffset"]["sort"] == [
        "a, seed 0",
        "a, seed 1",
        "b, seed 0",
        "b, seed 1",
        "b, mean over seeds",
    ]
    scales = [layer["encoding"]["y"]["scale"] for layer in spec["layer"]]
    assert scales == [{"domain": {"unionWith": [0, 1]}}] * 4
    examples, seeds = spec["title"]["subtitle"]
    assert "95 % over examples" in examples
    assert "over seeds" in seeds


def test_without_several_seeds_nothing_is_said_about_them() -> None:
    none = pl.DataFrame(schema=["arm", "cut", "score", "score_low", "score_high", "n_seeds"])
    typed = none.with_columns(pl.col("arm").cast(pl.String))
    spec = charts.scores_by_depth(scores(["a"]), typed, ["a"], "accuracy").to_dict()
    assert spec["title"]["subtitle"] == ["dots: one run each, 95 % over examples"]
    assert len(spec["layer"]) == 2


def test_the_forest_has_a_row_a_control_with_its_objection_and_zero_in_sight() -> None:
    frame = points(
        ["a", "a"],
        control=["twin", "mirror"],
        replicate=0,
        norm="inherit",
        score=0.5,
        excess=0.3,
        excess_low=0.2,
        excess_high=0.4,
    )
    words = {"other_seed": "any", "mirror": "the sign of it doesn't matter", "twin": "beginning"}
    spec = charts.excess_forest(frame, words, ["a"], "stem").to_dict()
    encoding = spec["layer"][1]["encoding"]
    assert encoding["y"]["sort"] == ["mirror|the sign of it doesn't matter", "twin|beginning"]
    assert spec["layer"][2]["encoding"]["x"]["scale"]["domain"]["unionWith"][0] == 0
    # Ends of intervals are in the picture too.
    assert spec["layer"][1]["encoding"]["x"]["scale"] == spec["layer"][2]["encoding"]["x"]["scale"]
    assert spec["layer"][0]["encoding"]["x"] == {"datum": 0}


def test_the_lines_of_a_rows_label_fit_a_phone() -> None:
    from featdyn_engine.domain import CONTROLS

    for control, objection in CONTROLS.items():
        lines = row_label(control, objection).split("|")
        assert " ".join(lines) == f"{control.replace('_', ' ')} {objection}"
        assert max(map(len, lines)) <= 30
        assert len(lines) <= 4


def test_censored_horizons_are_hollow() -> None:
    frame = points(
        ["a", "a"], deep_epoch=[1.0, 2.0], deep_step=[5, 10], horizon=[5, 5], censored=[True, False]
    )
    spec = charts.horizon(frame, ["a"], 0.05).to_dict()
    marks = {
        layer["transform"][0]["filter"]: layer["mark"]["filled"] for layer in spec["layer"][1:]
    }
    assert marks == {"datum.censored": False, "!datum.censored": True}
    assert spec["title"]["text"] == "May lose 5 points"


def test_barriers_tell_the_whole_network_from_the_shallow_part() -> None:
    frame = points(
        ["a", "a"],
        path=["parameters", "shallow_parameters"],
        barrier=[1.0, 0.1],
        accuracy_barrier=[0.5, 0.0],
        deep_step=10,
    )
    spec = charts.barrier(frame, ["a"]).to_dict()
    rows = next(iter(spec["datasets"].values()))
    assert [row["moves"] for row in rows] == ["whole network", "shallow part alone"]
    assert spec["layer"][0]["encoding"]["strokeDash"]["field"] == "moves"


def test_a_reference_line_has_a_row_of_its_own() -> None:
    for place, axis in (({"x": 0.5}, "x"), ({"y": 0}, "y")):
        spec = reference(**place).to_dict()
        assert spec["encoding"][axis] == {"datum": place[axis]}
        assert len(spec["datasets"][spec["data"]["name"]]) == 1


def test_gains_of_averages_are_points_of_runs_under_whole_intervals_over_seeds() -> None:
    gains = pl.DataFrame(
        {
            "run": ["a0", "a1", "b0"],
            "arm": ["a", "a", "b"],
            "network": "SWA",
            "gain": [0.02, 0.04, -0.01],
            "accuracy": 0.5,
            "checkpoints": 3,
            "n": 100,
        }
    )
    means = pl.DataFrame(
        {
            "arm": ["a", "b"],
            "network": "SWA",
            "gain": [0.03, -0.01],
            "gain_low": [-0.1, None],
            "gain_high": [0.16, None],
            "n_seeds": [2, 1],
            "n": 100,
        }
    )
    spec = charts.average_gains(gains, means, ["a", "b"], "test set").to_dict()
    zero, bars, runs, middles = spec["layer"]
    assert zero["encoding"]["x"] == {"datum": 0}
    # Of one seed there is a point, and no bar.
    assert bars["transform"] == [{"filter": "isValid(datum.gain_low)"}]
    assert runs["encoding"]["x"]["scale"]["domain"] == [-0.1, 0.16]
    assert [row["run"] for row in spec["datasets"][runs["data"]["name"]]] == ["a0", "a1", "b0"]
    assert spec["datasets"][middles["data"]["name"]][0]["gain"] == 0.03
    assert spec["title"]["subtitle"] == "points: runs; bars: 95 % over seeds (t)"
    alone = charts.average_gains(gains[2:], means[1:], ["a", "b"], "test set").to_dict()
    assert alone["title"]["subtitle"] == "one seed: no interval"
    assert alone["layer"][2]["encoding"]["color"]["legend"]["values"] == ["b"]


def test_names_of_arms_that_are_too_long_for_a_phone_stand_below_each_other() -> None:
    def columns(arms: list[str]) -> int:
        spec = charts.horizon(pl.DataFrame({"arm": arms, "horizon": [1] * len(arms)}), arms, 0.01)
        found: int = spec.to_dict()["layer"][0]["encoding"]["color"]["legend"]["columns"]
        return found

    assert columns(["true labels", "random labels"]) == 2
    assert columns(["true labels", "frozen, cut stage1.2, from_epoch 3"]) == 1


def test_a_legend_of_many_runs_takes_no_height_from_their_curves() -> None:
    metrics = pl.DataFrame(
        [
            {"run_id": "r", "run": "r", "mode": mode, "split": "train", "labels": "true"}
            | {"epoch": float(e), "step": e, "accuracy": 0.5, "loss": 1.0, "lr": 0.1}
            for mode in ("eval", "running")
            for e in range(3)
        ]
    )
    checkpoints = metrics.select("epoch", "step").unique()
    spec = charts.training_curves(metrics, checkpoints, ["r"], "loss", "loss").to_dict()
    # Fitted to the page's width alone: "fit" would take legend and title out of the height.
    assert spec["autosize"]["type"] == "fit-x"


def test_the_last_deep_part_is_in_the_legend_of_lag_profiles() -> None:
    spec = charts.lag_profile(cells(), "accuracy", 0.1, "arm").to_dict()
    colours = [layer["encoding"]["color"] for layer in spec["layer"]]
    (legend,) = [each["legend"] for each in colours if "legend" in each]
    assert legend["values"][-1] == max(STEPS) / 5


@pytest.mark.parametrize(("classes", "every"), [(10, True), (40, False)])
def test_a_confusion_names_every_class_where_there_is_room(classes: int, every: bool) -> None:
    counts = pl.DataFrame({"own": [0], "predicted": [1], "count": [3]})
    spec = charts.confusion(counts, tuple(f"class {k}" for k in range(classes))).to_dict()
    axis = spec["layer"][0]["encoding"]["x"]["axis"]
    assert axis["labelOverlap"] is not every
