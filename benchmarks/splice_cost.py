"""What a cube costs, by checkpoints T, cuts D and examples N: a table and a fit.

The model: seconds = c N (T L + (T^2 - T) sum over cuts of the share behind the cut), in forward
passes of one image, L = 1 for the pass that gives all features and the diagonal.
"""

import time

import torch

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


def passes(checkpoints: int, depths: list[int], images: int) -> float:
    """Forward passes of a cube by the model; depth 1 is the stem, each of nine blocks costs 1/9."""
    behind = sum(1 - (depth - 1) / BLOCKS for depth in depths)
    return images * (checkpoints + checkpoints * (checkpoints - 1) * behind)


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
    return write(
        "splice_cost",
        {
            "columns": ["checkpoints", "cuts", "images", "seconds", "passes"],
            "rows": rows,
            "passes_per_second": round(rate, 1),
            "largest_misfit": round(float((work / rate / times - 1).abs().max()), 3),
        },
    )
