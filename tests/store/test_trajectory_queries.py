from collections.abc import Iterator
from pathlib import Path

import duckdb
import pyarrow.parquet as pq
import pytest

from store import queries
from store.connection import reading, writing
from store.results import ingest
from tests.store import cube

PLACE = (cube.TRUE, cube.TEST, "stage1")


@pytest.fixture(scope="module")
def store(cube_home: Path) -> Iterator[duckdb.DuckDBPyConnection]:
    with reading(cube_home) as connection:
        yield connection


def test_pictures_are_listed_once_with_what_made_them(store: duckdb.DuckDBPyConnection) -> None:
    found = queries.trajectory_pictures(store, [cube.TRUE])
    assert found["cut"].to_list() == ["stem", "stage1"]
    assert set(found["method"]) == {"pooled_umap"}
    assert found["class_names"].to_list() == [list(cube.CLASSES)] * 2
    assert set(found["parameters"]) == {'{"seed": 0}'}


@pytest.mark.parametrize("method", cube.TRAJECTORY_METHODS)
def test_every_example_stands_at_its_place_at_every_checkpoint(
    method: str, store: duckdb.DuckDBPyConnection
) -> None:
    found = queries.trajectories(store, *PLACE, method)
    expected = [
        (step, step / 10, frame, i, cube.CLASSES[i % 3], *cube.place(method, step, i))
        for frame, step in enumerate(cube.STEPS)
        for i in range(cube.N)
    ]
    columns = ("step", "epoch", "frame", "example", "class", "x", "y")
    assert found.select(columns).rows() == expected


def test_the_prediction_of_each_checkpoint_stands_beside_the_class(
    store: duckdb.DuckDBPyConnection,
) -> None:
    found = queries.trajectories(store, *PLACE, "pca")
    for row in found.iter_rows(named=True):
        expected = row["class"] if row["step"] else cube.CLASSES[0]
        assert row["predicted"] == expected


def test_contours_are_a_row_a_corner_and_images_a_row_an_example(
    store: duckdb.DuckDBPyConnection,
) -> None:
    found = queries.trajectory_contours(store, *PLACE, "pca")
    assert len(found) == len(cube.STEPS) * len(cube.CLASSES) * 5
    first = found.head(5)
    assert first["corner"].to_list() == list(range(5))
    assert first.select("x", "y").rows() == [(-1, -1), (1, -1), (1, 1), (-1, 1), (-1, -1)]
    assert first["class"].unique().to_list() == [cube.CLASSES[0]]
    images = queries.trajectory_images(store, cube.TEST)
    assert images["example"].to_list() == list(range(cube.N))
    assert set(images["png"]) == {cube.PNG}
    assert queries.trajectory_images(store, cube.TRAIN).is_empty()


def test_quality_is_a_row_a_checkpoint(store: duckdb.DuckDBPyConnection) -> None:
    found = queries.trajectory_quality(store, *PLACE, "pooled_umap")
    assert found["step"].to_list() == list(cube.STEPS)
    assert found["displacement"].to_list() == [None, 0.5, 0.5, 0.5]
    assert set(found["chance"]) == {5 / 29}


def test_a_later_picture_of_fewer_examples_replaces_the_whole_of_the_older(
    own_cube_home: Path,
) -> None:
    part = own_cube_home / "parts" / "trajectories" / f"trajectories-{cube.TRUE}.parquet"
    few = pq.read_table(part, filters=[("example", "<", 7)]).drop(["unit_id"])
    ingest(own_cube_home, [cube.write(own_cube_home, "trajectories", "fewer", few, cube.TRUE)])
    with writing(own_cube_home) as connection:
        connection.execute(
            "UPDATE base.units SET finished_at = TIMESTAMP '2025-01-02' WHERE unit_id = 'fewer'"
        )
    with reading(own_cube_home) as connection:
        found = queries.trajectories(connection, *PLACE, "pooled_umap")
    assert sorted(set(found["example"])) == list(range(7))
    # The later picture has no contours: those of the older one must not stand around it.
    with reading(own_cube_home) as connection:
        assert queries.trajectory_contours(connection, *PLACE, "pooled_umap").is_empty()
