"""What a picture of trajectories takes: one pooled UMAP against aligned ones of its points."""

import time

import numpy as np
from numpy.typing import NDArray

from benchmarks.harness import write
from featdyn_engine.science.embedding import METHODS, Method, pooled_pca
from featdyn_engine.science.embedding_quality import quality

CLASSES, CHANNELS, NEIGHBOURS = 10, 64, 15


def _features(checkpoints: int, examples: int) -> NDArray[np.float32]:
    """Made-up features (T, N, F): classes that part while the checkpoints go by."""
    draw = np.random.default_rng(0)
    centres = draw.normal(size=(CLASSES, CHANNELS))[np.arange(examples) % CLASSES]
    own = draw.normal(size=(examples, CHANNELS))
    steps = np.linspace(0, 2, checkpoints)[:, None, None]
    return np.asarray(own + steps * centres, np.float32)


def measure(checkpoints: int = 20, examples: int = 1000) -> dict[str, object]:
    """Time both methods, kernels compiled and loaded before: seconds of the processor and in all.

    ratio: aligned over pooled seconds of the processor.
    """
    reduced = pooled_pca(_features(checkpoints, examples), seed=0)
    methods: tuple[Method, ...] = ("pooled_umap", "aligned_umap")
    rows = []
    for method in methods:
        embed = METHODS[method]
        embed(reduced[:3, :100], NEIGHBOURS, 0.1, 0)
        started, busy = time.perf_counter(), time.process_time()
        found = embed(reduced, NEIGHBOURS, 0.1, 0)
        rows.append(
            {
                "method": method,
                "seconds": round(time.perf_counter() - started, 1),
                "processor": round(time.process_time() - busy, 1),
                "neighbour_overlap_last": round(
                    quality(reduced[-1], found[-1], NEIGHBOURS).neighbour_overlap, 3
                ),
            }
        )
    pooled, aligned = (float(str(row["processor"])) for row in rows)
    return write(
        "embedding",
        {
            "ratio": round(aligned / pooled, 2),
            "workload": {"checkpoints": checkpoints, "examples": examples, "features": CHANNELS},
            "rows": rows,
            "n": 1,
        },
    )
