"""Writes: Parquet parts and checkpoint records into the database, one transaction an ingest."""

import json
import os
import time
from collections.abc import Sequence
from dataclasses import dataclass
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
MOST_PARTS_AT_ONCE = 4000
# What a part that was cut short, or isn't ours, makes its readers raise.
UNREADABLE = (pa.ArrowException, duckdb.Error, OSError, KeyError, ValueError, TypeError)


@dataclass(frozen=True)
class _Part:
    """A part, and what its file says of itself."""

    path: Path
    about: dict[str, Any]
    rows: int
    columns: tuple[str, ...]

    @property
    def kind(self) -> str:
        return str(self.about["kind"])

    @property
    def table(self) -> str:
        return TABLES[self.kind]


def _described(path: Path) -> _Part:
    with pq.ParquetFile(path) as file:
        about = json.loads(file.metadata.metadata[METADATA_KEY])
        columns = tuple(file.schema_arrow.names)
        return _Part(path, about, file.metadata.num_rows, columns)


def insert_units(
    connection: duckdb.DuckDBPyConnection, units: Sequence[tuple[dict[str, Any], int]]
) -> None:
    """Insert the lines of units: what each part says of itself, and its rows."""
    keys = ("unit_id", "kind", "run_id", "label", "seconds", "finished_at")
    rows = [
        {
            **{key: about[key] for key in keys},
            "row_count": count,
            "versions": json.dumps(about["versions"]),
        }
        for about, count in units
    ]
    insert(
        connection,
        "units",
        rows,
        "SELECT * REPLACE (finished_at::TIMESTAMPTZ AT TIME ZONE 'UTC' AS finished_at)",
    )


def insert(
    connection: duckdb.DuckDBPyConnection,
    table: str,
    rows: Sequence[dict[str, Any]],
    select: str = "SELECT *",
) -> None:
    """Insert rows into a table of schema base; nothing where there are none."""
    if rows:
        connection.register("fresh", pa.Table.from_pylist(list(rows)))
        connection.execute(f"INSERT INTO base.{table} BY NAME {select} FROM fresh")
        connection.unregister("fresh")


def _forget(connection: duckdb.DuckDBPyConnection, parts: Sequence[_Part]) -> None:
    """Delete the rows of parts of one table that are in the store already.

    A part that the store doesn't know has no rows in it: looking for them would read a whole table.
    """
    ids = [part.about["unit_id"] for part in parts]
    table, kinds = parts[0].table, sorted({part.kind for part in parts})
    known = ids
    if not set(kinds) & set(NO_UNITS):
        found = connection.execute(
            "SELECT unit_id FROM (FROM base.companions UNION SELECT unit_id, kind FROM base.units) "
            "WHERE kind IN (SELECT unnest(?)) AND unit_id IN (SELECT unnest(?))",
            [kinds, ids],
        ).fetchall()
        known = [unit_id for (unit_id,) in found]
    if known:
        connection.execute(f"DELETE FROM base.{table} WHERE unit_id IN (SELECT unnest(?))", [known])
    for of_parts in ("units", "companions"):
        connection.execute(
            f"DELETE FROM base.{of_parts} "
            "WHERE kind IN (SELECT unnest(?)) AND unit_id IN (SELECT unnest(?))",
            [kinds, ids],
        )


def _load_parts(connection: duckdb.DuckDBPyConnection, home: Path, parts: Sequence[_Part]) -> None:
    """Bring parts of one table, with the same columns, into the store."""
    _forget(connection, parts)
    paths = [str(part.path) for part in parts]
    connection.execute(f"INSERT INTO base.{parts[0].table} BY NAME FROM read_parquet(?)", [paths])
    for part in parts:
        if part.kind == "metrics":
            _load_checkpoints(connection, home, part.about["run_id"])
    beside = [
        {"unit_id": part.about["unit_id"], "kind": part.kind}
        for part in parts
        if part.kind in COMPANIONS
    ]
    insert(connection, "companions", beside)
    insert_units(
        connection,
        [(part.about, part.rows) for part in parts if part.kind not in (*COMPANIONS, *NO_UNITS)],
    )


def _load_checkpoints(connection: duckdb.DuckDBPyConnection, home: Path, run_id: str) -> None:
    connection.execute("DELETE FROM base.checkpoints WHERE run_id = ?", [run_id])
    records = sorted((home / "runs" / run_id / "checkpoints").glob("step-*.json"))
    rows = [json.loads(record.read_text()) for record in records]
    insert(
        connection, "checkpoints", [{**row, "unit_id": run_id, "run_id": run_id} for row in rows]
    )


def _load_all(connection: duckdb.DuckDBPyConnection, home: Path, parts: Sequence[Path]) -> None:
    paths = list(dict.fromkeys(parts))
    try:
        connection.execute("BEGIN")
        # One statement for many parts: for each it would take longer than its rows do. Those of
        # other columns apart, since a column that one lacks has its default there, not NULL.
        alike: dict[tuple[str, tuple[str, ...]], list[_Part]] = {}
        for part in map(_described, paths):
            alike.setdefault((part.table, part.columns), []).append(part)
        for group in alike.values():
            for first in range(0, len(group), MOST_PARTS_AT_ONCE):
                _load_parts(connection, home, group[first : first + MOST_PARTS_AT_ONCE])
        connection.execute("COMMIT")
    except UNREADABLE as problem:
        if is_disk_full(problem):
            raise
        connection.execute("ROLLBACK")
        _load_singly(connection, home, paths)


def _load_singly(connection: duckdb.DuckDBPyConnection, home: Path, paths: Sequence[Path]) -> None:
    """Load part by part, so that the one that can't be read is known by its name."""
    connection.execute("BEGIN")
    for path in paths:
        try:
            _load_parts(connection, home, [_described(path)])
        except UNREADABLE as problem:
            if is_disk_full(problem):
                raise
            connection.execute("ROLLBACK")
            reason = str(problem).splitlines()[0]
            raise DamagedPartError(
                f"{path}: expected a whole part, got: {reason}; delete it and run its study again"
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
