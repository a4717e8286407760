"""The rows of one run out of every view, for export."""

import duckdb
import polars as pl

from store.queries.frames import frame

# Rows of other runs that only touch this one stay where they are.
BY_RUN = "run_id"


def tables_of_run(connection: duckdb.DuckDBPyConnection, run_id: str) -> dict[str, pl.DataFrame]:
    """Rows of a run by view, in the order of all columns; views without any are left out.

    With it come its evaluation sets. Empty for a run that the store doesn't have.
    """
    views = connection.execute(
        "SELECT v.view_name, list(c.column_name) FROM duckdb_views() AS v "
        "JOIN duckdb_columns() AS c ON c.table_oid = v.view_oid "
        "WHERE NOT v.internal AND v.schema_name = 'main' GROUP BY ALL ORDER BY ALL"
    ).fetchall()
    found = {
        view: frame(connection, f"SELECT * FROM {view} WHERE run_id = ? ORDER BY ALL", [run_id])
        for view, columns in views
        if BY_RUN in columns
    }
    kept = {view: rows for view, rows in found.items() if not rows.is_empty()}
    used = {
        each
        for rows in kept.values()
        for name in ("eval_id", "other_eval_id")
        if name in rows.columns
        for each in rows[name].unique()
    }
    if used:
        kept["evaluations"] = frame(
            connection,
            "SELECT * FROM evaluations WHERE eval_id IN (SELECT unnest(?)) ORDER BY ALL",
            [sorted(used)],
        )
    return kept
