"""How many rows of splices the driver brings into the store in a second, with their predictions."""

import shutil
import tempfile
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pyarrow as pa

from benchmarks.harness import Benchmark
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


def ingested(parts: int = 400, steps: int = 50) -> Benchmark:
    """Ingest ``parts`` parts of steps x steps cells at once into a fresh store."""
    home = Path(tempfile.mkdtemp(prefix="featdyn-bench-"))
    paths = []
    for seed in range(parts):
        unit_id = f"{seed:012x}"
        about = {"kind": "splices", "unit_id": unit_id, **ABOUT}
        write_part(home, "splices", unit_id, _splices(steps, seed), about)
        paths.append(part_path(home, "splices", unit_id))
    rows = parts * steps * steps

    def fill() -> None:
        for old in home.glob("featdyn.duckdb*"):
            old.unlink()
        ingest(home, paths)

    goal: Callable[[], None] = lambda: None  # noqa: E731
    return Benchmark(
        name="store_ingest",
        goal=1.0,
        reference=f"{GOAL_ROWS_PER_SECOND:,.0f} rows a second",
        workload={"parts": parts, "rows": rows, "checkpoints": steps},
        ours=fill,
        theirs=goal,
    )


def remove(home: Path) -> None:
    """Forget the parts of a benchmark."""
    shutil.rmtree(home)
