"""The app reads while the engine writes, in processes of their own, and both get on."""

import multiprocessing
import os
import queue
import sys
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import duckdb
import pytest

from store import connection as connections
from store.connection import reading, writing
from store.home import StoreError, database_path
from store.results import ingest

PARTS_AT_ONCE = 2
ROWS_OF_A_PART = 100  # 10 x 10 checkpoints
# A second: far fewer than there are, far more than of a side that starves.
LEAST_READS, LEAST_INGESTS = 1.6, 0.5


def _ingest_in_a_loop(home: Path, seconds: float, answers: Any) -> None:
    parts = sorted((home / "parts" / "splices").glob("*.parquet"))
    count = 0
    try:
        deadline = time.monotonic() + seconds
        while time.monotonic() < deadline:
            first = count * PARTS_AT_ONCE % len(parts)
            ingest(home, parts[first : first + PARTS_AT_ONCE])
            count += 1
        answers.put(("ingests", count))
    except BaseException as problem:
        answers.put(("ingests", repr(problem)))
        raise


def _read_in_a_loop(home: Path, seconds: float, answers: Any) -> None:
    count = most = 0
    try:
        deadline = time.monotonic() + seconds
        while time.monotonic() < deadline:
            with reading(home) as connection:
                rows = connection.execute("SELECT count(*) FROM splices").fetchall()[0][0]
                counted = connection.execute(
                    "SELECT coalesce(sum(row_count), 0)::BIGINT FROM units WHERE kind = 'splices'"
                ).fetchall()[0][0]
            if rows != counted or rows % (PARTS_AT_ONCE * ROWS_OF_A_PART) or rows < most:
                raise AssertionError(f"half an ingest: {rows} rows, {counted} counted, {most} seen")
            count, most = count + 1, rows
        answers.put(("reads", count))
    except BaseException as problem:
        answers.put(("reads", repr(problem)))
        raise


@pytest.mark.parametrize("seconds", [15.0, pytest.param(60.0, marks=pytest.mark.slow)])
def test_a_reader_and_an_engine_share_a_home(unindexed_home: Path, seconds: float) -> None:
    # Without its study the views would hide every row, and the reader would check nothing.
    ingest(unindexed_home, sorted((unindexed_home / "parts" / "studies").iterdir()))
    context = multiprocessing.get_context("spawn")
    answers = context.Queue()
    processes = [
        context.Process(target=target, args=(unindexed_home, seconds, answers), daemon=True)
        for target in (_read_in_a_loop, _ingest_in_a_loop)
    ]
    for process in processes:
        process.start()
    # Past the longest patience: a side that starves must be heard, not timed out.
    found = dict(
        answers.get(timeout=seconds + connections.WRITE_PATIENCE_SECONDS + 20) for _ in processes
    )
    for process in processes:
        process.join(20)
    assert isinstance(found["reads"], int), found
    assert isinstance(found["ingests"], int), found
    assert found["reads"] >= LEAST_READS * seconds, found
    assert found["ingests"] >= LEAST_INGESTS * seconds, found
    with reading(unindexed_home) as connection:
        parts = len(list((unindexed_home / "parts" / "splices").iterdir()))
        rows = connection.execute("SELECT count(*) FROM splices").fetchall()
    assert rows == [(parts * ROWS_OF_A_PART,)]


def _hold(path: Path, read_only: bool, held: Any, release: Any) -> None:
    connection = duckdb.connect(str(path), read_only=read_only)
    held.set()
    release.wait(60)
    connection.close()


@contextmanager
def held_open(home: Path, read_only: bool) -> Iterator[Any]:
    context = multiprocessing.get_context("spawn")
    held, release = context.Event(), context.Event()
    process = context.Process(
        target=_hold, args=(database_path(home), read_only, held, release), daemon=True
    )
    process.start()
    try:
        assert held.wait(30)
        yield release
    finally:
        release.set()
        process.join(20)


@pytest.mark.parametrize(
    ("access", "patience", "holder_reads"),
    [
        (reading, "READ_PATIENCE_SECONDS", False),
        (writing, "WRITE_PATIENCE_SECONDS", False),
        (writing, "WRITE_PATIENCE_SECONDS", True),
    ],
)
def test_patience_ends_with_one_clear_line(
    access: Any,
    patience: str,
    holder_reads: bool,
    own_home: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(connections, patience, 0.5)
    with held_open(own_home, holder_reads):
        started = time.monotonic()
        with pytest.raises(StoreError, match="another process keeps it open; close") as caught:
            access(own_home).__enter__()
        assert 0.5 <= time.monotonic() - started < 5
    assert "\n" not in str(caught.value)
    assert str(database_path(own_home)) in str(caught.value)


def test_a_writer_waits_for_a_reader_to_close(own_home: Path) -> None:
    with held_open(own_home, read_only=True) as release:
        context = multiprocessing.get_context("spawn")
        answers = context.Queue()
        process = context.Process(target=_ingest_in_a_loop, args=(own_home, 0.1, answers))
        process.start()
        with pytest.raises(queue.Empty):
            answers.get(timeout=3)
        release.set()
        name, count = answers.get(timeout=20)
        process.join(20)
    assert name == "ingests"
    assert isinstance(count, int), count
    assert count >= 1


def test_readers_do_not_wait_for_each_other(
    own_home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(connections, "READ_PATIENCE_SECONDS", 0.0)
    with held_open(own_home, read_only=True), reading(own_home) as connection:
        assert connection.execute("SELECT count(*) FROM runs").fetchall() == [(2,)]


@pytest.mark.parametrize("ends", [None, duckdb.IOException("Could not read enough bytes")])
def test_a_file_that_changes_while_it_is_opened_is_opened_anew(
    ends: Exception | None, own_home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    connect, opened = duckdb.connect, []

    def changed_at_first(path: str, **options: Any) -> duckdb.DuckDBPyConnection:
        opened.append(connect(path, **options))
        if len(opened) == 1:
            os.utime(path)
            if ends is not None:
                opened[0].close()
                raise ends
        return opened[-1]

    monkeypatch.setattr(duckdb, "connect", changed_at_first)
    with reading(own_home) as connection:
        assert connection is opened[1]
        assert len(opened) == 2
    with pytest.raises(duckdb.ConnectionException):
        opened[0].execute("SELECT 1")


@pytest.mark.parametrize("access", [reading, writing])
def test_one_opening_is_enough_for_a_file_at_rest(
    access: Any, own_home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    connect, opened = duckdb.connect, []

    def counted(path: str, **options: Any) -> duckdb.DuckDBPyConnection:
        opened.append(options["read_only"])
        return connect(path, **options)

    monkeypatch.setattr(duckdb, "connect", counted)
    with access(own_home):
        # A writer looks at the version of the schema first.
        assert opened == ([True] if access is reading else [True, False])


def _holds_a_lock(path: Path) -> bool:
    """Tell whether this process has a lock on a file (proc_locks(5))."""
    inode = str(path.stat().st_ino)
    lines = [line.split() for line in Path("/proc/locks").read_text().splitlines()]
    return any(line[4] == str(os.getpid()) and line[5].endswith(f":{inode}") for line in lines)


@pytest.mark.skipif(sys.platform != "linux", reason="reads /proc/locks, which Linux alone has")
def test_threads_that_open_and_close_leave_a_reader_its_lock(own_home: Path) -> None:
    path = database_path(own_home)

    def without_a_lock(_: int) -> int:
        missing = 0
        for _ in range(25):
            with reading(own_home) as connection:
                connection.execute("SELECT count(*) FROM runs").fetchall()
                missing += not _holds_a_lock(path)
        return missing

    with ThreadPoolExecutor(4) as threads:
        assert sum(threads.map(without_a_lock, range(4))) == 0
    assert not _holds_a_lock(path)
