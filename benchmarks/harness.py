"""Time two ways of the same work in turn, and write what was measured with what and where."""

import json
import os
import platform
import statistics
import subprocess
import time
from collections.abc import Callable
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path

import torch

RESULTS = Path(__file__).parent / "results"


@dataclass(frozen=True)
class Benchmark:
    """Two functions that do the same work, each returning nothing worth keeping.

    ``goal``: the ratio aimed at (reference seconds / ours). ``workload``: its size in numbers.
    ``scale``: how many times its measured seconds the reference takes for the whole work, of
    which it does an even sample. ``repeats``: how often both are timed, in turn.
    """

    name: str
    goal: float
    reference: str
    workload: dict[str, int | float | str]
    ours: Callable[[], object]
    theirs: Callable[[], object]
    scale: float = 1.0
    repeats: int = 3


def _seconds(work: Callable[[], object]) -> float:
    started = time.perf_counter()
    work()
    return time.perf_counter() - started


def _processor() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
        return next(line.split(":")[1].strip() for line in lines if line.startswith("model name"))
    except (OSError, StopIteration):
        return platform.processor()


def _commit() -> str:
    command = ["git", "describe", "--always", "--dirty", "--abbrev=12"]
    described = subprocess.run(command, capture_output=True, text=True, check=False)
    return described.stdout.strip() or "unknown"


def measure(benchmark: Benchmark, folder: Path = RESULTS) -> dict[str, object]:
    """Run both ways in turn, ``repeats`` times; write and return medians and their ratio."""
    pairs = [
        (_seconds(benchmark.ours), _seconds(benchmark.theirs) * benchmark.scale)
        for _ in range(benchmark.repeats)
    ]
    ours = statistics.median(pair[0] for pair in pairs)
    theirs = statistics.median(pair[1] for pair in pairs)
    result = {
        "ratio": round(theirs / ours, 3),
        "goal": benchmark.goal,
        "reference": benchmark.reference,
        "workload": benchmark.workload,
        "seconds": {"ours": round(ours, 3), "reference": round(theirs, 3)},
        "ratios": [round(pair[1] / pair[0], 3) for pair in pairs],
        "n": benchmark.repeats,
    }
    return write(benchmark.name, result, folder)


def write(name: str, result: dict[str, object], folder: Path = RESULTS) -> dict[str, object]:
    """Write a result with the commit, versions and machine it was measured with; return it."""
    result = {
        "name": name,
        **result,
        "commit": _commit(),
        "versions": {"python": platform.python_version(), "torch": version("torch")},
        "machine": {
            "processor": _processor(),
            "cores": os.cpu_count(),
            "threads": torch.get_num_threads(),
        },
    }
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / f"{name}.json"
    path.write_text(json.dumps(result, indent=1) + "\n")
    return result
