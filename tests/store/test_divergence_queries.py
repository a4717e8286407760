"""Distances come with the epochs of both steps, of the asked runs and split alone."""

from pathlib import Path

from store import queries
from store.connection import reading
from tests.store import cube


def test_every_distance_of_a_run_comes_once_with_both_epochs(cube_home: Path) -> None:
    with reading(cube_home) as connection:
        found = queries.divergences(connection, [cube.TRUE], "test")
        assert queries.divergences(connection, [cube.TRUE], "train").is_empty()
    expected = cube.divergence_rows(cube.TRUE)
    names = list(expected[0])
    assert sorted(map(repr, found.select(names).rows())) == sorted(
        repr(tuple(row.values())) for row in expected
    )
    for part in ("shallow", "deep"):
        epochs = [step / cube.STEPS_AN_EPOCH for step in found[f"{part}_step"]]
        assert found[f"{part}_epoch"].to_list() == epochs
