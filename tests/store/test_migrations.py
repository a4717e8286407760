"""Migrations: repeatable, all or nothing, and never on a store that is newer than the program."""

from pathlib import Path

import duckdb
import pytest

from store import connection as connections
from store import schema
from store.connection import (
    MIGRATIONS,
    StoreMissingError,
    migrate,
    reading,
    schema_version,
    writing,
    writing_file,
)
from store.home import StoreError, database_path
from tests.store.rows import listing, rows


def migrate_with(monkeypatch: pytest.MonkeyPatch, folder: Path, sql: str) -> None:
    """Add one migration after the real ones."""
    extra = folder / f"{len(MIGRATIONS) + 1:04d}_extra.sql"
    extra.write_text(sql)
    monkeypatch.setattr(connections, "MIGRATIONS", [*MIGRATIONS, extra])


def make_newer(home: Path) -> None:
    with duckdb.connect(str(database_path(home))) as connection:
        connection.execute(
            "INSERT INTO base.schema_migrations VALUES (?, 'of the future')", [len(MIGRATIONS) + 1]
        )


def test_an_empty_database_has_version_zero() -> None:
    with duckdb.connect(":memory:") as connection:
        assert schema_version(connection) == 0


def test_a_fresh_migration_ends_at_the_last_version() -> None:
    with duckdb.connect(":memory:") as connection:
        migrate(connection)
        assert schema_version(connection) == len(MIGRATIONS)


def test_each_migration_is_recorded_once_with_its_name() -> None:
    with duckdb.connect(":memory:") as connection:
        migrate(connection)
        found = connection.execute("FROM base.schema_migrations ORDER BY version").fetchall()
    assert found == [(i, path.stem) for i, path in enumerate(MIGRATIONS, start=1)]


def test_migrating_again_changes_nothing() -> None:
    with duckdb.connect(":memory:") as connection:
        migrate(connection)
        before = schema.describe(connection)
        migrate(connection)
        assert schema.describe(connection) == before
        assert connection.execute("SELECT count(*) FROM base.schema_migrations").fetchall() == [
            (len(MIGRATIONS),)
        ]


def test_names_of_migrations_count_up_without_a_gap() -> None:
    assert [int(path.name[:4]) for path in MIGRATIONS] == list(range(1, len(MIGRATIONS) + 1))


def test_a_store_of_the_last_version_gets_the_next_migration_and_keeps_its_rows(
    own_home: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = rows(own_home)
    migrate_with(monkeypatch, tmp_path, "CREATE TABLE base.extra (x INTEGER);")
    with writing(own_home) as connection:
        assert schema_version(connection) == len(MIGRATIONS) + 1
        assert connection.execute("SELECT count(*) FROM base.extra").fetchall() == [(0,)]
    assert rows(own_home) == before


def test_a_failing_migration_leaves_the_schema_and_the_rows_as_they_were(
    own_home: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = rows(own_home)
    with monkeypatch.context() as patch:
        failing = "CREATE TABLE base.half (x INTEGER); DELETE FROM base.splices; SELECT no_such();"
        migrate_with(patch, tmp_path, failing)
        with pytest.raises(duckdb.Error, match="no_such"), writing(own_home):
            raise AssertionError("a failing migration must not open the store")
    with reading(own_home) as connection:
        assert schema.describe(connection) == schema.generate()
        assert schema_version(connection) == len(MIGRATIONS)
    assert rows(own_home) == before


def test_a_failing_first_migration_leaves_an_empty_database(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    broken = tmp_path / "0001_broken.sql"
    broken.write_text(MIGRATIONS[0].read_text() + "\nSELECT no_such();")
    with monkeypatch.context() as patch:
        patch.setattr(connections, "MIGRATIONS", [broken])
        with pytest.raises(duckdb.Error, match="no_such"), writing_file(tmp_path / "x.duckdb"):
            raise AssertionError("a failing migration must not open the store")
    with duckdb.connect(str(tmp_path / "x.duckdb")) as connection:
        assert schema_version(connection) == 0
        assert connection.execute("SELECT count(*) FROM duckdb_tables()").fetchall() == [(0,)]


def test_a_newer_store_is_refused_by_reading_in_one_clear_line(own_home: Path) -> None:
    make_newer(own_home)
    pattern = rf"expected a store of schema {len(MIGRATIONS)} or older, got .*newer.*upgrade"
    with pytest.raises(StoreError, match=pattern) as caught, reading(own_home):
        raise AssertionError("a newer store must not open")
    assert "\n" not in str(caught.value)


def test_a_newer_store_is_refused_by_writing(own_home: Path) -> None:
    make_newer(own_home)
    with pytest.raises(StoreError, match="newer featdyn"), writing(own_home):
        raise AssertionError("a newer store must not open")


def test_refusing_a_newer_store_leaves_every_byte(own_home: Path) -> None:
    make_newer(own_home)
    before = listing(own_home)
    for access in (reading, writing):
        with pytest.raises(StoreError), access(own_home):
            raise AssertionError("a newer store must not open")
    assert listing(own_home) == before


def test_refusing_a_newer_store_leaves_its_log_unreplayed(own_home: Path) -> None:
    # A newer engine that was killed leaves a log; only that engine knows how to replay it.
    make_newer(own_home)
    path = database_path(own_home)
    with duckdb.connect(str(path), config={"checkpoint_threshold": "1GB"}) as connection:
        connection.execute("PRAGMA disable_checkpoint_on_shutdown")
        connection.execute("CREATE TABLE base.of_the_future (x INTEGER)")
    before = listing(own_home)
    assert path.name + ".wal" in before
    with pytest.raises(StoreError, match="newer featdyn"), writing(own_home):
        raise AssertionError("a newer store must not open")
    assert listing(own_home) == before


def test_the_engine_refuses_a_newer_store_and_leaves_every_byte(own_home: Path) -> None:
    from featdyn_engine import pipeline, planning, study
    from tests.cases import TINY_STUDY
    from tests.conftest import Silent

    make_newer(own_home)
    before = listing(own_home)
    plan = planning.plan(study.parse(TINY_STUDY, "tiny.toml", own_home), own_home)
    with pytest.raises(StoreError, match="newer featdyn"):
        pipeline.run(plan, own_home, 1, Silent())
    assert listing(own_home) == before


def test_an_older_store_is_refused_by_reading_with_the_remedy(
    own_home: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    migrate_with(monkeypatch, tmp_path, "CREATE TABLE base.extra (x INTEGER);")
    with pytest.raises(StoreError, match="featdyn rebuild"), reading(own_home):
        raise AssertionError("an older store must not open to read")


def test_a_missing_store_is_named_with_the_remedy(tmp_path: Path) -> None:
    with (
        pytest.raises(StoreMissingError, match="found none; run `featdyn demo`"),
        reading(tmp_path),
    ):
        raise AssertionError("there is nothing to open")
    assert list(tmp_path.iterdir()) == []


def test_an_empty_database_counts_as_missing(tmp_path: Path) -> None:
    duckdb.connect(str(database_path(tmp_path))).close()
    with pytest.raises(StoreMissingError, match="an empty one"), reading(tmp_path):
        raise AssertionError("there is nothing to read")
