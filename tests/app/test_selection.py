"""One set and one cube a picture: no cell twice, whatever the store holds."""

from itertools import product

import polars as pl
import pytest

from app import selection

CELLS = [(0, 0), (0, 5), (5, 0), (5, 5)]
IMAGES = {"split": "train", "dataset": "digits", "classes": 10, "labels": "trained_on"}
CLEAN = {"corruption": "none", "severity": 0, "subset": "0"}


def sets(*rows: dict[str, object]) -> list[selection.EvaluationSet]:
    return selection.evaluation_sets(pl.DataFrame([{**IMAGES, **CLEAN, **row} for row in rows]))


def test_arms_scored_on_the_same_images_with_other_labels_share_a_set() -> None:
    (only,) = sets(
        {"run_id": "a", "eval_id": "one", "n": 500}, {"run_id": "b", "eval_id": "two", "n": 500}
    )
    assert only.eval_ids == ("one", "two")
    assert only.key == "one"


@pytest.mark.parametrize(
    "other", [{"n": 100}, {"corruption": "fog", "severity": 2}, {"labels": "true"}, {"subset": "1"}]
)
def test_other_images_or_labels_are_another_set(other: dict[str, object]) -> None:
    found = sets(
        {"run_id": "a", "eval_id": "one", "n": 500},
        {"run_id": "a", "eval_id": "two", "n": 500, **other},
    )
    assert [each.eval_ids for each in found] == [("one",), ("two",)]
    assert found[0].title != found[1].title


def cubes(**variants: list[object]) -> pl.DataFrame:
    """Every cell in every combination of the given columns."""
    usual: dict[str, list[object]] = {
        "run_id": ["r"],
        "cut": ["stem"],
        "eval_id": ["set"],
        "shallow_run_id": ["r"],
        "replicate": [0],
        "norm": ["inherit"],
        "dtype": ["float32"],
        "batch_size": [250],
        "target_half_width": [0.0],
    }
    names = {**usual, **variants}
    rows = [dict(zip(names, values, strict=True)) for values in product(*names.values())]
    return pl.DataFrame(
        [{**row, "shallow_step": s, "deep_step": t} for row in rows for s, t in CELLS]
    )


@pytest.mark.parametrize(
    ("column", "values", "shown"),
    [
        ("dtype", ["bfloat16", "float32"], "float32"),
        ("dtype", ["bfloat16"], "bfloat16"),
        ("batch_size", [64, 250, 500], 250),
        ("batch_size", [500, 128], 128),
        ("target_half_width", [0.01, 0.0], 0.0),
        ("target_half_width", [0.02, 0.01], 0.01),
        ("replicate", [1, 0], 0),
        ("eval_id", ["elsewhere", "set"], "set"),
        ("shallow_run_id", ["two", "one"], "one"),
    ],
)
def test_of_several_cubes_one_is_shown_whole(
    column: str, values: list[object], shown: object
) -> None:
    found = selection.unique_cubes(cubes(**{column: values}), ("set",))
    assert set(found[column]) == {shown}
    assert found.select("shallow_step", "deep_step").rows() == CELLS


def test_every_run_and_cut_has_its_own_cube_and_all_doubles_go() -> None:
    frame = cubes(
        run_id=["r", "q"],
        cut=["stem", "stage1"],
        dtype=["bfloat16", "float32"],
        batch_size=[64, 250],
        target_half_width=[0.0, 0.01],
    )
    only_rough = frame.filter((pl.col("run_id") == "r") | (pl.col("dtype") == "bfloat16"))
    found = selection.unique_cubes(only_rough, ("set",))
    key = ["run_id", "cut", "shallow_step", "deep_step"]
    assert len(found) == len(found.unique(key)) == 2 * 2 * len(CELLS)
    assert dict(found.select("run_id", "dtype").unique().iter_rows()) == {
        "r": "float32",
        "q": "bfloat16",
    }


def test_retentions_ends_are_those_of_the_accuracy_on_its_scale() -> None:
    cells = pl.DataFrame(
        {
            "run_id": "r",
            "shallow_step": [0, 5, 0, 5],
            "deep_step": [0, 0, 5, 5],
            "accuracy": [0.1, 0.1, 0.5, 0.9],
            "chance": [0.1, 0.1, 0.2, 0.1],
        }
    )
    points = pl.DataFrame(
        {
            "run_id": ["r"],
            "shallow_step": [0],
            "retention": [0.375],
            "accuracy_low": [0.4],
            "accuracy_high": [0.6],
        }
    )
    row = selection.matched(points, cells).row(0, named=True)
    assert row["retention_low"] == pytest.approx((0.4 - 0.2) / 0.8)
    assert row["retention_high"] == pytest.approx((0.6 - 0.2) / 0.8)


def test_a_cell_minus_its_control_and_nothing_where_the_control_has_none() -> None:
    cells = cubes().with_columns(pl.Series("accuracy", [0.1, 0.9, 0.2, 0.8]))
    control = cells.head(2).with_columns(pl.Series("accuracy", [0.1, 0.4]))
    found = selection.against_control(cells, control, "accuracy")
    assert found["difference"].to_list() == pytest.approx([0.0, 0.5, None, None])


def test_a_control_is_drawn_under_the_pages_normalisation_or_under_the_one_it_has() -> None:
    stored = [
        ("a", "twin", "inherit"),
        ("a", "twin", "recalibrate"),
        ("a", "other_seed_matched", "recalibrate"),
        ("b", "twin", "none"),
    ]
    frame = pl.DataFrame(stored, schema=["run_id", "control", "norm"], orient="row")
    assert selection.of_norms(frame, ("inherit", "none")).rows() == [stored[0], *stored[2:]]
    assert selection.of_norms(frame, ("recalibrate",)).rows() == stored[1:]


def test_estimated_cells_are_said_to_be_so() -> None:
    exact = cubes().with_columns(pl.lit(0.0).alias("half_width"), pl.lit(500).alias("n"))
    assert selection.estimates(exact) is None
    rough = cubes(target_half_width=[0.01]).with_columns(
        pl.Series("half_width", [0.0, 0.009, 0.004, 0.002]), pl.Series("n", [500, 400, 1200, 480])
    )
    said = selection.estimates(rough)
    assert said is not None
    assert "each to ±0.9 points" in said
    assert "n from 400 to 1,200" in said


def seeds(*accuracies: float, retention: float | None = 0.5) -> pl.DataFrame:
    """One cell of as many runs of one arm."""
    return pl.DataFrame(
        [
            {
                "run_id": f"r{i}",
                "cut": "stem",
                "depth": 1,
                "shallow_step": 0,
                "deep_step": 5,
                "shallow_epoch": 0.0,
                "deep_epoch": 1.0,
                "norm": "inherit",
                "dtype": "float32",
                "n": 100 + i,
                "accuracy": accuracy,
                "agreement": accuracy,
                "retention": retention if i == 0 else 0.5,
                "chance": 0.1,
                "loss": 1.0,
                "margin": 0.0,
            }
            for i, accuracy in enumerate(accuracies)
        ],
        schema_overrides={"retention": pl.Float64},
    )


def test_a_mean_over_seeds_has_students_limits() -> None:
    arms = {"r0": "true", "r1": "true", "r2": "true"}
    (row,) = selection.means_of_arms(seeds(0.5, 0.6, 0.7), arms).to_dicts()
    assert row["run_id"] == row["arm"] == "true"
    assert row["seeds"] == 3
    assert row["n"] == 100
    assert row["accuracy"] == pytest.approx(0.6)
    # t(0.975, 2) = 4.302653
    half = 4.302653 * 0.1 / 3**0.5
    assert row["accuracy_low"] == pytest.approx(0.6 - half)
    assert row["accuracy_high"] == pytest.approx(0.6 + half)


def test_one_seed_has_no_limits_over_seeds() -> None:
    (row,) = selection.means_of_arms(seeds(0.5), {"r0": "true"}).to_dicts()
    assert row["accuracy_low"] is None


def test_a_cell_that_a_seed_lacks_is_left_out_and_retention_needs_all_seeds() -> None:
    arms = {"r0": "true", "r1": "true"}
    other = seeds(0.5).with_columns(pl.lit(9, pl.Int64).alias("deep_step"))
    assert len(selection.means_of_arms(pl.concat([seeds(0.5, 0.6), other]), arms)) == 1
    (row,) = selection.means_of_arms(seeds(0.5, 0.6, retention=None), arms).to_dicts()
    assert row["retention"] is None


def test_limits_of_a_share_are_wilsons() -> None:
    from scipy.stats import binomtest

    cells = pl.DataFrame({"n": [100, 40], "agreement": [0.93, 1.0]})
    for row in selection.with_limits(cells, "agreement").to_dicts():
        expected = binomtest(round(row["agreement"] * row["n"]), row["n"]).proportion_ci(
            method="wilson"
        )
        assert row["agreement_low"] == pytest.approx(expected.low, abs=1e-6)
        assert row["agreement_high"] == pytest.approx(expected.high, abs=1e-6)
