"""Someone's own SQL, in a process of its own: it reads the store's views, and nothing else.

``run`` starts ``python -m store.sandbox``, which an alarm ends when its time is over. That process
opens the store read-only, without access to files, extensions or the network
(``enable_external_access``), locks this configuration, and limits memory and rows. The statement
itself must be one SELECT: DuckDB's own parser says what it is.
"""

import io
import json
import resource
import signal
import subprocess
import sys
import threading
from dataclasses import asdict, dataclass
from pathlib import Path

import duckdb
import polars as pl

from store.connection import READ_PATIENCE_SECONDS, open_file, reading_file
from store.home import StoreError

SECONDS = 10.0
MEMORY_MB = 512
ROWS = 10_000
CHARACTERS = 20_000
# Above DuckDB's own limit: Python, its libraries and the answer itself.
ADDRESS_SPACE_MB = 4096
# What stands in an ordinary answer of a few thousand rows, many times over.
ANSWER_BYTES = 64 * 2**20
REFUSED_EXIT = 3
# The alarm inside ends a query; this ends a process that doesn't even get there.
START_SECONDS = 60.0
# More at once would leave a small server no core for its pages.
AT_ONCE = 2
PLACES = threading.BoundedSemaphore(AT_ONCE)
VIEWS_ONLY = (
    "this page reads the views of docs/store.md with one SELECT; it writes nothing, loads nothing "
    "and reaches no file"
)


class RefusedError(StoreError):
    """A statement that is not run, or did not end: one line, what was expected, what to do."""


@dataclass(frozen=True)
class Answer:
    """The rows of a query; ``cut``: there were more than were kept."""

    frame: pl.DataFrame
    cut: bool


@dataclass(frozen=True)
class Limits:
    """What one query may take: seconds of time, megabytes of DuckDB's memory, rows kept."""

    seconds: float = SECONDS
    memory_mb: int = MEMORY_MB
    rows: int = ROWS


def check(sql: str) -> None:
    """Raise RefusedError unless the text is one SELECT, as DuckDB's parser reads it."""
    if len(sql) > CHARACTERS:
        raise RefusedError(f"expected a query of at most {CHARACTERS:,} characters; shorten it")
    try:
        statements = duckdb.extract_statements(sql)
    except duckdb.Error as problem:
        raise RefusedError(f"expected SQL, got: {_first_line(problem)}") from None
    if len(statements) != 1:
        raise RefusedError(f"expected one statement, got {len(statements)}: {VIEWS_ONLY}")
    kind = statements[0].type
    if kind != duckdb.StatementType.SELECT:
        raise RefusedError(f"expected a SELECT, got {kind.name}: {VIEWS_ONLY}")


def run(database: Path, sql: str, limits: Limits | None = None) -> Answer:
    """Answer a query on a database file of the store, within limits.

    Raises RefusedError where it is no single SELECT, reaches outside the views, fails, or takes
    more time or memory than it may; StoreError where the store can't be read.
    """
    limits = limits or Limits()
    check(sql)
    # The usual errors of a missing or foreign store come from here, in words that pages know.
    with reading_file(database):
        pass
    if not PLACES.acquire(timeout=limits.seconds):
        raise RefusedError(f"expected fewer than {AT_ONCE} queries at work here; try again shortly")
    try:
        return _started(database, sql, limits)
    finally:
        PLACES.release()


def _started(database: Path, sql: str, limits: Limits) -> Answer:
    """Answer a checked query in a process of its own."""
    request = {"database": str(database), "sql": sql, **asdict(limits)}
    late = (
        f"expected an answer within {limits.seconds:g} s, got none, and stopped the query; ask for "
        "fewer rows, or aggregate"
    )
    try:
        done = subprocess.run(
            [sys.executable, "-m", "store.sandbox"],
            input=json.dumps(request).encode(),
            capture_output=True,
            timeout=limits.seconds + START_SECONDS,
            cwd=Path(__file__).parents[1],
            check=False,
        )
    except subprocess.TimeoutExpired:
        raise RefusedError(late) from None
    if done.returncode == -signal.SIGALRM:
        raise RefusedError(late)
    if done.returncode == REFUSED_EXIT:
        raise RefusedError(done.stderr.decode(errors="replace").strip())
    if done.returncode != 0:
        raise RefusedError(
            f"expected an answer within {limits.memory_mb} MB of memory, but the query's process "
            "ended; ask for fewer rows, or aggregate"
        )
    frame = pl.read_ipc_stream(io.BytesIO(done.stdout))
    return Answer(frame.head(limits.rows), len(frame) > limits.rows)


def _first_line(problem: Exception) -> str:
    return str(problem).strip().splitlines()[0]


def _limit_process(seconds: float) -> None:
    """Let this process live no longer, take no more memory, and write no file."""
    # Its default action ends the process even while DuckDB is computing.
    signal.setitimer(signal.ITIMER_REAL, seconds)
    space = ADDRESS_SPACE_MB * 2**20
    resource.setrlimit(resource.RLIMIT_AS, (space, space))
    resource.setrlimit(resource.RLIMIT_FSIZE, (0, 0))


def answer(database: str, sql: str, memory_mb: int, rows: int) -> bytes:
    """Run one query where nothing but the store can be reached; an Arrow stream of its rows.

    One more than ``rows`` where there are more. Raises RefusedError for a statement that isn't
    allowed or has no rows, and for an answer over ANSWER_BYTES.
    """
    check(sql)
    # Where every option is set before the file is opened, no statement can come between.
    options = {
        "enable_external_access": "false",
        "autoinstall_known_extensions": "false",
        "autoload_known_extensions": "false",
        "allow_community_extensions": "false",
        "python_enable_replacements": "false",
        "memory_limit": f"{memory_mb}MB",
        "temp_directory": "",
        "threads": "1",
        "lock_configuration": "true",
    }
    with open_file(Path(database), True, READ_PATIENCE_SECONDS, options) as connection:
        relation = connection.sql(sql)
        if relation is None:
            raise RefusedError(f"expected rows, got a statement without any: {VIEWS_ONLY}")
        # One more than is kept tells that there were more.
        frame = relation.limit(rows + 1).pl()
    content = io.BytesIO()
    frame.write_ipc_stream(content)
    if content.tell() > ANSWER_BYTES:
        raise RefusedError(
            f"expected an answer of at most {ANSWER_BYTES >> 20} MB, got {content.tell() >> 20}; "
            "ask for fewer columns or rows"
        )
    return content.getvalue()


def main() -> int:
    """Read a request as JSON from stdin, answer on stdout; a refusal is one line on stderr."""
    request = json.load(sys.stdin)
    _limit_process(request.pop("seconds"))
    try:
        content = answer(**request)
    except (duckdb.Error, StoreError, pl.exceptions.PolarsError) as problem:
        print(_first_line(problem), file=sys.stderr)  # noqa: T201 (the parent reads it)
        return REFUSED_EXIT
    sys.stdout.buffer.write(content)
    return 0


if __name__ == "__main__":
    sys.exit(main())
