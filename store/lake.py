"""A store of Parquet parts alone: the same views over ``parts/`` in any folder or bucket.

Nothing is copied but what is small, and nothing is written. The database of the views is one in
memory, kept for the life of the process and made anew when parts have come or gone.
"""

import json
import os
import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from hashlib import sha256
from typing import Any

import duckdb
import fsspec

from store.connection import StoreMissingError, migrate
from store.home import StoreError
from store.results import COMPANIONS, METADATA_KEY, NO_UNITS, TABLES, insert, insert_units

VARIABLE = "FEATDYN_STORE"
LOOK_AGAIN_SECONDS = 60.0
# Tables up to this size are read once; larger ones where they lie, at every question.
MOST_BYTES_READ = 32 * 2**20

_lock = threading.Lock()
_open: dict[str, "_Lake"] = {}


@dataclass
class _Lake:
    connection: duckdb.DuckDBPyConnection
    state: str
    looked: float


@dataclass(frozen=True)
class _Part:
    """A file of a folder of parts, as DuckDB names it."""

    path: str
    kind: str
    unit_id: str
    bytes: int


def is_lake(address: str) -> bool:
    """Tell whether FEATDYN_STORE names a folder of parts: a path or fsspec URL that ends so."""
    return address.rstrip("/").endswith("/parts")


def lake_from_environment() -> str | None:
    """Return the folder of parts that FEATDYN_STORE names, None where it names none."""
    asked = os.environ.get(VARIABLE, "")
    return asked if is_lake(asked) else None


@contextmanager
def reading_lake(address: str) -> Iterator[duckdb.DuckDBPyConnection]:
    """Open the views over a folder of parts to read.

    Raises StoreMissingError where it has no parts, StoreError where it can't be read.
    """
    with _lock:
        connection = _looked_at(address).connection.cursor()
    try:
        yield connection
    finally:
        connection.close()


def state(address: str) -> str:
    """Tell one content of a folder of parts from another: caches key on it."""
    with _lock:
        return _looked_at(address).state


def _looked_at(address: str) -> _Lake:
    """Return the open lake, listed again where it is time to, made anew where parts changed."""
    found = _open.get(address)
    if found and time.monotonic() < found.looked + LOOK_AGAIN_SECONDS:
        return found
    try:
        files, root = fsspec.url_to_fs(address.rstrip("/"))
        files.invalidate_cache()
        parts = _finished(files, root)
        now = sha256(repr(parts).encode()).hexdigest()[:16]
        if found is None or found.state != now:
            found = _Lake(_made(files, root, parts), now, 0.0)
    except StoreError:
        raise
    except Exception as problem:  # of the network, of a damaged part
        reason = str(problem).splitlines()[0] if str(problem) else type(problem).__name__
        raise StoreError(
            f"{VARIABLE}: expected readable parts at {address}, got: {reason}"
        ) from problem
    found.looked = time.monotonic()
    _open[address] = found
    return found


def _finished(files: Any, root: str) -> list[_Part]:
    """List the parts that count; a companion without the part of its unit is a leftover."""
    parts = []
    for path, about in sorted(files.find(root, detail=True).items()):
        kind, _, name = path.removeprefix(root).strip("/").partition("/")
        if kind in TABLES and name.endswith(".parquet"):
            unit_id = name.removesuffix(".parquet")
            parts.append(_Part(_named(files, path), kind, unit_id, about["size"]))
    if not parts:
        raise StoreMissingError(f"{VARIABLE}: expected parts at {root}, found none")
    done = {part.unit_id for part in parts if part.kind not in (*COMPANIONS, *NO_UNITS)}
    return [part for part in parts if part.kind not in COMPANIONS or part.unit_id in done]


def _named(files: Any, path: str) -> str:
    protocols = files.protocol if isinstance(files.protocol, tuple) else (files.protocol,)
    return path if "file" in protocols else str(files.unstrip_protocol(path))


def _made(files: Any, root: str, parts: Sequence[_Part]) -> duckdb.DuckDBPyConnection:
    """Make the database in memory whose tables are the parts."""
    connection = duckdb.connect(":memory:")
    if _named(files, root) != root:
        connection.register_filesystem(files)
    # Without it every question would fetch the end of every file anew.
    connection.execute("SET parquet_metadata_cache = true")
    migrate(connection)
    by_table: dict[str, list[_Part]] = {}
    for part in parts:
        by_table.setdefault(TABLES[part.kind], []).append(part)
    for table, of_table in by_table.items():
        _fill(connection, table, of_table)
    _describe(connection, parts)
    _list_checkpoints(connection, files, root)
    return connection


def _paths(parts: Sequence[_Part]) -> str:
    return ", ".join("'" + part.path.replace("'", "''") + "'" for part in parts)


def _fill(connection: duckdb.DuckDBPyConnection, table: str, parts: Sequence[_Part]) -> None:
    """Read a table's parts, or, where they are many, put a view of them in its place."""
    source = f"read_parquet([{_paths(parts)}], union_by_name = true)"
    if sum(part.bytes for part in parts) <= MOST_BYTES_READ:
        connection.execute(f"INSERT INTO base.{table} BY NAME FROM {source}")
        return
    described = connection.execute(f"DESCRIBE FROM {source}").fetchall()
    here = {name: kind for name, kind, *_ in described}
    columns = connection.execute(
        "SELECT column_name, data_type, coalesce(column_default, 'NULL') FROM duckdb_columns() "
        "WHERE schema_name = 'base' AND table_name = ? ORDER BY column_index",
        [table],
    ).fetchall()
    # A part written before a column existed gets the column's default, and one from before its type
    # changed is read in the type of today.
    chosen = ", ".join(
        f"CAST({f'coalesce({name}, {default})' if name in here else default} AS {kind}) AS {name}"
        if here.get(name) != kind or default != "NULL"
        else name
        for name, kind, default in columns
    )
    connection.execute(f"DROP TABLE base.{table}")
    connection.execute(f"CREATE VIEW base.{table} AS SELECT {chosen} FROM {source}")


def _describe(connection: duckdb.DuckDBPyConnection, parts: Sequence[_Part]) -> None:
    """Fill the tables of units and companions from what the parts say of themselves."""
    units = [part for part in parts if part.kind not in (*COMPANIONS, *NO_UNITS)]
    paths = _paths(units)
    found = connection.execute(
        f"SELECT decode(value), num_rows FROM parquet_kv_metadata([{paths}]) "
        f"JOIN parquet_file_metadata([{paths}]) USING (file_name) WHERE decode(key) = ?",
        [METADATA_KEY.decode()],
    ).fetchall()
    insert_units(connection, [(json.loads(text), count) for text, count in found])
    beside = [part for part in parts if part.kind in COMPANIONS]
    insert(connection, "companions", [{"unit_id": p.unit_id, "kind": p.kind} for p in beside])


def _list_checkpoints(connection: duckdb.DuckDBPyConnection, files: Any, root: str) -> None:
    """Fill the table of checkpoints from their records in ``runs/``, where that lies beside."""
    runs = root.rpartition("/")[0] + "/runs"
    trained = "SELECT unit_id FROM base.units WHERE kind = 'metrics'"
    done = {run_id for (run_id,) in connection.execute(trained).fetchall()}
    run_of = {}
    for path in files.find(runs):
        run_id, *rest = path.removeprefix(runs).strip("/").split("/")
        if run_id in done and rest[:1] == ["checkpoints"] and path.endswith(".json"):
            run_of[path] = run_id
    if run_of:
        rows = [
            {**json.loads(text), "run_id": run_of[path], "unit_id": run_of[path]}
            for path, text in files.cat(list(run_of)).items()
        ]
        insert(connection, "checkpoints", rows)
