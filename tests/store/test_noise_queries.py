"""Answers about noise: all rows of the runs asked for, once, with epoch and data set."""

from pathlib import Path

import pytest

from store import queries
from store.connection import reading
from tests.store import cube, noise

PLACES = len(noise.STEPS) * (1 + 3 * len(noise.EXAMPLES) * len(cube.CUTS))
ROWS = {
    "noise_spectra": PLACES * noise.CHANNELS,
    "noise_tests": PLACES,
    "noise_alignment": PLACES - len(noise.STEPS),
}


@pytest.mark.parametrize("question", ROWS)
def test_every_row_of_a_run_comes_once_with_its_epoch(question: str, cube_home: Path) -> None:
    with reading(cube_home) as connection:
        found = getattr(queries, question)(connection, [cube.TRUE])
        assert getattr(queries, question)(connection, ["0" * 11]).is_empty()
    assert len(found) == ROWS[question]
    assert set(found["run_id"]) == {cube.TRUE}
    assert (found["epoch"] == found["step"] / cube.STEPS_AN_EPOCH).all()
    assert set(found["dataset"]) == {cube.evaluation_row(cube.TEST)["dataset"]}


def test_noise_of_sgd_comes_before_its_controls(cube_home: Path) -> None:
    with reading(cube_home) as connection:
        found = queries.noise_tests(connection, [cube.TRUE])
    at_cut = found.filter(found["example"] == noise.EXAMPLES[0])["source"].to_list()
    assert at_cut == list(noise.SOURCES) * (len(at_cut) // 3)
