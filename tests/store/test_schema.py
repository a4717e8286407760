"""store/schema.sql is what the migrations make, and no more than a picture of it."""

from pathlib import Path

import duckdb

from store import schema


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
