"""A database taken apart into the parts that it was made of: the reverse of an ingest."""

import json
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC
from itertools import groupby
from typing import Any

import duckdb
import pyarrow as pa
import pyarrow.compute as pc

from store.results import COMPANIONS, NO_UNITS, TABLES

ROWS_AT_ONCE = 100_000


@dataclass(frozen=True)
class StoredPart:
    """A part as a database knows it.

    ``about``: what its file said of itself; ``rows``: without the column ``unit_id``, as a part is
    written.
    """

    kind: str
    unit_id: str
    about: dict[str, Any]
    rows: pa.Table


def parts(connection: duckdb.DuckDBPyConnection) -> Iterator[StoredPart]:
    """Yield every part of a database, those that units wrote beside their own first.

    A unit that lacks some of its rows, since the other run of its splices was left out of a
    snapshot, is left out: it counts as finished no more.
    """
    abouts = _abouts(connection)
    for kind in sorted(TABLES, key=lambda kind: kind not in COMPANIONS):
        wanted = [
            unit_id
            for unit_id in _unit_ids(connection, kind)
            if kind in NO_UNITS or unit_id in abouts
        ]
        for unit_id, rows in _rows_by_unit(connection, TABLES[kind], wanted):
            about = abouts.get(unit_id, {"unit_id": unit_id, "run_id": None})
            yield StoredPart(kind, unit_id, {**about, "kind": kind}, rows.drop_columns("unit_id"))


def _abouts(connection: duckdb.DuckDBPyConnection) -> dict[str, dict[str, Any]]:
    """Return what is told of every unit that has all of its rows."""
    columns = ("unit_id", "run_id", "label", "seconds", "finished_at", "versions")
    found = {}
    query = f"SELECT {', '.join(columns)}, kind, row_count FROM base.units"
    counts = {
        table: dict(
            connection.execute(
                f"SELECT unit_id, count(*) FROM base.{table} GROUP BY unit_id"
            ).fetchall()
        )
        for table in {TABLES[kind] for kind in TABLES.keys() - {*COMPANIONS, *NO_UNITS}}
    }
    for *row, kind, row_count in connection.execute(query).fetchall():
        if counts[TABLES[kind]].get(row[0], 0) != row_count:
            continue
        about = dict(zip(columns, row, strict=True))
        about["finished_at"] = about["finished_at"].replace(tzinfo=UTC).isoformat()
        about["versions"] = json.loads(about["versions"])
        found[about["unit_id"]] = about
    return found


def _unit_ids(connection: duckdb.DuckDBPyConnection, kind: str) -> list[str]:
    if kind in NO_UNITS:
        query = f"SELECT DISTINCT unit_id FROM base.{TABLES[kind]}"
        return [unit_id for (unit_id,) in connection.execute(query).fetchall()]
    table = "companions" if kind in COMPANIONS else "units"
    query = f"SELECT unit_id FROM base.{table} WHERE kind = ?"
    return [unit_id for (unit_id,) in connection.execute(query, [kind]).fetchall()]


def _rows_by_unit(
    connection: duckdb.DuckDBPyConnection, table: str, unit_ids: list[str]
) -> Iterator[tuple[str, pa.Table]]:
    """Yield the rows of each of these units, one unit at a time in memory; none is a table too."""
    reader = connection.sql(
        f"FROM base.{table} WHERE unit_id IN (SELECT unnest(?)) ORDER BY unit_id, rowid",
        params=[unit_ids],
    ).to_arrow_reader(ROWS_AT_ONCE)
    empty = set(unit_ids)
    for unit_id, pieces in groupby(_pieces(reader), key=lambda piece: piece[0]):
        empty.discard(unit_id)
        yield unit_id, pa.Table.from_batches([batch for _, batch in pieces])
    for unit_id in sorted(empty):
        yield unit_id, reader.schema.empty_table()


def _pieces(reader: pa.RecordBatchReader) -> Iterator[tuple[str, pa.RecordBatch]]:
    for batch in reader:
        ends = pc.run_end_encode(batch["unit_id"])
        first = 0
        for unit_id, end in zip(ends.values.to_pylist(), ends.run_ends.to_pylist(), strict=True):
            yield unit_id, batch.slice(first, end - first)
            first = end
