"""Mean corruption error against a slow oracle in Python."""

from pathlib import Path

import pytest

from store import queries
from store.connection import reading
from store.results import ingest
from tests.store import cube


def test_the_mean_error_is_over_kinds_and_held_against_the_clean_error(cube_home: Path) -> None:
    with reading(cube_home) as connection:
        found = queries.corruption_errors(connection, [cube.TRUE])
    assert found["step"].to_list() == list(cube.STEPS)
    for row in found.iter_rows(named=True):
        clean, foggy = (
            1 - cube.probe_correct(cube.TRUE, kind, row["step"]) / cube.N
            for kind in ("none", "fog")
        )
        assert (row["kinds"], row["sets"], row["n"]) == (1, 1, cube.N)
        assert row["mean_error"] == pytest.approx(foggy)
        assert row["clean_error"] == pytest.approx(clean)
        assert row["relative"] == pytest.approx(foggy - clean)


def test_kinds_weigh_alike_whatever_their_severities(own_cube_home: Path) -> None:
    # Fog at two severities, noise at one: the mean of the two means.
    (foggy,) = (
        row
        for row in cube.corruption_rows(cube.TRUE)
        if row["corruption"] == "fog" and row["step"] == cube.STEPS[0]
    )
    rows = [
        foggy | {"accuracy": 0.2, "eval_id": "abcabcabcabc", "severity": 3},
        foggy | {"accuracy": 0.4, "eval_id": "defdefdefdef", "corruption": "snow"},
    ]
    sets = [cube.evaluation_row(cube.FOGGY) | {"eval_id": row["eval_id"]} for row in rows]
    ingest(
        own_cube_home,
        [
            cube.write(own_cube_home, "evaluations", "planted", sets, None),
            cube.write(own_cube_home, "corruptions", "planted", rows, cube.TRUE),
        ],
    )
    with reading(own_cube_home) as connection:
        found = queries.corruption_errors(connection, [cube.TRUE])
    row = found.row(0, named=True)
    assert (row["kinds"], row["sets"]) == (2, 3)
    assert row["mean_error"] == pytest.approx((1 - (0.2 + foggy["accuracy"]) / 2 + 0.6) / 2)
