"""One stored cell, of one run or of two, against a slow count in Python."""

from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import duckdb
import pytest

from store import queries
from store.connection import reading
from tests.store import cube

OWN = (cube.TRUE, cube.TRUE, "none")
OTHERS = (cube.TRUE, cube.OTHER, "other_seed")
CELL = [0, 20]


@pytest.fixture(scope="module")
def store(cube_home: Path) -> Iterator[duckdb.DuckDBPyConnection]:
    with reading(cube_home) as connection:
        yield connection


def about(shallow_run: str) -> tuple[str, str, str, str, str, list[int]]:
    return cube.TRUE, shallow_run, cube.TEST, "stage1", "inherit", CELL


def own() -> list[int]:
    return cube.predicted((*OWN, cube.TEST, "stage1", CELL[1], CELL[1]))


@pytest.mark.parametrize("of", [OWN, OTHERS], ids=["one run", "two runs"])
def test_a_cell_is_that_of_its_two_runs(
    of: tuple[str, str, str], store: duckdb.DuckDBPyConnection
) -> None:
    cell = (*of, cube.TEST, "stage1", *CELL)
    (row,) = queries.stored_cell(store, *about(of[1])).iter_rows(named=True)
    assert (row["control"], row["correct"]) == (of[2], cube.correct(cell))
    said = cube.predicted(cell)
    changes = queries.stored_changes(store, *about(of[1]))
    assert {tuple(each[:3]): each[3] for each in changes.drop("dtype", "batch_size").rows()} == (
        Counter(zip(cube.TARGETS, own(), said, strict=True))
    )
    for each in queries.stored_classes(store, *about(of[1])).iter_rows(named=True):
        members = [i for i, y in enumerate(cube.TARGETS) if y == each["class"]]
        assert each["class_name"] == cube.CLASSES[each["class"]]
        assert each["correct"] == sum(said[i] == each["class"] for i in members)
        assert each["n"] == len(members)
        assert each["accuracy"] == each["correct"] / each["n"]
        right = sum(own()[i] == each["class"] for i in members)
        assert each["own_accuracy"] == pytest.approx(right / len(members))


def test_a_control_that_changes_features_is_no_splice_of_two_runs(tmp_path: Path) -> None:
    from store.results import ingest

    row = cube.splice_row((*OWN, cube.TEST, "stage1", *CELL)) | {"control": "mirror"}
    parts = [
        cube.write_study(tmp_path),
        *(cube._write_training(tmp_path, run) for run in (cube.TRUE,)),
        cube.write(tmp_path, "evaluations", cube.TEST, [cube.evaluation_row(cube.TEST)], None),
        cube.write(tmp_path, "controls", "m", [row], cube.TRUE),
    ]
    ingest(tmp_path, parts)
    with reading(tmp_path) as connection:
        assert connection.execute("SELECT count(*) FROM splices").fetchall() == [(1,)]
        assert queries.stored_cell(connection, *about(cube.TRUE)).is_empty()
