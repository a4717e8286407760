"""``make bench`` runs all, ``make bench NAME=splice_exact`` one."""

import sys
from collections.abc import Callable
from functools import partial

from benchmarks import (
    big_store,
    corruption,
    embedding,
    live_splice,
    load,
    noise_gradients,
    on_device,
    ray_overhead,
    recorder,
    server_memory,
    splice_cost,
    splices,
    store_ingest,
    training_loop,
)
from benchmarks.harness import Benchmark, measure

# Steps for about ten seconds a turn: pictures of very different sizes.
LOADED = {"digits": 200, "mnist": 30, "cifar10": 20, "stl10": 3}
BENCHMARKS: dict[str, Callable[[], Benchmark]] = {
    "splice_exact": splices.exact,
    "splice_bf16": splices.bf16,
    "splice_anytime": splices.anytime,
    "splice_anytime_bf16": partial(splices.anytime, dtype="bfloat16"),
    "training_loop": training_loop.bare,
    "noise_gradients": noise_gradients.bare,
    **{
        f"training_loop_{name}": partial(training_loop.dataloader, name, steps)
        for name, steps in LOADED.items()
    },
}
# Tables rather than ratios.
TABLES: dict[str, Callable[[], dict[str, object]]] = {
    "splice_cost": splice_cost.measure,
    "corruption": corruption.measure,
    "embedding": embedding.measure,
    "live_splice": live_splice.measure,
    "noise_gradients_ways": noise_gradients.ways,
    "load": load.measure,
    "recorder_overhead": recorder.measure,
    "store_query": big_store.store_query,
    "page_interaction": big_store.page_interaction,
    "server_memory": server_memory.measure,
    "store_ingest": store_ingest.measure,
}
# Measured where they are named: one needs requirements-ray.txt, one is for machines with a GPU.
EXTRAS: dict[str, Callable[[], dict[str, object]]] = {
    "device": on_device.measure,
    "ray_overhead": ray_overhead.measure,
}


def main(names: list[str]) -> int:
    """Measure the named benchmarks, or all; print a line each. Returns the exit code."""
    known = [*BENCHMARKS, *TABLES, *EXTRAS]
    unknown = [name for name in names if name not in known]
    if unknown:
        print(f"bench: expected one of {', '.join(known)}, got {unknown[0]}")
        return 2
    for name in names or [*BENCHMARKS, *TABLES]:
        if name in TABLES or name in EXTRAS:
            print(f"{name}: {(TABLES | EXTRAS)[name]()}")
            continue
        result = measure(BENCHMARKS[name]())
        ratio, goal, seconds = result["ratio"], result["goal"], result["seconds"]
        print(f"{name}: {ratio} x the reference (goal {goal}), median seconds {seconds}")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
