"""store/schema.sql is what the migrations make, and no more than a picture of it."""

from pathlib import Path

import duckdb
import pytest

from store import schema
from store.connection import migrate
from store.results import COMPANIONS, NO_UNITS, TABLES


def test_the_file_is_the_generated_text() -> None:
    assert schema.SCHEMA_FILE.read_text(encoding="utf-8") == schema.generate(), (
        "the schema has changed: run `python -m store.schema`"
    )


def test_generating_twice_gives_the_same_text() -> None:
    assert schema.generate() == schema.generate()


def test_the_file_itself_makes_the_same_schema() -> None:
    # Line breaks put into a statement must never change what it says.
    with duckdb.connect(":memory:") as connection:
        connection.execute(schema.SCHEMA_FILE.read_text(encoding="utf-8"))
        assert schema.describe(connection) == schema.generate()


def test_no_line_is_longer_than_the_width() -> None:
    assert max(map(len, schema.generate().splitlines())) <= schema.WIDTH


def test_write_puts_the_text_into_a_file(tmp_path: Path) -> None:
    schema.write(tmp_path / "schema.sql")
    assert (tmp_path / "schema.sql").read_text(encoding="utf-8") == schema.generate()


TYPES = {
    "string": "VARCHAR",
    "int32": "INTEGER",
    "int64": "BIGINT",
    "float": "FLOAT",
    "double": "DOUBLE",
    "bool": "BOOLEAN",
}


ANALYSES = sorted({*TABLES} - {*NO_UNITS, *COMPANIONS, "evaluations", "metrics"})


def test_every_analysis_has_a_table() -> None:
    from featdyn_engine.analyses import registry

    assert sorted(registry.ANALYSES) == ANALYSES


@pytest.mark.parametrize("kind", ANALYSES)
def test_the_rows_of_an_analysis_fit_their_table(kind: str) -> None:
    from featdyn_engine.analyses import registry

    rows = registry.ANALYSES[kind].TABLE
    # Parts are brought in by name: a column more would fail, one less would be NULL unseen.
    with duckdb.connect(":memory:") as connection:
        migrate(connection)
        found = connection.execute(
            "SELECT column_name, data_type FROM duckdb_columns() "
            "WHERE schema_name = 'base' AND table_name = ? AND column_name <> 'unit_id'",
            [TABLES[kind]],
        ).fetchall()
    assert dict(found) == {each.name: TYPES[str(each.type)] for each in rows}
