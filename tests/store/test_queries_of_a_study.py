"""Questions about the finished tiny study: the engine's rows answer them as it should be."""

from collections.abc import Iterator
from pathlib import Path

import duckdb
import polars as pl
import pytest

from store import queries
from store.connection import reading
from store.results import COMPANIONS


@pytest.fixture(scope="module")
def store(tiny_home: Path) -> Iterator[duckdb.DuckDBPyConnection]:
    with reading(tiny_home) as connection:
        yield connection


@pytest.fixture(scope="module")
def run_ids(store: duckdb.DuckDBPyConnection) -> list[str]:
    return queries.study_runs(store, "tiny")["run_id"].to_list()


def test_studies_count_their_runs_and_the_finished_ones(store: duckdb.DuckDBPyConnection) -> None:
    row = queries.studies(store).row(0, named=True)
    assert (row["study"], row["title"]) == ("tiny", "Tiny: true against random labels")
    assert row["runs"] == row["finished"] >= 2
    done = store.execute(
        "SELECT count(DISTINCT kind) FROM units WHERE status = 'finished' AND run_id IS NOT NULL"
    ).fetchall()
    assert [(row["kinds"],)] == done


def test_runs_come_in_the_order_of_the_study(store: duckdb.DuckDBPyConnection) -> None:
    frame = queries.study_runs(store, "tiny")
    assert frame["arm"].to_list() == ["true labels", "random labels"]
    assert frame["label_noise"].to_list() == [0.0, 1.0]


def test_choices_name_every_cut_of_both_splits_once(
    store: duckdb.DuckDBPyConnection, run_ids: list[str]
) -> None:
    frame = queries.splice_choices(store, run_ids).filter(
        pl.col("control") == "none", pl.col("norm") == "inherit"
    )
    expected = [(split, depth) for split in ("train", "test") for depth in range(1, 11)]
    assert frame.select("split", "depth").unique(maintain_order=True).rows() == expected


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
    assert frame.rows() == [row for row in expected if row[0] in run_ids]


def test_unit_counts_are_those_of_the_parts(
    tiny_home: Path, store: duckdb.DuckDBPyConnection
) -> None:
    counts = dict(queries.unit_counts(store).select("kind", "count").rows())
    for kind in ("evaluations", "metrics", "splices"):
        assert counts[kind] == len(list((tiny_home / "parts" / kind).iterdir()))
    assert not set(counts) & set(COMPANIONS)
