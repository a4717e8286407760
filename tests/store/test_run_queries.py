"""What the store says of runs: flags of what is wrong, last accuracies, previews of views."""

import json
from collections.abc import Iterator
from pathlib import Path

import duckdb
import pytest

from store import queries
from store.connection import reading, writing
from tests.store import cube


@pytest.fixture
def flawed(own_cube_home: Path) -> Iterator[duckdb.DuckDBPyConnection]:
    """The home by hand with a checkpoint twice, one missing, and a unit that failed."""
    with writing(own_cube_home) as connection:
        connection.execute(
            "UPDATE base.checkpoints SET sha256 = repeat('0', 64) WHERE run_id = ? AND step = 20",
            [cube.TRUE],
        )
        connection.execute(
            "DELETE FROM base.checkpoints WHERE run_id = ? AND step = 10", [cube.SECOND]
        )
        connection.execute(
            "UPDATE base.study_runs SET config = ? WHERE run_id = ?",
            [json.dumps({"checkpoints": [0, 10, 20, 40, 80]}), cube.SECOND],
        )
        connection.execute(
            "INSERT INTO base.failures BY NAME SELECT 'x' AS unit_id, 'splices' AS kind, "
            "? AS run_id, 'at stem' AS label, 'the disk is full' AS reason",
            [cube.RANDOM],
        )
    with reading(own_cube_home) as connection:
        yield connection


def test_each_flaw_is_named_with_its_place(flawed: duckdb.DuckDBPyConnection) -> None:
    found = queries.integrity_flags(flawed, list(cube.ARMS)).rows()
    # Step 80 is past the last one measured: an early stop leaves it out.
    assert found == [
        (cube.TRUE, "equal checkpoints at different steps", "steps 0, 20"),
        (cube.SECOND, "checkpoints missing", "steps 10"),
        (cube.RANDOM, "failed: splices", "at stem: the disk is full"),
    ]


def test_a_sound_store_has_no_flag(tiny_home: Path) -> None:
    with reading(tiny_home) as connection:
        runs = queries.study_runs(connection, "tiny")["run_id"].to_list()
        assert queries.integrity_flags(connection, runs).is_empty()


def test_the_last_accuracies_are_those_of_the_last_step(tiny_home: Path) -> None:
    with reading(tiny_home) as connection:
        runs = queries.study_runs(connection, "tiny")["run_id"].to_list()
        rows = queries.metrics(connection, runs).filter(mode="eval").rows(named=True)
        found = queries.final_accuracies(connection, runs).rows(named=True)
    assert len(found) == len(runs)
    for each in found:
        last = {
            row["split"]: row["accuracy"]
            for row in rows
            if row["run_id"] == each["run_id"] and row["step"] == each["step"]
        }
        assert last == {"train": each["train_accuracy"], "test": each["test_accuracy"]}


def test_a_preview_gives_as_many_rows_as_asked_and_none_of_an_unknown_view(cube_home: Path) -> None:
    with reading(cube_home) as connection:
        assert len(queries.preview(connection, "splices", 5)) == 5
        assert queries.preview(connection, 'runs"; DROP VIEW runs; --', 5).is_empty()
