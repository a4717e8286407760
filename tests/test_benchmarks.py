"""Benchmarks compare equal work and say everything about it; their speed is no test's business."""

import json
import random
import subprocess
import sys
from functools import partial
from pathlib import Path

import pytest
import torch
from streamlit.proto.BackMsg_pb2 import BackMsg
from streamlit.proto.ForwardMsg_pb2 import ForwardMsg

from benchmarks import live_splice, load, memory, noise_gradients, on_device, recorder, splices
from benchmarks.harness import measure, write
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


def test_the_table_of_a_device_has_every_way_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(on_device, "write", partial(write, folder=tmp_path))
    size = on_device.Size(
        checkpoints=2, images=8, pixels=8, batch_sizes=(8,), naive_batch_sizes=(8,), naive_cells=4,
        updates=2,
    )  # fmt: skip
    on_device.measure(size)
    rows = json.loads((tmp_path / "device.json").read_text())["rows"]
    assert [(what, form) for what, form, *_ in rows] == [
        ("cube", "float32"),
        ("cube", "bfloat16"),
        ("naive", "float32"),
        ("training", "contiguous"),
        ("training", "channels_last"),
    ]


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


@pytest.mark.slow
def test_the_lab_benchmark_times_each_kind_of_wait(tmp_path: Path) -> None:
    live_splice.measure(images=12, pixels=8, repeats=1, folder=tmp_path)
    written = json.loads((tmp_path / "live_splice.json").read_text())
    assert set(written["seconds"]) == set(written["goal"]) == set(written["n"])
    for name, seconds in written["seconds"].items():
        assert written["ratio"][name] == pytest.approx(written["goal"][name] / seconds, rel=0.3)
    assert written["torch_import_seconds"] > 0


class OnePage:
    """Answers as Streamlit does: the pages, a control, the end of the run."""

    def __init__(self) -> None:
        self.asked: list[BackMsg] = []
        self.waiting: list[bytes] = []
        self.in_line = 0

    def send(self, content: bytes) -> None:
        self.asked.append(BackMsg.FromString(content))
        pages, control, failure, end = ForwardMsg(), ForwardMsg(), ForwardMsg(), ForwardMsg()
        pages.navigation.app_pages.add(page_script_hash="other", url_pathname="lab")
        control.delta.new_element.selectbox.id = "widget-url_cut"
        control.delta.new_element.selectbox.options.extend(["a", "b"])
        failure.delta.new_element.exception.message = "broken"
        end.script_finished = ForwardMsg.FINISHED_SUCCESSFULLY
        self.waiting += [each.SerializeToString() for each in (pages, control, failure, end)]
        if self.in_line:
            self.in_line -= 1
            line = ForwardMsg()
            line.delta.new_element.progress.value = 10
            self.waiting.insert(-1, line.SerializeToString())

    def recv(self, timeout: float) -> bytes:  # noqa: ARG002
        return self.waiting.pop(0)


def test_a_visitor_of_the_load_benchmark_moves_controls_and_counts_what_breaks() -> None:
    server, seen = OnePage(), load.Seen()
    visitor = load.Visitor(server, random.Random(0), seen)  # type: ignore[arg-type]
    visitor.run()
    for _ in range(20):
        visitor.click()
    assert len(server.asked) == 21
    assert len(seen.seconds) == 20
    assert seen.exceptions == ["broken"] * 21
    moved = [each.rerun_script.widget_states.widgets for each in server.asked]
    values = {(each.id, each.string_value) for widgets in moved for each in widgets}
    assert values == {("widget-url_cut", "a"), ("widget-url_cut", "b")}
    assert {each.rerun_script.page_script_hash for each in server.asked} == {"", "other"}


def test_a_visitor_of_the_lab_waits_for_the_splice_that_it_asked_for() -> None:
    server, seen = OnePage(), load.Seen()
    visitor = load.Visitor(server, random.Random(0), seen)  # type: ignore[arg-type]
    visitor.run()
    visitor.turn_to_lab()
    server.in_line = 3
    visitor.splice()
    visitor.splice()
    pages = [each.rerun_script.page_script_hash for each in server.asked]
    assert pages == ["", *["other"] * 6]
    moved = [bool(each.rerun_script.widget_states.widgets) for each in server.asked]
    assert moved == [False, False, True, False, False, False, True]
    assert len(seen.splices) == 2
    assert seen.splices[0] > 3 * load.POLL_SECONDS > seen.splices[1]
    assert len(seen.lab_seconds) == 3
    assert seen.seconds == []


def test_the_memory_of_a_program_is_that_of_all_its_processes() -> None:
    code = "held = bytes(b'x') * 50_000_000; print(len(held), flush=True); input()"
    nested = f"import subprocess, sys; subprocess.run([sys.executable, '-c', {code!r}])"
    pipe = subprocess.PIPE
    with subprocess.Popen([sys.executable, "-c", nested], stdin=pipe, stdout=pipe) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == b"50000000\n"
        assert len(memory.family(process.pid)) == 2
        assert 50 < memory.megabytes(process.pid) < 150
        process.communicate(b"\n")
    assert memory.megabytes(process.pid) == 0


def test_the_recorder_s_share_is_measured_in_one_loop(tmp_path: Path) -> None:
    result = recorder.measure(steps=40, batch_size=2, repeats=1, folder=tmp_path)
    seconds = result["seconds"]
    assert isinstance(seconds, dict)
    assert seconds["ours"] > seconds["reference"] > 0
    assert result["ratio"] == result["ratios"][0]  # type: ignore[index]
