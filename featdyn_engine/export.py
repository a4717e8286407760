"""``featdyn export``: the tables of one run with where they came from, for use elsewhere."""

import json
import platform
import shutil
import uuid
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path
from typing import Any, Literal, get_args

import polars as pl

from featdyn_engine import __version__
from featdyn_engine.domain import InputError
from featdyn_engine.files import sha256_of, write_json
from store.connection import MIGRATIONS, reading_file
from store.home import refuse_to_write, revision
from store.source import database_from_environment
from store.tables import tables_of_run

Format = Literal["csv", "parquet"]
PROVENANCE = "provenance.json"


def export(home: Path, run_id: str, out: Path, file_format: str) -> dict[str, int]:
    """Write a table a view, and ``provenance.json``, to a new folder, or file named ``*.zip``.

    Returns the rows of each table. Lists (predicted classes) are words with blanks between in
    CSV. Raises InputError for a run that the store doesn't have, a format that there is not, and
    a path that exists; StoreError and StoreMissingError as reading does.
    """
    refuse_to_write(out.parent, f"featdyn export {run_id}")
    if file_format not in get_args(Format):
        raise InputError(
            f"--format: expected one of {', '.join(get_args(Format))}, got {file_format!r}"
        )
    if out.exists():
        raise InputError(f"{out}: expected a new path, got one that exists; name another")
    database = database_from_environment(home)
    with reading_file(database) as connection:
        tables = tables_of_run(connection, run_id)
        known = connection.execute("SELECT run_id FROM runs ORDER BY run_id").fetchall()
    if not tables:
        ids = ", ".join(each for (each,) in known)
        raise InputError(f"expected a run of {database} ({ids or 'it has none'}), got {run_id!r}")
    fresh = out.absolute().with_name(f".{out.name}.{uuid.uuid4().hex}.partial")
    archive = fresh.with_suffix(".zip")
    fresh.mkdir(parents=True)
    try:
        for view, rows in tables.items():
            _write(rows, fresh / f"{view}.{file_format}")
        write_json(fresh / PROVENANCE, _provenance(database, run_id, tables, fresh))
        if out.suffix == ".zip":
            shutil.make_archive(str(archive.with_suffix("")), "zip", fresh)
            archive.rename(out)
        else:
            fresh.rename(out)
    finally:
        shutil.rmtree(fresh, ignore_errors=True)
        archive.unlink(missing_ok=True)
    return {view: len(rows) for view, rows in tables.items()}


def _write(rows: pl.DataFrame, path: Path) -> None:
    if path.suffix == ".parquet":
        rows.write_parquet(path)
        return
    lists = [name for name, kind in rows.schema.items() if isinstance(kind, pl.List)]
    words = [pl.col(name).cast(pl.List(pl.String)).list.join(" ") for name in lists]
    rows.with_columns(words).write_csv(path)


def _provenance(
    database: Path, run_id: str, tables: dict[str, pl.DataFrame], folder: Path
) -> dict[str, Any]:
    """Everything that tells these numbers from others: the run, the store, versions, hashes."""
    versions = tables["units"]["versions"].drop_nulls().unique().sort() if "units" in tables else ()
    return {
        "run_id": run_id,
        "config": json.loads(tables["runs"]["config"][0]),
        "study": tables["runs"]["study"][0],
        "store": {
            "file": database.name,
            "revision": revision(database.parent),
            "schema": len(MIGRATIONS),
        },
        "exported_at": datetime.now(UTC).isoformat(timespec="seconds"),
        "versions": {
            "featdyn": __version__,
            "python": platform.python_version(),
            "duckdb": version("duckdb"),
            "polars": version("polars"),
        },
        "computed_with": [json.loads(text) for text in versions],
        "columns": "docs/store.md of featdyn describes every table and column",
        "tables": {
            path.name: {"rows": len(tables[path.stem]), "sha256": sha256_of(path)}
            for path in sorted(folder.iterdir())
        },
    }
