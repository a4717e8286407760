"""``make bench`` runs all, ``make bench NAME=splice_exact`` one."""

import sys
from collections.abc import Callable
from functools import partial

from benchmarks import splice_exact, training_loop
from benchmarks.harness import Benchmark, measure

# Steps for about ten seconds a turn: pictures of very different sizes.
LOADED = {"digits": 200, "mnist": 30, "cifar10": 20, "stl10": 3}
BENCHMARKS: dict[str, Callable[[], Benchmark]] = {
    "splice_exact": splice_exact.benchmark,
    "training_loop": training_loop.bare,
    **{
        f"training_loop_{name}": partial(training_loop.dataloader, name, steps)
        for name, steps in LOADED.items()
    },
}
REPEATS = 3


def main(names: list[str]) -> int:
    """Measure the named benchmarks, or all; print a line each. Returns the exit code."""
    unknown = [name for name in names if name not in BENCHMARKS]
    if unknown:
        print(f"bench: expected one of {', '.join(BENCHMARKS)}, got {unknown[0]}")
        return 2
    for name in names or BENCHMARKS:
        result = measure(BENCHMARKS[name](), REPEATS)
        ratio, goal, seconds = result["ratio"], result["goal"], result["seconds"]
        print(f"{name}: {ratio} x the reference (goal {goal}), median seconds {seconds}")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
