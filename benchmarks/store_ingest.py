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
ABOUT = {
    "run_id": "0123456789ab",
    "label": "splices",
    "seconds": 1.0,
    "finished_at": "2026-01-01T00:00:00+00:00",
    "versions": {"featdyn": "0"},
}


def _splices(steps: int, seed: int) -> pa.Table:
    """Make up the cells of one cut, in the columns of an analysis: steps x steps rows."""
    draw = np.random.default_rng(seed)
    shallow, deep = (axis.ravel() for axis in np.meshgrid(np.arange(steps), np.arange(steps)))
    rows = steps * steps
    words = {"control": "none", "split": "test", "corruption": "none", "norm": "inherit"}
    words |= {"run_id": f"run{seed:09d}", "shallow_run_id": f"run{seed:09d}", "cut": "stage1.2"}
    words |= {"eval_id": "0123456789ab", "dtype": "float32"}
    columns = []
    for field in cells.TABLE:
        if field.name in words:
            columns.append(pa.array([words[field.name]] * rows, field.type))
        elif field.name in ("shallow_step", "deep_step"):
            columns.append(pa.array(shallow if field.name == "shallow_step" else deep, field.type))
        elif pa.types.is_floating(field.type):
            columns.append(pa.array(draw.random(rows), field.type))
        else:
            columns.append(pa.array(draw.integers(0, 1000, rows), field.type))
    return pa.table(columns, schema=cells.TABLE)


def measure(parts: int = 400, steps: int = 50, repeats: int = 3) -> dict[str, object]:
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
