"""Benchmarks compare equal work and say everything about it; their speed is no test's business."""

import json
from pathlib import Path

from benchmarks import splice_exact
from benchmarks.harness import measure


def test_both_ways_of_the_splice_benchmark_count_the_same_hits() -> None:
    benchmark = splice_exact.benchmark(checkpoints=2, images=20, pixels=8)
    ours = benchmark.ours()
    assert ours == benchmark.theirs()
    assert isinstance(ours, list)
    assert len(ours) == benchmark.workload["rows"]


def test_a_result_says_what_was_measured_where(tmp_path: Path) -> None:
    measure(splice_exact.benchmark(checkpoints=1, images=10, pixels=8), 1, tmp_path)
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
