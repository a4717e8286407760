"""Every row of a store, for comparing two of them."""

from pathlib import Path
from typing import Any

import duckdb

from store.connection import reading

TIMES = {"units": ("seconds", "finished_at")}
VIEWS = (
    "checkpoints",
    "comparators",
    "connectivity",
    "consistency",
    "corruptions",
    "displacement",
    "divergences",
    "evaluations",
    "horizons",
    "memory",
    "memory_examples",
    "metrics",
    "noise_alignment",
    "noise_spectra",
    "noise_tests",
    "predictions",
    "probes",
    "retentions",
    "runs",
    "splices",
    "study_runs",
    "trajectories",
    "trajectory_contours",
    "trajectory_images",
    "trajectory_quality",
    "units",
)
Rows = dict[str, list[tuple[Any, ...]]]


def rows_of(connection: duckdb.DuckDBPyConnection, but_times: bool = True) -> Rows:
    """Sorted rows of every view; without the columns that differ between two equal runs."""
    found: Rows = {}
    for view in VIEWS:
        left_out = TIMES.get(view, ()) if but_times else ()
        columns = f"* EXCLUDE ({', '.join(left_out)})" if left_out else "*"
        found[view] = connection.execute(f"SELECT {columns} FROM {view} ORDER BY ALL").fetchall()
    return found


def rows(home: Path, but_times: bool = True) -> Rows:
    """Sorted rows of every view of a home's store."""
    with reading(home) as connection:
        return rows_of(connection, but_times)


def listing(folder: Path) -> dict[str, bytes | None]:
    """Every path under a folder, with the content of files: what "nothing written" compares."""
    return {
        str(path.relative_to(folder)): path.read_bytes() if path.is_file() else None
        for path in sorted(folder.rglob("*"))
    }
