"""Distances come with the epochs of both steps, of the asked runs and split alone."""

from pathlib import Path

import pytest

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


def test_the_terms_of_the_bound_are_those_counted_from_predictions(cube_home: Path) -> None:
    with reading(cube_home) as connection:
        found = queries.bound_terms(connection, [cube.TRUE])
    assert len(found) == len(cube.CUTS) * len(cube.STEPS)
    for row in found.iter_rows(named=True):
        t, cut = row["deep_step"], row["cut"]

        def error(eval_id: str, s: int, t: int = t, cut: str = cut) -> float:
            cell = (cube.TRUE, cube.TRUE, "none", eval_id, cut, s, t)
            return 1 - cube.correct(cell) / cube.N

        earlier = [s for s in cube.STEPS if s <= t]
        assert row["checkpoints"] == len(earlier)
        augmented = sum(error(cube.TRAIN, s) for s in earlier) / len(earlier)
        assert row["augmented_risk"] == pytest.approx(augmented)
        assert row["risk"] == pytest.approx(error(cube.TEST, t))
        assert row["tv_needed"] == pytest.approx(error(cube.TEST, t) - augmented)
