"""Scores, asymmetry and excess of arms, and retention with what it is drawn against."""

from collections.abc import Iterator
from pathlib import Path

import duckdb
import numpy as np
import polars as pl
import pytest
from scipy import stats

from store import queries
from store.connection import reading
from tests.store import cube

ASKED = (cube.STUDY, [cube.TEST], "stem", ["inherit"])


@pytest.fixture(scope="module")
def store(cube_home: Path) -> Iterator[duckdb.DuckDBPyConnection]:
    with reading(cube_home) as connection:
        yield connection


def row(found: pl.DataFrame, arm: str, quantity: str, control: str = "none") -> dict[str, object]:
    return found.row(
        by_predicate=(pl.col("arm") == arm)
        & (pl.col("quantity") == quantity)
        & (pl.col("control") == control),
        named=True,
    )


def test_an_arm_of_several_seeds_has_an_interval_over_seeds(
    store: duckdb.DuckDBPyConnection,
) -> None:
    found = row(queries.sensitivity(store, *ASKED), "true", "score")
    values = [cube.SCORES[cube.TRUE], cube.SCORES[cube.SECOND]]
    expected = stats.t.interval(0.95, 1, np.mean(values), stats.sem(values))
    assert found["value"] == pytest.approx(np.mean(values))
    assert (found["low"], found["high"]) == pytest.approx(expected)
    assert (found["over"], found["n_seeds"], found["n"]) == ("seeds", 2, cube.N)


def test_an_arm_of_one_seed_has_its_own_over_examples(store: duckdb.DuckDBPyConnection) -> None:
    found = queries.sensitivity(store, *ASKED)
    single = row(found, "random", "score")
    assert (single["value"], single["low"], single["high"]) == (cube.SCORES[cube.RANDOM], 0.1, 1.0)
    assert (single["over"], single["n_seeds"]) == ("examples", 1)
    # One of the two seeds alone has this control.
    null = row(found, "true", "excess", "other_seed")
    assert (null["value"], null["low"], null["high"], null["over"]) == (0.3, 0.2, 0.4, "examples")
    backward = row(found, "random", "asymmetry")
    assert (backward["value"], backward["low"], backward["high"]) == (0.1, 0.05, 0.15)


def test_another_measure_set_or_cut_is_another_answer(store: duckdb.DuckDBPyConnection) -> None:
    score = row(queries.sensitivity(store, *ASKED, "agreement"), "random", "score")
    assert score["value"] == pytest.approx(cube.SCORES[cube.RANDOM] + 0.01)
    train = queries.sensitivity(store, cube.STUDY, [cube.TRAIN], "stem", ["inherit"])
    assert row(train, "random", "score")["value"] == pytest.approx(0.21)
    assert queries.sensitivity(store, cube.STUDY, [cube.TEST], "stem", ["none"]).is_empty()


def test_arms_come_in_the_order_of_the_study_with_what_they_are(
    store: duckdb.DuckDBPyConnection,
) -> None:
    found = queries.arm_settings(store, cube.STUDY)
    assert found["arm"].to_list() == ["true", "random"]
    assert found["label_noise"].to_list() == [0.0, 1.0]
    assert found["n_seeds"].to_list() == [2, 1]
    assert set(found["augmentation"]) == {"none"}


def test_a_retention_stands_beside_the_runs_own_accuracy_and_displacement(
    store: duckdb.DuckDBPyConnection,
) -> None:
    found = queries.retentions(store, [cube.TRUE], "test", "stem")
    assert set(found["eval_id"]) == {cube.TEST}
    assert set(found["control"]) == {"none", "other_seed"}
    for each in found.iter_rows(named=True):
        s = each["shallow_step"]
        own = cube.correct((cube.TRUE, cube.TRUE, "none", cube.TEST, "stem", s, s))
        assert each["own_accuracy"] == pytest.approx(own / cube.N)
        last = cube.STEPS[-1]
        assert each["displacement"] == cube.displacement(cube.TRUE, "stem", s, last)
        assert each["retention"] == cube.kept(cube.TRUE, each["control"], cube.TEST, s)
        assert each["shallow_epoch"] == s / cube.STEPS_AN_EPOCH


def test_a_corrupted_retention_stands_beside_the_clean_one_of_the_same_step(
    store: duckdb.DuckDBPyConnection,
) -> None:
    found = queries.corrupted_retentions(store, [cube.TRUE, cube.RANDOM])
    assert set(zip(found["corruption"], found["severity"], strict=True)) == {("fog", 2)}
    assert len(found) == 2 * len(cube.CUTS) * (len(cube.STEPS) - 1)
    for each in found.iter_rows(named=True):
        of = (each["run_id"], "none")
        assert each["clean"] == cube.kept(*of, cube.TEST, each["shallow_step"])
        assert each["retention"] == cube.kept(*of, cube.FOGGY, each["shallow_step"])
        assert each["retention_high"] - each["clean_high"] == pytest.approx(-0.3)
