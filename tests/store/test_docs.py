"""docs/store.md against the migrated database and the rows of two finished studies."""

import re
from pathlib import Path

import duckdb
import pytest

from store.connection import migrate, reading

TEXT = (Path(__file__).parents[2] / "docs" / "store.md").read_text(encoding="utf-8")
SECTIONS = re.findall(r"^## (\w+)\n(.*?)(?=^## |\Z)", TEXT, re.DOTALL | re.MULTILINE)
DOCUMENTED = {name: body for name, body in SECTIONS if re.search(r"^Key: ", body, re.MULTILINE)}
VIEWS = sorted(DOCUMENTED)


def columns(view: str) -> list[tuple[str, ...]]:
    lines = re.findall(r"^\|(.*)\|$", DOCUMENTED[view], re.MULTILINE)
    cells = [tuple(cell.strip() for cell in line.split("|")) for line in lines]
    assert cells[0] == ("column", "type", "unit or range", "meaning")
    return cells[2:]


def key(view: str) -> list[str]:
    found = re.findall(r"^Key: (.*)$", DOCUMENTED[view], re.MULTILINE)
    assert len(found) == 1
    return found[0].split(", ")


@pytest.fixture(scope="module")
def described() -> dict[str, list[tuple[str, str]]]:
    with duckdb.connect(":memory:") as connection:
        migrate(connection)
        found = connection.execute(
            "SELECT v.view_name, list((c.column_name, c.data_type) ORDER BY c.column_index) "
            "FROM duckdb_views() AS v JOIN duckdb_columns() AS c ON c.table_oid = v.view_oid "
            "WHERE NOT v.internal AND v.schema_name = 'main' GROUP BY ALL"
        ).fetchall()
    return dict(found)


def test_the_document_names_exactly_the_views(
    described: dict[str, list[tuple[str, str]]],
) -> None:
    assert sorted(described) == VIEWS


@pytest.mark.parametrize("view", VIEWS)
def test_a_view_has_the_documented_columns_and_types_in_order(
    view: str, described: dict[str, list[tuple[str, str]]]
) -> None:
    assert [(name, kind) for name, kind, *_ in columns(view)] == described[view]


@pytest.mark.parametrize("view", VIEWS)
def test_every_column_has_a_range_and_a_meaning(view: str) -> None:
    assert all(len(row) == 4 and all(row) for row in columns(view))


@pytest.mark.parametrize("view", VIEWS)
def test_a_section_opens_with_one_sentence(view: str) -> None:
    first = DOCUMENTED[view].strip().split("\n\n")[0]
    assert first.endswith(".")
    assert ". " not in first


@pytest.mark.parametrize("view", VIEWS)
def test_the_documented_key_is_unique_and_never_null(view: str, full_home: Path) -> None:
    names = ", ".join(key(view))
    with reading(full_home) as connection:
        total, different = connection.execute(
            f"SELECT count(*), count(DISTINCT ({names})) FROM {view}"
        ).fetchall()[0]
        nulls = connection.execute(
            f"SELECT count(*) FROM {view} WHERE {' OR '.join(f'{n} IS NULL' for n in key(view))}"
        ).fetchall()[0][0]
    assert total > 0
    assert different == total
    assert nulls == 0


@pytest.mark.parametrize("view", VIEWS)
def test_a_column_documented_without_null_holds_none(view: str, full_home: Path) -> None:
    never = [name for name, _, span, _ in columns(view) if "NULL" not in span]
    with reading(full_home) as connection:
        counts = connection.execute(
            f"SELECT {', '.join(f'count(*) - count({name})' for name in never)} FROM {view}"
        ).fetchall()[0]
    assert dict(zip(never, counts, strict=True)) == dict.fromkeys(never, 0)


@pytest.mark.parametrize("view", VIEWS)
def test_shares_lie_in_their_documented_range(view: str, full_home: Path) -> None:
    shares = [name for name, _, span, _ in columns(view) if span == "0 to 1"]
    with reading(full_home) as connection:
        for name in shares:
            low, high = connection.execute(
                f"SELECT min({name}), max({name}) FROM {view}"
            ).fetchall()[0]
            assert 0 <= low <= high <= 1, name


@pytest.mark.parametrize("view", VIEWS)
def test_words_of_a_documented_list_are_the_only_ones(view: str, full_home: Path) -> None:
    lists = {
        name: set(re.findall(r"`([^`]+)`", span))
        for name, kind, span, _ in columns(view)
        if kind == "VARCHAR" and re.fullmatch(r"(`[^`]+`(, )?)+", span)
    }
    with reading(full_home) as connection:
        for name, words in lists.items():
            found = connection.execute(f"SELECT DISTINCT {name} FROM {view}").fetchall()
            assert {word for (word,) in found} <= words, name
