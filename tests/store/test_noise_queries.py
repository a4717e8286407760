"""Answers about noise: all rows of the runs asked for, once, with epoch and data set."""

from pathlib import Path

import pyarrow.parquet as pq
import pytest

from store import queries
from store.connection import reading
from store.results import ingest
from tests.store import cube, noise

CUT = "stage1"
AT_CUT = len(noise.STEPS) * len(noise.BATCH_SIZES) * 3 * len(noise.EXAMPLES)
# Of tests, those of every cut and of the gradient; of the others, those of one cut.
ROWS = {
    "noise_spectra": AT_CUT * noise.CHANNELS,
    "noise_tests": AT_CUT * len(cube.CUTS) + len(noise.STEPS) * len(noise.BATCH_SIZES),
    "noise_alignment": AT_CUT,
}
ASKED = {"noise_spectra": (CUT,), "noise_tests": (), "noise_alignment": (CUT,)}


@pytest.mark.parametrize("question", ROWS)
def test_every_row_of_a_run_comes_once_with_its_epoch(question: str, cube_home: Path) -> None:
    with reading(cube_home) as connection:
        found = getattr(queries, question)(connection, [cube.TRUE], *ASKED[question])
        assert getattr(queries, question)(connection, ["0" * 11], *ASKED[question]).is_empty()
    assert len(found) == ROWS[question]
    assert set(found["run_id"]) == {cube.TRUE}
    assert (found["epoch"] == found["step"] / cube.STEPS_AN_EPOCH).all()
    assert set(found["dataset"]) == {cube.evaluation_row(cube.TEST)["dataset"]}


def test_noise_of_sgd_comes_before_its_controls(cube_home: Path) -> None:
    with reading(cube_home) as connection:
        found = queries.noise_tests(connection, [cube.TRUE])
    of_first = (found["example"] == noise.EXAMPLES[0]) & (found["batch_size"] == 8)
    at_cut = found.filter(of_first)["source"].to_list()
    assert at_cut == list(noise.SOURCES) * (len(at_cut) // 3)


def test_noise_comes_in_the_order_of_the_runs_asked_for_and_of_their_batch_sizes(
    cube_home: Path,
) -> None:
    runs = [cube.RANDOM, cube.TRUE]
    with reading(cube_home) as connection:
        found = queries.noise_tests(connection, runs)
    series = found.select("run_id", "batch_size").unique(maintain_order=True).rows()
    assert series == [(run, size) for run in runs for size in noise.BATCH_SIZES]


def test_rows_without_a_batch_size_are_left_out(own_cube_home: Path) -> None:
    """A part written before mini-batches were named has no key; its unit is planned anew."""
    part = own_cube_home / "parts" / "noise_tests" / f"noise-{cube.TRUE}.parquet"
    old = pq.read_table(part).drop(["unit_id", "batch_size", "step_rule", "representation"])
    ingest(own_cube_home, [cube.write(own_cube_home, "noise_tests", "old", old, cube.TRUE)])
    with reading(own_cube_home) as connection:
        assert len(queries.noise_tests(connection, [cube.TRUE])) == ROWS["noise_tests"]
