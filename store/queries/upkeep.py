"""Questions of the engine about the store itself: which parts it holds, which rows are lost."""

import duckdb
import polars as pl

from store.queries.frames import frame


def stored_units(connection: duckdb.DuckDBPyConnection) -> pl.DataFrame:
    """Kind and unit_id of every part that the store holds, also those that are no unit."""
    return frame(
        connection,
        """
        SELECT kind, unit_id FROM base.units
        UNION SELECT kind, unit_id FROM base.companions
        UNION SELECT 'studies', unit_id FROM base.study_runs
        UNION SELECT 'failures', unit_id FROM base.failures
        """,
    )


def orphan_rows(connection: duckdb.DuckDBPyConnection) -> pl.DataFrame:
    """Rows that belong to no finished unit: table, unit_id, count. There should be none."""
    tables = connection.execute(
        """
        SELECT table_name FROM duckdb_columns()
        WHERE schema_name = 'base' AND column_name = 'unit_id'
          AND table_name NOT IN ('units', 'study_runs', 'failures', 'standing_failures')
        ORDER BY table_name
        """
    ).fetchall()
    return frame(
        connection,
        " UNION ALL ".join(
            f"""
            SELECT '{table}' AS "table", unit_id, count(*) AS rows FROM base.{table}
            WHERE unit_id NOT IN (SELECT unit_id FROM base.units)
            GROUP BY unit_id
            """
            for (table,) in tables
        ),
    )


def view_columns(connection: duckdb.DuckDBPyConnection) -> pl.DataFrame:
    """List every column of every view, in order: view, column, type. docs/store.md says more."""
    return frame(
        connection,
        """
        SELECT v.view_name AS view, c.column_name AS "column", c.data_type AS type
        FROM duckdb_views() AS v JOIN duckdb_columns() AS c ON c.table_oid = v.view_oid
        WHERE NOT v.internal AND v.schema_name = 'main'
          AND v.database_name = current_database() AND c.database_name = current_database()
        ORDER BY v.view_name, c.column_index
        """,
    )


def preview(connection: duckdb.DuckDBPyConnection, view: str, rows: int) -> pl.DataFrame:
    """Give the first rows of a view, in no order; none of a view that there isn't."""
    known = view_columns(connection).filter(pl.col("view") == view)
    if known.is_empty():
        return pl.DataFrame()
    return frame(connection, f'SELECT * FROM "{view}" LIMIT ?', [rows])
