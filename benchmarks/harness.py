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
    """

    name: str
    goal: float
    reference: str
    workload: dict[str, int | str]
    ours: Callable[[], object]
    theirs: Callable[[], object]


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


def measure(benchmark: Benchmark, repeats: int, folder: Path = RESULTS) -> dict[str, object]:
    """Run both ways in turn ``repeats`` times; write and return medians and their ratio."""
    pairs = [(_seconds(benchmark.ours), _seconds(benchmark.theirs)) for _ in range(repeats)]
    ours = statistics.median(pair[0] for pair in pairs)
    theirs = statistics.median(pair[1] for pair in pairs)
    result: dict[str, object] = {
        "name": benchmark.name,
        "ratio": round(theirs / ours, 3),
        "goal": benchmark.goal,
        "reference": benchmark.reference,
        "workload": benchmark.workload,
        "seconds": {"ours": round(ours, 3), "reference": round(theirs, 3)},
        "ratios": [round(pair[1] / pair[0], 3) for pair in pairs],
        "n": repeats,
        "commit": _commit(),
        "versions": {"python": platform.python_version(), "torch": version("torch")},
        "machine": {
            "processor": _processor(),
            "cores": os.cpu_count(),
            "threads": torch.get_num_threads(),
        },
    }
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / f"{benchmark.name}.json"
    path.write_text(json.dumps(result, indent=1) + "\n")
    return result
