"""Someone's own SQL: answers from the views, and attacks that are refused with a sentence."""

import json
import subprocess
import sys
import time
from pathlib import Path

import pytest

from store import sandbox
from store.connection import StoreMissingError
from store.home import database_path
from store.sandbox import Limits, RefusedError
from tests.store.rows import listing

# Refused by what it is, before anything runs.
NO_SELECT = [
    "COPY splices TO '/tmp/out.csv'",
    "COPY (SELECT 1) TO '/tmp/out.parquet'",
    "EXPORT DATABASE '/tmp/out'",
    "ATTACH '/etc/passwd' AS x",
    "ATTACH ':memory:' AS x",
    "DETACH main",
    "INSTALL httpfs",
    "LOAD httpfs",
    "SET memory_limit = '64GB'",
    "SET enable_external_access = true",
    "RESET lock_configuration",
    "PRAGMA database_list",
    "CREATE TABLE t AS SELECT 1",
    "DROP VIEW splices",
    "INSERT INTO base.splices SELECT * FROM base.splices",
    "DELETE FROM base.splices",
    "UPDATE base.splices SET n = 1",
    "CALL pragma_version()",
    "CHECKPOINT",
    "BEGIN",
    "SELECT 1; SELECT 2",
    "SELECT 1; DROP VIEW splices",
    "",
    "-- nothing",
]
# A SELECT that DuckDB itself must refuse.
OUTSIDE = [
    "SELECT * FROM read_csv('/etc/passwd')",
    "SELECT * FROM read_text('/etc/passwd')",
    "SELECT * FROM read_blob('/etc/passwd')",
    "SELECT * FROM read_json('/proc/self/environ')",
    "SELECT * FROM read_parquet('/tmp/x.parquet')",
    "SELECT * FROM '/etc/passwd'",
    "SELECT * FROM 'https://example.org/x.csv'",
    "SELECT * FROM glob('/*')",
    "SELECT * FROM sniff_csv('/etc/passwd')",
    "FROM parquet_metadata('/tmp/x.parquet')",
    "SELECT * FROM sql",
    "SELECT * FROM query('COPY splices TO ''/tmp/out.csv''')",
]


def ask(home: Path, sql: str, limits: Limits | None = None) -> sandbox.Answer:
    return sandbox.run(database_path(home), sql, limits)


def test_a_query_on_a_view_is_answered(cube_home: Path) -> None:
    answer = ask(cube_home, "SELECT cut, count(*) AS cells FROM splices GROUP BY cut ORDER BY cut")
    assert answer.frame.columns == ["cut", "cells"]
    assert answer.frame["cut"].to_list() == ["stage1", "stem"]
    assert not answer.cut


def test_with_and_from_first_are_selects_too(cube_home: Path) -> None:
    assert len(ask(cube_home, "WITH r AS (FROM runs) FROM r LIMIT 2").frame) == 2


def test_the_store_is_as_before_after_any_query(cube_home: Path) -> None:
    before = listing(cube_home)
    ask(cube_home, "SELECT count(*) FROM splices AS a, splices AS b")
    assert listing(cube_home) == before


def test_rows_above_the_limit_are_cut_and_said_to_be(cube_home: Path) -> None:
    answer = ask(cube_home, "FROM splices", Limits(rows=7))
    assert len(answer.frame) == 7
    assert answer.cut
    assert not ask(cube_home, "FROM range(7)", Limits(rows=7)).cut


@pytest.mark.parametrize("sql", NO_SELECT)
def test_what_is_no_single_select_is_refused_by_its_kind(sql: str) -> None:
    with pytest.raises(RefusedError, match=r"expected (a SELECT|one statement|SQL)"):
        sandbox.check(sql)


def test_duckdb_refuses_every_select_that_reaches_outside(cube_home: Path) -> None:
    """In one process, without the limits around it: the configuration alone must hold."""
    script = (
        "import json, sys\n"
        "from store import sandbox\n"
        "for sql in json.load(sys.stdin):\n"
        f"    try: sandbox.answer({str(cube_home / 'featdyn.duckdb')!r}, sql, 100, 10)\n"
        "    except (sandbox.duckdb.Error, sandbox.RefusedError): print('refused')\n"
        "    else: print('answered', sql)"
    )
    done = subprocess.run(
        [sys.executable, "-c", script], input=json.dumps(OUTSIDE), capture_output=True, text=True
    )
    assert done.stdout.splitlines() == ["refused"] * len(OUTSIDE), done.stderr


@pytest.mark.parametrize("sql", OUTSIDE[:2])
def test_a_refusal_is_one_line_without_content_of_files(sql: str, cube_home: Path) -> None:
    before = listing(cube_home)
    with pytest.raises(RefusedError) as caught:
        ask(cube_home, sql)
    assert "root:" not in str(caught.value)
    assert "\n" not in str(caught.value)
    assert listing(cube_home) == before


def test_a_query_without_end_is_stopped(cube_home: Path) -> None:
    started = time.monotonic()
    with pytest.raises(RefusedError, match="expected an answer within 1 s"):
        ask(
            cube_home,
            # It streams: memory is no limit to it, as it would be to a join.
            "SELECT count(*) FROM range(1000000000000) AS a(i) WHERE hash(i) = 1",
            Limits(seconds=1),
        )
    assert time.monotonic() - started < 15
    assert not list(cube_home.glob("*.tmp"))


def test_memory_is_bounded(cube_home: Path) -> None:
    with pytest.raises(RefusedError, match=r"[Mm]emory"):
        ask(cube_home, "SELECT list(i) FROM range(300000000) AS a(i)", Limits(memory_mb=50))


def test_a_misspelt_column_is_named(cube_home: Path) -> None:
    with pytest.raises(RefusedError, match="acuracy"):
        ask(cube_home, "SELECT acuracy FROM splices")


def test_a_missing_store_is_missing(tmp_path: Path) -> None:
    with pytest.raises(StoreMissingError):
        ask(tmp_path, "SELECT 1")
