"""Writes: Parquet parts and checkpoint records into the database, one transaction an ingest."""

import json
import os
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import duckdb
import pyarrow as pa
import pyarrow.parquet as pq

from store.connection import is_disk_full, writing, writing_file
from store.home import DamagedPartError, database_path, next_revision

TABLES = {
    "studies": "study_runs",
    "failures": "failures",
    "evaluations": "evaluations",
    "metrics": "metrics",
    "splices": "splices",
    # Cells of controls are cells like the others: their column ``control`` tells.
    "controls": "splices",
    "predictions": "predictions",
    "displacement": "displacement",
    "consistency": "consistency",
    "horizons": "horizons",
    "retentions": "retentions",
    "comparators": "comparators",
    "connectivity": "connectivity",
    "probes": "probes",
    "corruptions": "corruptions",
    "trajectories": "trajectories",
    "trajectory_quality": "trajectory_quality",
    "trajectory_contours": "trajectory_contours",
    "trajectory_images": "trajectory_images",
    "divergences": "divergences",
    "noise": "noise_spectra",
    "noise_tests": "noise_tests",
    "noise_alignment": "noise_alignment",
    "memory": "memory",
    "memory_examples": "memory_examples",
}
# What a study asks for and what failed are no finished units of work.
NO_UNITS = ("studies", "failures")
# Parts that a unit writes beside its main one, under the same unit_id: no units of their own.
COMPANIONS = (
    "predictions",
    "horizons",
    "retentions",
    "trajectory_quality",
    "trajectory_contours",
    "trajectory_images",
    "noise_tests",
    "noise_alignment",
    "memory_examples",
)
METADATA_KEY = b"featdyn"
# What a part that was cut short, or isn't ours, makes its readers raise.
UNREADABLE = (pa.ArrowException, duckdb.Error, OSError, KeyError, ValueError, TypeError)


def _about(part: Path) -> dict[str, Any]:
    metadata = pq.read_schema(part).metadata or {}
    content: dict[str, Any] = json.loads(metadata[METADATA_KEY])
    return content


def _load_part(connection: duckdb.DuckDBPyConnection, home: Path, part: Path) -> None:
    about = _about(part)
    unit_id, kind = about["unit_id"], about["kind"]
    table = f"base.{TABLES[kind]}"
    connection.execute(f"DELETE FROM {table} WHERE unit_id = ?", [unit_id])
    connection.execute(f"INSERT INTO {table} BY NAME FROM read_parquet(?)", [str(part)])
    connection.execute("DELETE FROM base.units WHERE unit_id = ? AND kind = ?", [unit_id, kind])
    if kind == "metrics":
        _load_checkpoints(connection, home, about["run_id"])
    if kind in COMPANIONS:
        known = [unit_id, kind]
        connection.execute("DELETE FROM base.companions WHERE unit_id = ? AND kind = ?", known)
        connection.execute("INSERT INTO base.companions VALUES (?, ?)", known)
    elif kind not in NO_UNITS:
        row = [unit_id, kind, about["run_id"], about["label"], pq.read_metadata(part).num_rows]
        row += [about["seconds"], about["finished_at"], json.dumps(about["versions"])]
        connection.execute(
            "INSERT INTO base.units SELECT ?, ?, ?, ?, ?, ?, ?::TIMESTAMPTZ AT TIME ZONE 'UTC', ?",
            row,
        )


def _load_checkpoints(connection: duckdb.DuckDBPyConnection, home: Path, run_id: str) -> None:
    connection.execute("DELETE FROM base.checkpoints WHERE run_id = ?", [run_id])
    for record in sorted((home / "runs" / run_id / "checkpoints").glob("step-*.json")):
        row = json.loads(record.read_text())
        connection.execute(
            "INSERT INTO base.checkpoints VALUES (?, ?, ?, ?, ?, ?)",
            [run_id, run_id, row["step"], row["epoch"], row["sha256"], row["bytes"]],
        )


def _load_all(connection: duckdb.DuckDBPyConnection, home: Path, parts: Sequence[Path]) -> None:
    connection.execute("BEGIN")
    for part in parts:
        try:
            _load_part(connection, home, part)
        except (
            pa.ArrowException,
            duckdb.Error,
            OSError,
            KeyError,
            ValueError,
            TypeError,
        ) as problem:
            if is_disk_full(problem):
                raise
            connection.execute("ROLLBACK")
            reason = str(problem).splitlines()[0]
            raise DamagedPartError(
                f"{part}: expected a whole part, got: {reason}; delete it and run its study again"
            ) from problem
    connection.execute("COMMIT")


def ingest(home: Path, parts: Sequence[Path]) -> None:
    """Bring finished parts into the store, all of them or none; what they held before goes."""
    with writing(home) as connection:
        _load_all(connection, home, parts)
    next_revision(home)


def read_through(home: Path) -> None:
    """Read every block of every table once; makes and migrates the store where needed.

    Raises duckdb.Error where the file is damaged: DuckDB checks a block's sum when it reads it.
    """
    with writing(home) as connection:
        for table in ("units", "companions", "checkpoints", *TABLES.values()):
            connection.execute(f"SELECT max(hash(t)) FROM base.{table} AS t").fetchall()


def ingested_units(home: Path) -> set[tuple[str, str]]:
    """(kind, unit_id) of every part but studies; makes and migrates the store where needed."""
    with writing(home) as connection:
        known = connection.execute(
            "SELECT kind, unit_id FROM base.units "
            "UNION SELECT kind, unit_id FROM base.companions "
            "UNION SELECT 'failures', unit_id FROM base.failures"
        )
        return set(known.fetchall())


def set_aside(home: Path) -> Path:
    """Move a database that doesn't open, and its log, out of the way; return its new path."""
    path = database_path(home)
    stamp = f"{time.strftime('%Y%m%d-%H%M%S')}-{time.time_ns() % 10**9:09d}"
    aside = path.with_name(f"{path.name}.damaged-{stamp}")
    os.replace(path, aside)
    log = path.with_name(path.name + ".wal")
    if log.exists():
        os.replace(log, aside.with_name(aside.name + ".wal"))
    return aside


def finished_parts(home: Path) -> list[Path]:
    """List the parts of a home that the store should hold.

    A companion is written before the main part of its unit: one that is alone was left by a
    killed engine. Its unit is no finished one, and will write it again.
    """
    parts = sorted((home / "parts").glob("*/*.parquet"))
    finished = {part.stem for part in parts if part.parent.name not in (*COMPANIONS, *NO_UNITS)}
    return [part for part in parts if part.parent.name not in COMPANIONS or part.stem in finished]


def rebuild(home: Path) -> int:
    """Make the database anew from parts/ and runs/; return the number of parts.

    The new file takes the place of the old one when it is whole.
    """
    parts = finished_parts(home)
    path = database_path(home)
    fresh = path.with_name(path.name + ".rebuild")
    for leftover in (fresh, fresh.with_name(fresh.name + ".wal")):
        leftover.unlink(missing_ok=True)
    with writing_file(fresh) as connection:
        _load_all(connection, home, parts)
    path.with_name(path.name + ".wal").unlink(missing_ok=True)
    os.replace(fresh, path)
    next_revision(home)
    return len(parts)
