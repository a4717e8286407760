"""Every question of store/queries.py: its columns, its order, its answer where there is none."""

import inspect
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import duckdb
import polars as pl
import pytest
from scipy.stats import binomtest

from store import queries
from store.connection import migrate, reading

RUN_COLUMNS = (
    "arm name run_id dataset network norm_layer optimizer label_noise pixels_permuted train_size "
    "seed_init seed_order seed_labels frozen_depth frozen_from replay parent_run_id parent_step "
    "config status"
)
NO_RUN = ["000000000000"]

# question: (arguments that find rows, arguments that find none, columns, columns of the order)
QUESTIONS: dict[str, tuple[str, list[Any] | None, str, list[str]]] = {
    "studies": ("", None, "study title runs finished", ["study"]),
    "study_runs": ("study", ["no-such-study"], RUN_COLUMNS, []),
    "metrics": (
        "runs",
        [NO_RUN],
        "run_id step epoch split mode labels n correct accuracy loss lr",
        ["run_id", "step"],
    ),
    "checkpoints": ("runs", [NO_RUN], "run_id step epoch sha256 bytes path", ["run_id", "step"]),
    "splice_choices": ("runs", [NO_RUN], "split norm cut depth classes", ["norm", "depth"]),
    "splice_cells": (
        "cube",
        [NO_RUN, "test", "inherit"],
        "run_id cut depth shallow_step deep_step shallow_epoch deep_epoch n correct accuracy "
        "accuracy_low accuracy_high loss margin agreement chance retention",
        ["run_id", "depth", "shallow_step", "deep_step"],
    ),
    "final_training_accuracy": ("runs", [NO_RUN], "run_id step accuracy", ["run_id"]),
    "unit_counts": ("", None, "kind count seconds", ["kind"]),
}


@pytest.fixture(scope="module")
def store(tiny_home: Path) -> Iterator[duckdb.DuckDBPyConnection]:
    with reading(tiny_home) as connection:
        yield connection


@pytest.fixture
def empty_store() -> Iterator[duckdb.DuckDBPyConnection]:
    with duckdb.connect(":memory:") as connection:
        migrate(connection)
        yield connection


@pytest.fixture(scope="module")
def run_ids(store: duckdb.DuckDBPyConnection) -> list[str]:
    return [run_id for (run_id,) in store.execute("SELECT run_id FROM runs").fetchall()]


def question(name: str) -> Callable[..., pl.DataFrame]:
    return getattr(queries, name)


def arguments(name: str, run_ids: list[str]) -> list[Any]:
    known: dict[str, list[Any]] = {
        "": [],
        "study": ["tiny"],
        "runs": [run_ids],
        "cube": [run_ids, "test", "inherit"],
    }
    return known[QUESTIONS[name][0]]


def test_every_public_function_is_tested_here() -> None:
    public = {
        name
        for name, value in inspect.getmembers(queries, inspect.isfunction)
        if not name.startswith("_") and value.__module__ == queries.__name__
    }
    assert public == set(QUESTIONS)


@pytest.mark.parametrize("name", QUESTIONS)
def test_a_question_answers_with_its_columns(
    name: str, store: duckdb.DuckDBPyConnection, run_ids: list[str]
) -> None:
    frame = question(name)(store, *arguments(name, run_ids))
    assert isinstance(frame, pl.DataFrame)
    assert frame.columns == QUESTIONS[name][2].split()
    assert len(frame) > 0


@pytest.mark.parametrize("name", [name for name, entry in QUESTIONS.items() if entry[3]])
def test_an_answer_is_in_order(
    name: str, store: duckdb.DuckDBPyConnection, run_ids: list[str]
) -> None:
    frame = question(name)(store, *arguments(name, run_ids))
    groups = frame.partition_by("split") if name == "splice_choices" else [frame]
    for group in groups:
        keys = group.select(QUESTIONS[name][3]).rows()
        assert keys == sorted(keys)


@pytest.mark.parametrize("name", [name for name, entry in QUESTIONS.items() if entry[1]])
def test_asking_for_what_is_not_there_gives_the_same_columns_and_types_and_no_row(
    name: str, store: duckdb.DuckDBPyConnection, run_ids: list[str]
) -> None:
    full = question(name)(store, *arguments(name, run_ids))
    none = question(name)(store, *(QUESTIONS[name][1] or []))
    assert len(none) == 0
    assert none.schema == full.schema


@pytest.mark.parametrize("name", QUESTIONS)
def test_an_empty_store_answers_with_no_row(
    name: str, empty_store: duckdb.DuckDBPyConnection, run_ids: list[str]
) -> None:
    frame = question(name)(empty_store, *arguments(name, run_ids))
    assert len(frame) == 0
    assert frame.columns == QUESTIONS[name][2].split()


@pytest.mark.parametrize(
    "name", [name for name, entry in QUESTIONS.items() if entry[0] in ("runs", "cube")]
)
def test_asking_for_no_run_at_all_gives_no_row(
    name: str, store: duckdb.DuckDBPyConnection, run_ids: list[str]
) -> None:
    _, *others = arguments(name, run_ids)
    assert len(question(name)(store, [], *others)) == 0


@pytest.mark.parametrize(
    "name", [name for name, entry in QUESTIONS.items() if entry[0] in ("runs", "cube")]
)
def test_an_answer_holds_the_asked_run_alone(
    name: str, store: duckdb.DuckDBPyConnection, run_ids: list[str]
) -> None:
    _, *others = arguments(name, run_ids)
    frame = question(name)(store, run_ids[:1], *others)
    if "run_id" in frame.columns:
        assert set(frame["run_id"]) == set(run_ids[:1])
    assert 0 < len(frame) <= len(question(name)(store, run_ids, *others))


def test_studies_count_their_runs_and_the_finished_ones(store: duckdb.DuckDBPyConnection) -> None:
    assert queries.studies(store).rows() == [("tiny", "Tiny: true against random labels", 2, 2)]


def test_runs_come_in_the_order_of_the_study(store: duckdb.DuckDBPyConnection) -> None:
    frame = queries.study_runs(store, "tiny")
    assert frame["arm"].to_list() == ["true labels", "random labels"]
    assert frame["label_noise"].to_list() == [0.0, 1.0]


def test_choices_name_every_cut_of_both_splits_once(
    store: duckdb.DuckDBPyConnection, run_ids: list[str]
) -> None:
    frame = queries.splice_choices(store, run_ids)
    expected = [(split, depth) for split in ("train", "test") for depth in range(1, 11)]
    assert frame.select("split", "depth").rows() == expected


def test_cells_are_the_whole_cube(store: duckdb.DuckDBPyConnection, run_ids: list[str]) -> None:
    frame = queries.splice_cells(store, run_ids, "test", "inherit")
    key = ["run_id", "cut", "shallow_step", "deep_step"]
    assert len(frame) == len(frame.unique(key)) == 2 * 10 * 10 * 10


def test_cells_of_an_unknown_split_or_norm_are_none(
    store: duckdb.DuckDBPyConnection, run_ids: list[str]
) -> None:
    assert len(queries.splice_cells(store, run_ids, "elsewhere", "inherit")) == 0
    assert len(queries.splice_cells(store, run_ids, "test", "elsewhere")) == 0


def test_the_epochs_of_a_cell_are_those_of_its_checkpoints(
    store: duckdb.DuckDBPyConnection, run_ids: list[str]
) -> None:
    # 96 examples in mini-batches of 32: three updates an epoch.
    frame = queries.splice_cells(store, run_ids, "train", "inherit")
    assert frame["shallow_epoch"].to_list() == [step / 3 for step in frame["shallow_step"]]
    assert frame["deep_epoch"].to_list() == [step / 3 for step in frame["deep_step"]]


def test_final_training_accuracy_is_that_of_the_last_step(
    store: duckdb.DuckDBPyConnection, run_ids: list[str]
) -> None:
    frame = queries.final_training_accuracy(store, run_ids)
    expected = store.execute(
        "SELECT run_id, step, accuracy FROM metrics WHERE split = 'train' AND mode = 'eval' "
        "AND step = 20 ORDER BY run_id"
    ).fetchall()
    assert frame.rows() == expected


def test_unit_counts_are_those_of_the_plan(store: duckdb.DuckDBPyConnection) -> None:
    counts = queries.unit_counts(store).select("kind", "count").rows()
    assert counts == [("evaluations", 3), ("metrics", 2), ("splices", 40)]


def test_the_interval_of_a_cell_is_wilsons(
    store: duckdb.DuckDBPyConnection, run_ids: list[str]
) -> None:
    frame = queries.splice_cells(store, run_ids, "test", "inherit")
    found = {
        (k, n): (low, high)
        for k, n, low, high in frame.select(
            "correct", "n", "accuracy_low", "accuracy_high"
        ).iter_rows()
    }
    assert len(found) > 5
    for (k, n), interval in found.items():
        expected = binomtest(k, n).proportion_ci(confidence_level=0.95, method="wilson")
        assert interval == pytest.approx((expected.low, expected.high), abs=1e-6)


WILSON = [(0, 1), (1, 1), (0, 40), (40, 40), (1, 360), (999, 1000), (5000, 10_000), (7, 12)]


@pytest.mark.parametrize(("k", "n"), WILSON)
def test_the_wilson_macros_agree_with_scipy(
    k: int, n: int, empty_store: duckdb.DuckDBPyConnection
) -> None:
    found = empty_store.execute("SELECT wilson_low(?, ?), wilson_high(?, ?)", [k, n, k, n])
    expected = binomtest(k, n).proportion_ci(confidence_level=0.95, method="wilson")
    assert found.fetchall()[0] == pytest.approx((expected.low, expected.high), abs=1e-6)


def test_the_wilson_interval_holds_the_share_and_stays_between_zero_and_one(
    empty_store: duckdb.DuckDBPyConnection,
) -> None:
    outside = empty_store.execute(
        "SELECT k, n, wilson_low(k, n), wilson_high(k, n) FROM range(1, 201) AS a(n), "
        "range(0, 201) AS b(k) WHERE k <= n AND NOT (0 <= wilson_low(k, n) "
        "AND wilson_low(k, n) <= k / n + 1e-12 AND k / n - 1e-12 <= wilson_high(k, n) "
        "AND wilson_high(k, n) <= 1)"
    ).fetchall()
    assert outside == []
