"""Benchmarks compare equal work and say everything about it; their speed is no test's business."""

import json
from pathlib import Path

import torch

from benchmarks import noise_gradients, splices
from benchmarks.harness import measure
from benchmarks.training_loop import random_dataset
from featdyn_engine.domain import NetworkConfig
from featdyn_engine.models import registry
from featdyn_engine.science.noise import gradients


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


def test_the_benchmark_of_gradients_does_as_many_draws_as_it_says() -> None:
    benchmark = noise_gradients.bare(draws=2, batch_size=4, pixels=8)
    rows = benchmark.ours()
    assert isinstance(rows, torch.Tensor)
    assert len(rows) == benchmark.workload["draws"] == 2
    assert benchmark.workload["images"] == 8
    benchmark.theirs()


def test_vmap_gives_the_gradients_of_the_loop() -> None:
    dataset = random_dataset(12, 1, 8)
    network = registry.build(NetworkConfig(name="mlp"), dataset.task).eval()
    images = dataset.normalise(dataset.train_images).unflatten(0, (3, 4))
    labels = dataset.train_labels.unflatten(0, (3, 4))
    found = noise_gradients.vectorised(network, images, labels, 2)
    torch.testing.assert_close(found, gradients(network, zip(images, labels, strict=True)))


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
