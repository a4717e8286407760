"""Questions about single examples: two cells against each other, one cell class by class."""

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


def per_class(
    connection: duckdb.DuckDBPyConnection,
    run_id: str,
    eval_id: str,
    cut: str,
    norm: str,
    cell: list[int],
) -> pl.DataFrame:
    """Accuracy of one cell of a run, (shallow step, deep step), class by class.

    Classes without an example in the set have no row. Intervals: Wilson, 95 %, over examples.
    """
    return frame(
        connection,
        """
        WITH examples AS (
            SELECT p.dtype, p.batch_size, e.class_names, unnest(p.predicted) AS predicted,
                   unnest(e.targets) AS target
            FROM predictions AS p JOIN evaluations AS e USING (eval_id)
            WHERE p.run_id = ? AND p.eval_id = ? AND p.cut = ? AND p.norm = ?
              AND p.control = 'none' AND p.shallow_step = ? AND p.deep_step = ?
        ),
        classes AS (
            SELECT dtype, batch_size, target AS class,
                   any_value(class_names[target::INTEGER + 1]) AS class_name, count(*) AS n,
                   count(*) FILTER (predicted = target) AS correct
            FROM examples WHERE target IS NOT NULL
            GROUP BY dtype, batch_size, target
        )
        SELECT dtype, batch_size, class, class_name, n, correct, correct / n AS accuracy,
               wilson_low(correct, n) AS accuracy_low, wilson_high(correct, n) AS accuracy_high
        FROM classes ORDER BY dtype, batch_size, class
        """,
        [run_id, eval_id, cut, norm, *cell],
    )
