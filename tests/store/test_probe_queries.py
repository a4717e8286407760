"""Answers about probes against slow oracles in Python."""

from collections.abc import Iterator
from pathlib import Path

import duckdb
import numpy as np
import polars as pl
import pytest
from scipy.stats import spearmanr

from store import queries
from store.connection import reading
from store.results import ingest
from tests.store import cube

RUNS = list(cube.ARMS)
BEFORE, LAST = cube.STEPS[:-1], cube.STEPS[-1]


@pytest.fixture(scope="module")
def store(cube_home: Path) -> Iterator[duckdb.DuckDBPyConnection]:
    with reading(cube_home) as connection:
        yield connection


def spliced(run: str, eval_id: str, cut: str, step: int) -> float:
    return cube.correct((run, run, "none", eval_id, cut, step, LAST)) / cube.N


def test_probes_carry_the_epoch_of_their_checkpoint(store: duckdb.DuckDBPyConnection) -> None:
    found = queries.probes(store, [cube.TRUE])
    assert len(found) == 2 * len(cube.CUTS) * len(cube.STEPS)
    assert set(found.select("step", "epoch").rows()) == {(s, s / 10) for s in cube.STEPS}
    of_fog = found.filter(pl.col("eval_id") == cube.FOGGY).row(0, named=True)
    assert (of_fog["corruption"], of_fog["severity"]) == ("fog", 2)


def test_points_join_the_probe_at_s_with_the_splice_of_s_under_the_final_t(
    store: duckdb.DuckDBPyConnection,
) -> None:
    found = queries.probe_points(store, RUNS)
    rows = found.select(
        "run_id", "eval_id", "cut", "shallow_step", "deep_step", "probe_accuracy", "splice_accuracy"
    ).rows()
    assert set(rows) == {
        (r, e, c, s, LAST, cube.probe_correct(r, c, s) / cube.N, spliced(r, e, c, s))
        for r in RUNS
        for e in (cube.TEST, cube.FOGGY)
        for c, _ in cube.CUTS
        for s in BEFORE
    }
    assert len(rows) == len(set(rows))


def test_correlation_and_residual_are_those_of_scipy_and_numpy(
    store: duckdb.DuckDBPyConnection,
) -> None:
    found = queries.probe_agreement(store, RUNS)
    assert len(found) == len(RUNS) * 2 * len(cube.CUTS)
    for row in found.iter_rows(named=True):
        run, cut = row["run_id"], row["cut"]
        x = [cube.probe_correct(run, cut, s) / cube.N for s in BEFORE]
        y = [spliced(run, row["eval_id"], cut, s) for s in BEFORE]
        residuals = np.polyval(np.polyfit(x, y, 1), x) - y
        assert row["points"] == 3
        assert row["residual"] == pytest.approx(np.sqrt((residuals**2).mean()))
        assert row["spread"] == pytest.approx(np.std(y))
        if row["spread"]:
            assert row["spearman"] == pytest.approx(spearmanr(x, y).statistic)
        else:
            assert row["spearman"] is None


def write_probes(home: Path, accuracies: dict[int, float]) -> None:
    """Other probes of one cut of a run; the last part written shows."""
    rows = [
        row | {"accuracy": accuracies[row["step"]], "pool": 3}
        for row in cube.probe_rows(cube.TRUE)
        if row["cut"] == "stem" and row["eval_id"] == cube.TEST and row["step"] in accuracies
    ]
    ingest(home, [cube.write(home, "probes", "planted", rows, cube.TRUE)])


def test_a_splice_that_only_restates_the_probe_has_correlation_one_and_no_residual(
    own_cube_home: Path,
) -> None:
    write_probes(
        own_cube_home, {s: spliced(cube.TRUE, cube.TEST, "stem", s) / 2 + 0.1 for s in BEFORE}
    )
    with reading(own_cube_home) as connection:
        found = queries.probe_agreement(connection, [cube.TRUE]).filter(pl.col("pool") == 3)
    (row,) = found.iter_rows(named=True)
    assert row["spearman"] == pytest.approx(1)
    assert row["residual"] == pytest.approx(0, abs=1e-12)


@pytest.mark.parametrize("planted", [{0: 0.3, 10: 0.4}, {0: 0.5, 10: 0.5, 20: 0.5}])
def test_two_points_or_equal_probes_have_no_correlation(
    planted: dict[int, float], own_cube_home: Path
) -> None:
    write_probes(own_cube_home, planted)
    with reading(own_cube_home) as connection:
        found = queries.probe_agreement(connection, [cube.TRUE]).filter(pl.col("pool") == 3)
    (row,) = found.iter_rows(named=True)
    assert row["points"] == len(planted)
    assert row["spearman"] is None
    assert row["residual"] is None
