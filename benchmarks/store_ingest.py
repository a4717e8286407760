"""How many rows of splices the driver brings into the store in a second."""

import shutil
import statistics
import tempfile
import time
from pathlib import Path

import numpy as np
import pyarrow as pa

from benchmarks.harness import write
from featdyn_engine.analyses import cells
from featdyn_engine.parts import part_path, write_part
from store.results import ingest

GOAL_ROWS_PER_SECOND = 2e6
EXAMPLES = 1000
ABOUT = {
    "run_id": "0123456789ab",
    "label": "splices",
    "seconds": 1.0,
    "finished_at": "2026-01-01T00:00:00+00:00",
    "versions": {"featdyn": "0"},
}


def _splices(steps: int, seed: int) -> pa.Table:
    """Make up the cells of one cut, in the columns of an analysis: steps x steps rows.

    Ratios are those of counts, as an evaluation has them: random digits would not compress.
    """
    draw = np.random.default_rng(seed)
    shallow, deep = (axis.ravel() for axis in np.meshgrid(np.arange(steps), np.arange(steps)))
    rows = steps * steps
    correct, agreeing = draw.integers(100, EXAMPLES, (2, rows))
    known: dict[str, object] = {
        "run_id": f"run{seed:09d}",
        "shallow_run_id": f"run{seed:09d}",
        "control": "none",
        "replicate": 0,
        "eval_id": "0123456789ab",
        "cut": "stage1.2",
        "depth": 3,
        "shallow_step": shallow,
        "deep_step": deep,
        "norm": "inherit",
        "dtype": "float32",
        "batch_size": 250,
        "split": "test",
        "corruption": "none",
        "severity": 0,
        "target_half_width": 0.0,
        "n": EXAMPLES,
        "correct": correct,
        "accuracy": correct / EXAMPLES,
        "loss": draw.random(rows),
        "margin": draw.random(rows),
        "agreement": agreeing / EXAMPLES,
        "chance": 0.1,
        "retention": (correct / EXAMPLES - 0.1) / 0.9,
        "half_width": 0.0,
        "dtype_agreement": 1.0,
    }
    columns = [
        pa.array(value if isinstance(value, np.ndarray) else [value] * rows, field.type)
        for field, value in ((field, known[field.name]) for field in cells.TABLE)
    ]
    return pa.table(columns, schema=cells.TABLE)


def measure(parts: int = 6400, steps: int = 50, repeats: int = 3) -> dict[str, object]:
    """Ingest ``parts`` parts of steps x steps cells at once into a fresh store; median of repeats.

    ratio: rows a second over the goal. Beside it the seconds of the processor, which do not grow
    when others use the machine too.
    """
    home = Path(tempfile.mkdtemp(prefix="featdyn-bench-"))
    try:
        paths = []
        for seed in range(parts):
            unit_id = f"{seed:012x}"
            about = {"kind": "splices", "unit_id": unit_id, **ABOUT}
            write_part(home, "splices", unit_id, _splices(steps, seed), about)
            paths.append(part_path(home, "splices", unit_id))
        wall, processor = [], []
        for _ in range(repeats):
            for old in home.glob("featdyn.duckdb*"):
                old.unlink()
            started, busy = time.perf_counter(), time.process_time()
            ingest(home, paths)
            wall.append(time.perf_counter() - started)
            processor.append(time.process_time() - busy)
    finally:
        shutil.rmtree(home)
    rows = parts * steps * steps
    spent = statistics.median(wall)
    return write(
        "store_ingest",
        {
            "ratio": round(rows / spent / GOAL_ROWS_PER_SECOND, 3),
            "goal": 1.0,
            "reference": f"{GOAL_ROWS_PER_SECOND:,.0f} rows a second",
            "workload": {"parts": parts, "rows": rows, "checkpoints": steps},
            "seconds": {
                "ours": round(spent, 3),
                "reference": round(rows / GOAL_ROWS_PER_SECOND, 3),
                "processor": round(statistics.median(processor), 3),
            },
            "rows_a_second": round(rows / spent),
            "n": repeats,
        },
    )
