"""Answers about memory against slow oracles in Python, on the study made up by hand."""

from collections.abc import Iterator
from pathlib import Path
from statistics import mean, stdev
from typing import Any

import duckdb
import polars as pl
import pytest
from scipy.stats import binomtest, spearmanr
from scipy.stats import t as student

from store import queries
from store.connection import reading
from store.results import ingest
from tests.store import cube
from tests.store.memory import EPS, HIGH, LOSS_EPS

RUNS = list(cube.ARMS)
CUT = "stem"


@pytest.fixture(scope="module")
def store(cube_home: Path) -> Iterator[duckdb.DuckDBPyConnection]:
    with reading(cube_home) as connection:
        yield connection


def right(run: str, eval_id: str, s: int, t: int) -> list[bool]:
    return cube.right(run, eval_id, CUT, s, t)


def lost(run: str, eval_id: str, s: int, t: int) -> float:
    return (sum(right(run, eval_id, t, t)) - sum(right(run, eval_id, s, t))) / cube.N


def test_the_rows_by_hand_are_those_of_their_definition() -> None:
    for row in cube.memory_rows(cube.TRUE)["memory"]:
        up, down = row["wrong_to_right"], row["right_to_wrong"]
        p = binomtest(up, up + down, 0.5).pvalue if up + down else 1.0
        assert row["p"] == pytest.approx(p)
        assert row["kept"] == row["held"] - down


def test_flips_come_by_run_set_deep_step_and_lag_with_both_epochs(
    store: duckdb.DuckDBPyConnection,
) -> None:
    found = queries.memory_cells(store, [cube.TRUE], CUT)
    assert len(found) == len(cube.SETS) * len(cube.STEPS) ** 2
    assert set(found["cut"]) == {CUT}
    for row in found.iter_rows(named=True):
        s, t, eval_id = row["shallow_step"], row["deep_step"], row["eval_id"]
        cell, own = right(cube.TRUE, eval_id, s, t), right(cube.TRUE, eval_id, t, t)
        assert row["right_to_wrong"] == sum(b and not a for a, b in zip(cell, own, strict=True))
        assert row["wrong_to_right"] == sum(a and not b for a, b in zip(cell, own, strict=True))
        assert row["share"] == pytest.approx(row["kept"] / sum(own))
        assert row["lag"] == t - s
        assert row["lag_epochs"] == pytest.approx((t - s) / cube.STEPS_AN_EPOCH)
        assert row["shallow_epoch"] == s / cube.STEPS_AN_EPOCH
        assert (row["split"], row["corruption"], row["severity"]) == cube.SETS[eval_id]


def test_a_gap_is_what_is_lost_on_training_minus_what_is_lost_on_the_other_law(
    store: duckdb.DuckDBPyConnection,
) -> None:
    found = queries.transfer_gaps(store, RUNS, CUT)
    assert len(found) == len(RUNS) * 2 * len(cube.STEPS) ** 2
    assert set(found["eval_id"]) == {cube.TEST, cube.FOGGY}
    assert set(found["train_eval_id"]) == {cube.TRAIN}
    for row in found.iter_rows(named=True):
        place = row["shallow_step"], row["deep_step"]
        of_train = lost(row["run_id"], cube.TRAIN, *place)
        of_law = lost(row["run_id"], row["eval_id"], *place)
        assert row["gap"] == pytest.approx(of_train - of_law)
        assert row["train_lost"] == pytest.approx(of_train)
        assert row["train_n"] == cube.N


def other_reading(rows: list[dict[str, Any]]) -> list[dict[str, Any]]:
    return [row | {"gamma": 2.0, "share": 0.25, "gap": row["gap"]} for row in rows]


def test_another_margin_is_a_reading_of_its_own_and_no_second_gap(own_cube_home: Path) -> None:
    rows = other_reading(cube.memory_rows(cube.TRUE)["memory"])
    ingest(own_cube_home, [cube.write(own_cube_home, "memory", "margin", rows, cube.TRUE)])
    with reading(own_cube_home) as connection:
        cells = queries.memory_cells(connection, [cube.TRUE], CUT)
        assert len(cells) == 2 * len(cube.SETS) * len(cube.STEPS) ** 2
        choices = queries.memory_choices(connection, [cube.TRUE])
        gaps = queries.transfer_gaps(connection, [cube.TRUE], CUT)
        means = queries.memory_over_seeds(connection, cube.STUDY, CUT)
    assert set(choices.select("gamma", "eps", "loss_eps", "high").rows()) == {
        (0.0, EPS, LOSS_EPS, HIGH),
        (2.0, EPS, LOSS_EPS, HIGH),
    }
    assert len(gaps) == 2 * len(cube.STEPS) ** 2
    of_margin = means.filter(pl.col("gamma") == 2)
    assert set(of_margin.select("arm", "share", "n_seeds").rows()) == {("true", 0.25, 1)}


def test_means_over_seeds_have_students_limits_and_one_seed_has_none(
    store: duckdb.DuckDBPyConnection,
) -> None:
    found = queries.memory_over_seeds(store, cube.STUDY, CUT)
    assert len(found) == 2 * len(cube.SETS) * len(cube.STEPS) ** 2
    assert found["arm"].unique(maintain_order=True).to_list() == ["true", "random"]
    for row in found.filter(pl.col("split") == "train").iter_rows(named=True):
        place = row["shallow_step"], row["deep_step"]
        seeds = [cube.TRUE, cube.SECOND] if row["arm"] == "true" else [cube.RANDOM]
        values = [lost(run, cube.TRAIN, *place) for run in seeds]
        assert row["n_seeds"] == len(seeds)
        assert row["lost"] == pytest.approx(mean(values))
        if len(seeds) == 1:
            assert row["lost_low"] is None
            assert row["share_high"] is None
            continue
        half = student.ppf(0.975, 1) * stdev(values) / 2**0.5
        assert row["lost_low"] == pytest.approx(max(mean(values) - half, -1))
        assert row["lost_high"] == pytest.approx(min(mean(values) + half, 1))
        assert 0 <= row["share_low"] <= row["share_high"] <= 1
        assert row["gap"] is None


def test_the_memory_of_examples_comes_without_their_list(
    store: duckdb.DuckDBPyConnection,
) -> None:
    found = queries.example_memory(store, [cube.SECOND])
    assert len(found) == len(cube.SETS) * len(cube.CUTS)
    of_train = found.filter(pl.col("eval_id") == cube.TRAIN)
    assert set(of_train["memory"]) == {cube.SCORES[cube.SECOND]}
    assert set(of_train["labels"]) == {"trained_on"}


def test_a_point_of_induction_is_training_memory_beside_test_accuracy(
    store: duckdb.DuckDBPyConnection,
) -> None:
    found = queries.induction_points(store, cube.STUDY).filter(pl.col("cut") == CUT)
    last = cube.STEPS[-1]
    expected = [
        (run, cube.SCORES[run], sum(right(run, cube.TEST, last, last)) / cube.N) for run in RUNS
    ]
    rows = found.select("run_id", "train_memory", "test_accuracy").rows()
    for row, wanted in zip(rows, expected, strict=True):
        assert row == pytest.approx(wanted)
    assert found["test_memory"].to_list() == pytest.approx(
        [cube.SCORES[run] - 0.125 for run in RUNS]
    )


def test_three_runs_have_no_rank_correlation(store: duckdb.DuckDBPyConnection) -> None:
    found = queries.induction(store, cube.STUDY)
    assert len(found) == len(cube.CUTS)
    assert set(found.select("with_accuracy", "with_memory", "runs", "arms").rows()) == {
        (None, None, 3, 2)
    }


def test_four_runs_have_scipys_rank_correlation(own_cube_home: Path) -> None:
    """The run of the control joins the arms."""
    study = [row | {"role": "arm"} for row in cube.study_rows()]
    rows = [
        row | {"run_id": cube.OTHER, "memory": 0.55 - (0 if row["split"] == "train" else 0.3)}
        for row in cube.memory_rows(cube.RANDOM)["memory_examples"]
    ]
    cells = [
        row | {"run_id": cube.OTHER, "own_accuracy": 0.1}
        for row in cube.memory_rows(cube.RANDOM)["memory"]
    ]
    home = own_cube_home
    parts = [
        cube.write(home, "studies", cube.STUDY, study, None),
        cube.write(home, "memory_examples", "other", rows, cube.OTHER),
        cube.write(home, "memory", "other", cells, cube.OTHER),
    ]
    ingest(home, parts)
    with reading(home) as connection:
        points = queries.induction_points(connection, cube.STUDY).filter(pl.col("cut") == CUT)
        found = queries.induction(connection, cube.STUDY).filter(pl.col("cut") == CUT)
    (row,) = found.iter_rows(named=True)
    assert (row["runs"], row["arms"]) == (4, 2)
    for name, column in (("with_accuracy", "test_accuracy"), ("with_memory", "test_memory")):
        expected = spearmanr(points["train_memory"], points[column]).statistic
        assert row[name] == pytest.approx(expected)
