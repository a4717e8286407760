"""A question about single examples: two cells against each other."""

import duckdb
import polars as pl

from store.queries.frames import frame


def prediction_pair(
    connection: duckdb.DuckDBPyConnection,
    run_id: str,
    eval_id: str,
    cut: str,
    norm: str,
    first: list[int],
    second: list[int],
) -> pl.DataFrame:
    """Compare what two cells of a run predict, example by example: one row, or none.

    first, second: (shallow step, deep step) of each. ``right_to_wrong`` and ``wrong_to_right``
    count the examples that only the first, only the second cell gets right: McNemar's test needs
    no more. They are NULL where the set has no targets (over 256 classes).
    """
    return frame(
        connection,
        """
        WITH cells AS (
            FROM predictions
            WHERE run_id = ? AND eval_id = ? AND cut = ? AND norm = ? AND control = 'none'
        ),
        examples AS (
            SELECT a.dtype, a.batch_size, unnest(a.predicted) AS first,
                   unnest(b.predicted) AS second, unnest(e.targets) AS target
            FROM cells AS a
            JOIN cells AS b USING (dtype, batch_size)
            JOIN evaluations AS e ON e.eval_id = a.eval_id
            WHERE a.shallow_step = ? AND a.deep_step = ? AND b.shallow_step = ? AND b.deep_step = ?
        )
        SELECT dtype, batch_size, count(*) AS n, avg((first = second)::INTEGER) AS agreement,
               CASE WHEN count(target) > 0 THEN
                   count(*) FILTER (first = target AND second <> target) END AS right_to_wrong,
               CASE WHEN count(target) > 0 THEN
                   count(*) FILTER (first <> target AND second = target) END AS wrong_to_right
        FROM examples GROUP BY dtype, batch_size ORDER BY dtype, batch_size
        """,
        [run_id, eval_id, cut, norm, *first, *second],
    )
