"""What a cube costs, by checkpoints T, cuts D and examples N: a table and a fit.

The model: seconds = c N (T L + (T^2 - T) sum over cuts of the share behind the cut), in forward
passes of one image, L = 1 for the pass that gives all features and the diagonal.
"""

import time

import torch
from torch import nn

from benchmarks.harness import write
from benchmarks.splices import CPU, OUR_BATCH, random_case
from featdyn_engine.science.execution import SAMPLE, placed, prepared
from featdyn_engine.science.splice import splice_cube

# (T, number of cuts, N)
GRID = (
    *((2, 10, 250), (4, 10, 250), (8, 10, 250)),
    *((4, 1, 250), (4, 3, 250)),
    *((4, 10, 125), (4, 10, 500)),
)
BLOCKS = 9
# Channels and pixels of ResNet-20's three stages, of equal arithmetic; operations of one pass.
STAGES = ((16, 32), (32, 16), (64, 8))
OPERATIONS = 2 * 40.8e6


def passes(checkpoints: int, depths: list[int], images: int) -> float:
    """Forward passes of a cube by the model; depth 1 is the stem, each of nine blocks costs 1/9."""
    behind = sum(1 - (depth - 1) / BLOCKS for depth in depths)
    return images * (checkpoints + checkpoints * (checkpoints - 1) * behind)


@torch.inference_mode()
def convolution_gflops(channels: int, pixels: int) -> float:
    """Rate of one 3x3 convolution alone, float32, channels-last, best of five."""
    layer = nn.Conv2d(channels, channels, 3, padding=1).to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    images = placed(torch.randn(OUR_BATCH, channels, pixels, pixels), CPU)
    best = float("inf")
    for _ in range(6):
        started = time.perf_counter()
        layer(images)
        best = min(best, time.perf_counter() - started)
    return 2 * 9 * channels**2 * pixels**2 * OUR_BATCH / best / 1e9


def measure(pixels: int = 32) -> dict[str, object]:
    """Time the grid on random images; write the rows, the fitted rate and its largest misfit."""
    rows = []
    for checkpoints, cuts, images in GRID:
        case = random_case(checkpoints, images, pixels)
        depths = [round(1 + i * (10 - 1) / max(cuts - 1, 1)) for i in range(cuts)]
        fast = [prepared(network, placed(case.images[:SAMPLE], CPU)) for network in case.networks]
        x = placed(case.images, CPU)
        started = time.perf_counter()
        splice_cube(fast, fast, depths, x, case.labels, OUR_BATCH)
        seconds = time.perf_counter() - started
        expected = passes(checkpoints, depths, images)
        rows.append([checkpoints, cuts, images, round(seconds, 3), round(expected)])
    times = torch.tensor([row[3] for row in rows], dtype=torch.float64)
    work = torch.tensor([row[4] for row in rows], dtype=torch.float64)
    # In relative error, so that small cubes count as much as large ones.
    rate = float((work / times).median())
    alone = [convolution_gflops(*stage) for stage in STAGES]
    # Stages of equal arithmetic: their times add up.
    peak = len(alone) / sum(1 / each for each in alone)
    reached = rate * OPERATIONS / 1e9
    return write(
        "splice_cost",
        {
            "columns": ["checkpoints", "cuts", "images", "seconds", "passes"],
            "rows": rows,
            "passes_per_second": round(rate, 1),
            "gflops": round(reached, 1),
            "convolution_gflops": [round(each, 1) for each in alone],
            "share_of_convolution_peak": round(reached / peak, 3),
            "largest_misfit": round(float((work / rate / times - 1).abs().max()), 3),
        },
    )
