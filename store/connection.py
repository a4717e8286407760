"""Connections to DuckDB: short, retried, checked against the schema's version.

DuckDB allows one read-write process or many readers, so nobody keeps a connection: readers
open, query, close; the engine computes first and opens to write. Both retry with a bound.

What keeps readers and writers apart is a POSIX lock on the file, which belongs to the process, not
to the handle, and goes when any of its handles on the file is closed (fcntl(2)). Threads of one
process therefore open and close one at a time: otherwise one that opens, or closes late, takes the
lock from one that reads, and an engine may change the file under it.
"""

import errno
import os
import random
import tempfile
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import duckdb

from store.home import StoreError, database_path, is_read_only

MIGRATIONS = sorted((Path(__file__).parent / "migrations").glob("*.sql"))
READ_PATIENCE_SECONDS = 20.0
WRITE_PATIENCE_SECONDS = 120.0
# A store may be somebody else's: its views reach no file and no network, and bring no extension.
# What does not fit into memory goes to a bounded folder for temporary files, not beside the store.
READING: dict[str, str | bool] = {
    "enable_external_access": False,
    "autoinstall_known_extensions": False,
    "autoload_known_extensions": False,
    "max_temp_directory_size": "1GB",
}
# Rows need no order to be brought in, and half of the time is spared: who reads them sorts them.
WRITING: dict[str, str | bool] = {"preserve_insertion_order": False}
# What a damaged file, or one that is no database, makes DuckDB raise while it is read.
DAMAGE = (
    duckdb.IOException,
    duckdb.InternalException,
    duckdb.FatalException,
    duckdb.SerializationException,
    duckdb.OutOfMemoryException,
)


# No file system here counts the time of a change in coarser steps than this.
CLOCK_TICK_SECONDS = 0.02
_OPENING_OR_CLOSING = threading.Lock()


class StoreMissingError(StoreError):
    """There is no database yet."""


def _is_busy(problem: duckdb.Error) -> bool:
    text = str(problem)
    return "Could not set lock" in text or "Conflicting lock" in text


def _config(
    read_only: bool, options: dict[str, str]
) -> dict[str, str | bool | int | float | list[str]]:
    if not read_only:
        return {**WRITING, **options}
    if "temp_directory" in options:
        return {**READING, **options}
    folder = Path(tempfile.gettempdir()) / f"featdyn-spill-{os.getpid()}"
    return {**READING, "temp_directory": str(folder), **options}


def _last_change(path: Path) -> tuple[int, int, int] | None:
    """Which file it is (inode), its size and the time (ns) of its last change; None for no file."""
    try:
        status = path.stat()
    except FileNotFoundError:
        return None
    return status.st_ino, status.st_size, status.st_mtime_ns


def _settled(path: Path) -> tuple[int, int, int] | None:
    """Return ``_last_change`` as any later change will differ from."""
    found = _last_change(path)
    if found and abs(time.time_ns() - found[2]) < CLOCK_TICK_SECONDS * 1e9:
        time.sleep(CLOCK_TICK_SECONDS)
        found = _last_change(path)
    return found


def _connect_once(
    path: Path, read_only: bool, options: dict[str, Any]
) -> duckdb.DuckDBPyConnection | None:
    """Connect; None where another process wrote to the file meanwhile.

    DuckDB 2.0 reads a file's headers before it locks it. What they point to may have moved by the
    time of the lock: seen as reads beyond the end of the file, once in some thousand openings.
    """
    with _OPENING_OR_CLOSING:
        before = _settled(path)
        try:
            config = _config(read_only, options)
            connection = duckdb.connect(str(path), read_only=read_only, config=config)
        except duckdb.Error as problem:
            if _is_damage(problem) and not _is_busy(problem) and _last_change(path) != before:
                return None
            raise
        if before is None or _last_change(path) == before:
            return connection
        connection.close()
        return None


def _connect(
    path: Path, read_only: bool, patience: float, options: dict[str, Any]
) -> duckdb.DuckDBPyConnection:
    deadline = time.monotonic() + patience
    pause = 0.005
    while True:
        try:
            connection = _connect_once(path, read_only, options)
        except duckdb.Error as problem:
            if not _is_busy(problem):
                raise
            connection = None
        if connection is not None:
            return connection
        if time.monotonic() > deadline:
            raise StoreError(
                f"{path}: expected it to be free within {patience:.0f} s, but another process "
                "keeps it open; close that process (a database shell, a notebook)"
            )
        # Random pauses: two processes that retry in step would block each other for ever.
        time.sleep(pause * (0.5 + random.random()))
        pause = min(pause * 1.5, 0.1)


@contextmanager
def open_file(
    path: Path, read_only: bool, patience: float, options: dict[str, Any] | None = None
) -> Iterator[duckdb.DuckDBPyConnection]:
    """Open a database file; one that another process holds is tried again for ``patience`` s.

    ``options``: DuckDB's, set before the file is opened. Raises StoreError where it stays held.
    """
    connection = _connect(path, read_only, patience, options or {})
    try:
        yield connection
    finally:
        with _OPENING_OR_CLOSING:
            connection.close()


def _is_damage(problem: duckdb.Error) -> bool:
    # A wrong checksum comes as the bare class, a wrong question as one of its subclasses.
    return isinstance(problem, DAMAGE) or type(problem) is duckdb.Error


def is_disk_full(problem: Exception) -> bool:
    """Tell whether an error means that the disk has no room left."""
    if isinstance(problem, OSError):
        return problem.errno in (errno.ENOSPC, errno.EDQUOT)
    return isinstance(problem, duckdb.Error) and os.strerror(errno.ENOSPC) in str(problem)


def schema_version(connection: duckdb.DuckDBPyConnection) -> int:
    """Return the number of migrations applied; 0 for an empty database."""
    # fetchall, not fetchone: DuckDB 2 refuses further work beside an unfinished result.
    tables = connection.execute(
        "SELECT 1 FROM duckdb_tables() WHERE table_name = 'schema_migrations'"
    ).fetchall()
    if not tables:
        return 0
    applied = connection.execute("SELECT version FROM base.schema_migrations").fetchall()
    return max((int(version) for (version,) in applied), default=0)


def _refuse_newer(path: Path, version: int) -> None:
    if version > len(MIGRATIONS):
        raise StoreError(
            f"{path}: expected a store of schema {len(MIGRATIONS)} or older, got {version}: "
            "it was written by a newer featdyn; upgrade, or set FEATDYN_HOME to another folder"
        )


def refuse_newer_store(path: Path) -> None:
    """Raise StoreError where a database has a newer schema than this code; change nothing.

    A connection to write would replay and fold in the log of the newer version first.
    """
    if path.is_file():
        with open_file(path, read_only=True, patience=WRITE_PATIENCE_SECONDS) as connection:
            _refuse_newer(path, schema_version(connection))


def migrate(connection: duckdb.DuckDBPyConnection) -> None:
    """Apply the migrations that are missing, each in a transaction of its own."""
    applied = schema_version(connection)
    for version, path in enumerate(MIGRATIONS[applied:], start=applied + 1):
        connection.execute("BEGIN")
        connection.execute(path.read_text())
        connection.execute("INSERT INTO base.schema_migrations VALUES (?, ?)", [version, path.stem])
        connection.execute("COMMIT")


@contextmanager
def reading(home: Path) -> Iterator[duckdb.DuckDBPyConnection]:
    """Open the store of a home to read (see ``reading_file``)."""
    with reading_file(database_path(home)) as connection:
        yield connection


@contextmanager
def reading_file(path: Path) -> Iterator[duckdb.DuckDBPyConnection]:
    """Open a database file to read.

    Raises StoreMissingError where there is none, StoreError for one of another schema, one that
    stays locked for 20 s, and one that is damaged, then or while it is read.
    """
    if not path.is_file():
        raise StoreMissingError(f"{path.parent}: expected a store, found none; run `featdyn demo`")
    try:
        with open_file(path, read_only=True, patience=READ_PATIENCE_SECONDS) as connection:
            _refuse_other_schema(path, schema_version(connection))
            yield connection
    except duckdb.Error as problem:
        if not _is_damage(problem):
            raise
        reason = str(problem).splitlines()[0][:300]
        raise StoreError(
            f"{path}: expected a whole store and room for temporary files, got: {reason}; "
            "run `featdyn rebuild`, or put a sound copy in its place"
        ) from problem


def _refuse_other_schema(path: Path, version: int) -> None:
    _refuse_newer(path, version)
    if version == 0:
        raise StoreMissingError(
            f"{path.parent}: expected a store, found an empty one; run `featdyn demo`"
        )
    if version < len(MIGRATIONS):
        raise StoreError(
            f"{path}: expected schema {len(MIGRATIONS)}, got {version}; run `featdyn rebuild`"
        )


@contextmanager
def writing(home: Path) -> Iterator[duckdb.DuckDBPyConnection]:
    """Open the store of a home to write, made and migrated where needed; checkpoint at the end.

    Raises StoreError for a store of a newer schema (nothing is written) or one that stays
    locked for 120 s.
    """
    with writing_file(database_path(home)) as connection:
        yield connection


@contextmanager
def writing_file(path: Path) -> Iterator[duckdb.DuckDBPyConnection]:
    """Open a database file to write (see ``writing``).

    Raises OSError (ENOSPC) where the disk has no room left; what was there stays readable.
    StoreError under FEATDYN_READONLY.
    """
    if is_read_only():
        raise StoreError(f"{path}: FEATDYN_READONLY=1, so nothing is written; unset it")
    refuse_newer_store(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    try:
        with open_file(path, read_only=False, patience=WRITE_PATIENCE_SECONDS) as connection:
            migrate(connection)
            yield connection
            # An empty log afterwards: a reader never has to replay one.
            connection.execute("CHECKPOINT")
    except duckdb.Error as problem:
        if is_disk_full(problem):
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), str(path)) from problem
        raise
