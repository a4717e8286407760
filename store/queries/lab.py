"""Questions about one stored cell, of one run or of two, as the Splice lab shows it."""

import duckdb
import polars as pl

from store.queries.frames import frame

# Controls whose shallow part is another run's as it is: plain splices of two runs.
PLAIN = "('none', 'other_seed', 'same_init', 'twin')"
_DEEP = """
    run_id = $run_id AND eval_id = $eval_id AND cut = $cut AND norm = $norm
    AND deep_step = $deep_step
"""
_CELL = f"""
    {_DEEP} AND shallow_run_id = $shallow_run_id AND shallow_step = $shallow_step
    AND control IN {PLAIN}
"""
_EXAMPLES = f"""
    WITH own AS (
        FROM predictions WHERE {_DEEP} AND shallow_step = deep_step AND control = 'none'
    ),
    cell AS (FROM predictions WHERE {_CELL}),
    examples AS (
        SELECT dtype, batch_size, e.class_names, unnest(cell.predicted) AS predicted,
               unnest(own.predicted) AS own, unnest(e.targets) AS target
        FROM cell JOIN own USING (eval_id, dtype, batch_size) JOIN evaluations AS e USING (eval_id)
    )
"""


def stored_cell(
    connection: duckdb.DuckDBPyConnection,
    run_id: str,
    shallow_run_id: str,
    eval_id: str,
    cut: str,
    norm: str,
    cell: list[int],
) -> pl.DataFrame:
    """One cell, (shallow step, deep step): a row for each number format and batch size it has."""
    return frame(
        connection,
        f"""
        SELECT control, dtype, batch_size, target_half_width, n, correct, accuracy, accuracy_low,
               accuracy_high, loss, margin, agreement, chance
        FROM splices
        WHERE {_CELL}
        ORDER BY dtype <> 'float32', dtype, batch_size, target_half_width, control
        """,
        _asked(run_id, shallow_run_id, eval_id, cut, norm, cell),
    )


def stored_classes(
    connection: duckdb.DuckDBPyConnection,
    run_id: str,
    shallow_run_id: str,
    eval_id: str,
    cut: str,
    norm: str,
    cell: list[int],
) -> pl.DataFrame:
    """Accuracy of a cell class by class, and ``own_accuracy``: that of the deep network itself.

    Classes without an example in the set have no row. Intervals: Wilson, 95 %, over examples.
    """
    return frame(
        connection,
        f"""
        {_EXAMPLES},
        classes AS (
            SELECT dtype, batch_size, target AS class,
                   any_value(class_names[target::INTEGER + 1]) AS class_name, count(*) AS n,
                   count(*) FILTER (predicted = target) AS correct,
                   avg((own = target)::INTEGER) AS own_accuracy
            FROM examples WHERE target IS NOT NULL
            GROUP BY dtype, batch_size, target
        )
        SELECT dtype, batch_size, class, class_name, n, correct, correct / n AS accuracy,
               wilson_low(correct, n) AS accuracy_low, wilson_high(correct, n) AS accuracy_high,
               own_accuracy
        FROM classes ORDER BY dtype, batch_size, class
        """,
        _asked(run_id, shallow_run_id, eval_id, cut, norm, cell),
    )


def stored_changes(
    connection: duckdb.DuckDBPyConnection,
    run_id: str,
    shallow_run_id: str,
    eval_id: str,
    cut: str,
    norm: str,
    cell: list[int],
) -> pl.DataFrame:
    """How often a cell says ``predicted`` where the deep network itself says ``own``.

    One row for each pair and label (``target``, NULL where the set has none) that there is.
    """
    return frame(
        connection,
        f"""
        {_EXAMPLES}
        SELECT dtype, batch_size, target, own, predicted, count(*) AS count
        FROM examples GROUP BY ALL ORDER BY ALL
        """,
        _asked(run_id, shallow_run_id, eval_id, cut, norm, cell),
    )


def _asked(
    run_id: str, shallow_run_id: str, eval_id: str, cut: str, norm: str, cell: list[int]
) -> dict[str, object]:
    shallow_step, deep_step = cell
    return {
        "run_id": run_id,
        "shallow_run_id": shallow_run_id,
        "eval_id": eval_id,
        "cut": cut,
        "norm": norm,
        "shallow_step": shallow_step,
        "deep_step": deep_step,
    }
