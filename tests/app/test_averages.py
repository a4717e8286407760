"""What averages gain: differences within a run, and their means over seeds."""

import polars as pl
import pytest
from scipy import stats

from app import averages


def stored(run_id: str, eval_id: str, **accuracies: float) -> pl.DataFrame:
    return pl.DataFrame(
        {
            "run_id": run_id,
            "eval_id": eval_id,
            "comparator": list(accuracies),
            "accuracy": list(accuracies.values()),
            "n": 100,
        }
    )


def test_a_gain_is_over_the_same_run_on_the_same_examples() -> None:
    rows = [
        stored("a", "clean", last=0.5, swa=0.6, ensemble=0.55),
        stored("a", "foggy", last=0.2, swa=0.1),
        stored("b", "clean", last=0.7, swa=0.7),
    ]
    found = averages.gains(pl.concat(rows))
    assert [pytest.approx(gain) for gain in found["gain"]] == [0.1, 0.05, -0.1, 0.0]
    assert found["network"].to_list() == ["SWA", "ensemble", "SWA", "SWA"]
    assert "last" not in found["comparator"].to_list()


def test_without_a_last_network_there_is_no_gain() -> None:
    assert averages.gains(stored("a", "clean", swa=0.6)).is_empty()


def test_limits_are_students_over_runs_and_absent_for_one() -> None:
    gains = [0.01, 0.03, 0.08]
    rows = [
        stored(run, "clean", last=0.5, swa=0.5 + g) for run, g in zip("abc", gains, strict=True)
    ]
    arms = pl.concat([*rows, stored("d", "clean", last=0.5, swa=0.4)]).with_columns(
        arm=pl.when(pl.col("run_id") == "d").then(pl.lit("other")).otherwise(pl.lit("first"))
    )
    first, other = averages.over_seeds(averages.gains(arms)).to_dicts()
    expected = stats.t.interval(0.95, 2, loc=sum(gains) / 3, scale=stats.sem(gains))
    assert (first["gain_low"], first["gain_high"]) == pytest.approx(expected)
    assert (first["n_seeds"], first["n"]) == (3, 100)
    assert other["gain"] == pytest.approx(-0.1)
    assert other["gain_low"] is other["gain_high"] is None
