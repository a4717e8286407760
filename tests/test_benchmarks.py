"""Benchmarks compare equal work and say everything about it; their speed is no test's business."""

import json
from pathlib import Path

from benchmarks import recorder, splices
from benchmarks.harness import measure


def test_both_ways_of_the_splice_benchmark_count_the_same_hits() -> None:
    benchmark = splices.exact(checkpoints=2, images=20, pixels=8)
    ours = benchmark.ours()
    assert ours == benchmark.theirs()
    assert isinstance(ours, list)
    assert len(ours) == benchmark.workload["rows"] == 40
    assert benchmark.scale == 1


def test_a_sample_of_cells_stands_for_all_of_them() -> None:
    benchmark = splices.exact(checkpoints=3, images=5, pixels=8, naive_cells=9)
    assert len(benchmark.ours()) == 9  # type: ignore[arg-type]
    assert benchmark.ours() == benchmark.theirs()
    assert benchmark.scale == 10


def test_the_anytime_benchmark_says_how_many_examples_it_took() -> None:
    benchmark = splices.anytime(lambda: splices.random_case(2, 30, 8))
    benchmark.ours()
    assert benchmark.workload["mean_n"] == 30
    assert benchmark.workload["largest_half_width"] == 0


def test_a_result_says_what_was_measured_where(tmp_path: Path) -> None:
    measure(splices.exact(checkpoints=1, images=10, pixels=8), tmp_path)
    written = json.loads((tmp_path / "splice_exact.json").read_text())
    assert set(written) >= {
        "name",
        "ratio",
        "goal",
        "reference",
        "workload",
        "seconds",
        "n",
        "commit",
        "versions",
        "machine",
    }
    assert written["ratio"] > 0


def test_the_recorder_s_share_is_measured_in_one_loop(tmp_path: Path) -> None:
    result = recorder.measure(steps=40, batch_size=2, repeats=1, folder=tmp_path)
    seconds = result["seconds"]
    assert isinstance(seconds, dict)
    assert seconds["ours"] > seconds["reference"] > 0
    assert result["ratio"] == result["ratios"][0]  # type: ignore[index]
