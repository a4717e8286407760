"""Cubes and trainings on the fastest device at hand: CUDA where there is one, else the CPU.

A table rather than a ratio, for the first look at a new card: number formats, mini-batches and
memory formats side by side. Times are of one run each, after one that is not counted; of a
training, of its updates alone.
"""

import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from functools import partial
from itertools import product
from pathlib import Path
from typing import NamedTuple

import torch

from benchmarks.harness import write
from benchmarks.splices import Case, all_cells, naive, random_case, spread
from benchmarks.training_loop import random_dataset
from featdyn_engine.domain import DataConfig, NetworkConfig, Recipe, RunConfig, interior_cuts
from featdyn_engine.live_worker import device_name
from featdyn_engine.science.execution import SAMPLE, exact_arithmetic, placed, prepared
from featdyn_engine.science.splice import splice_cube
from featdyn_engine.training import Training

# Of a training's mini-batches.
BATCH = 64


class Size(NamedTuple):
    """How much work: of a cube of random networks, of the naive way's sample, of a training."""

    checkpoints: int = 10
    images: int = 1000
    pixels: int = 32
    batch_sizes: Sequence[int] = (250, 1000)
    naive_batch_sizes: Sequence[int] = (128, 1000)
    naive_cells: int = 20
    updates: int = 200


WHOLE = Size()


def _timed(work: Callable[[], object], device: torch.device) -> float:
    """Seconds of the second of two runs, until the device has done all of it."""
    seconds = 0.0
    for _ in range(2):
        started = time.perf_counter()
        work()
        if device.type == "cuda":
            torch.cuda.synchronize(device)
        seconds = time.perf_counter() - started
    return seconds


def _cube(case: Case, depths: list[int], dtype: str, batch_size: int, device: torch.device) -> None:
    images = placed(case.images, device, dtype)
    sample = placed(case.images[:SAMPLE], device)
    fast = [prepared(network, sample, dtype) for network in case.networks]
    splice_cube(fast, fast, depths, images, case.labels.to(device), batch_size)


@contextmanager
def _training(size: Size, channels_last: bool, device: torch.device) -> Iterator[Training]:
    dataset = random_dataset(10 * BATCH, 3, size.pixels)
    config = RunConfig(
        data=DataConfig(name="random"),
        network=NetworkConfig(name="resnet20"),
        recipe=Recipe(steps=2 * size.updates, batch_size=BATCH),
        checkpoints=(0, 2 * size.updates),
        threads=torch.get_num_threads(),
        device="cuda" if device.type == "cuda" else "cpu",
        channels_last=channels_last,
    )
    with tempfile.TemporaryDirectory() as home:
        yield Training(config, dataset, Path(home))


def _update(training: Training, count: int) -> None:
    for _ in range(count):
        training.update()


def measure(size: Size = WHOLE) -> dict[str, object]:
    """Time ResNet-20's cubes, the naive way and its training; write the rows with the device."""
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    case = random_case(size.checkpoints, size.images, size.pixels)
    depths = [cut.depth for cut in interior_cuts(case.networks[0].block_names)]
    cells = all_cells(depths, size.checkpoints)
    sampled = spread(cells, size.naive_cells)
    rows: list[list[object]] = []
    with exact_arithmetic():
        for dtype, batch_size in product(("float32", "bfloat16"), size.batch_sizes):
            work = partial(_cube, case, depths, dtype, batch_size, device)
            rows.append(["cube", dtype, batch_size, round(_timed(work, device), 2), "s"])
        for batch_size in size.naive_batch_sizes:
            plain = partial(naive, case, sampled, batch_size, device)
            seconds = _timed(plain, device) * len(cells) / len(sampled)
            rows.append(["naive", "float32", batch_size, round(seconds, 2), "s"])
        for layout in ("contiguous", "channels_last"):
            with _training(size, layout == "channels_last", device) as training:
                rate = size.updates / _timed(partial(_update, training, size.updates), device)
            rows.append(["training", layout, BATCH, round(rate, 1), "updates/s"])
    columns = ["what", "format", "batch_size", "value", "unit"]
    workload = {"cells": len(cells), "sampled": len(sampled), **size._asdict()}
    return write(
        "device",
        {
            "device": device_name(device),
            "columns": columns,
            "rows": rows,
            "workload": workload,
        },
    )
