"""Reads: one named function a question, a connection in, a polars frame out."""

from typing import Any

import duckdb
import polars as pl


def _frame(
    connection: duckdb.DuckDBPyConnection, question: str, params: list[Any] | None = None
) -> pl.DataFrame:
    # sql, not execute: DuckDB 2 gives polars frames from relations alone.
    frame: pl.DataFrame = connection.sql(question, params=params).pl()
    return frame


def studies(connection: duckdb.DuckDBPyConnection) -> pl.DataFrame:
    """List studies: study, title, runs, finished."""
    return _frame(
        connection,
        """
        SELECT s.study, any_value(s.title) AS title, count(*) AS runs,
               count(*) FILTER (r.status = 'finished') AS finished
        FROM study_runs AS s JOIN runs AS r USING (run_id)
        GROUP BY s.study ORDER BY s.study
        """,
    )


def study_runs(connection: duckdb.DuckDBPyConnection, study: str) -> pl.DataFrame:
    """List the runs of a study in its order: arm and name there, then the columns of ``runs``."""
    return _frame(
        connection,
        """
        SELECT s.arm, s.name, r.* EXCLUDE (study, arm, name)
        FROM study_runs AS s JOIN runs AS r USING (run_id)
        WHERE s.study = ? ORDER BY s.position
        """,
        [study],
    )


def metrics(connection: duckdb.DuckDBPyConnection, run_ids: list[str]) -> pl.DataFrame:
    """Training and test curves of runs, by step."""
    return _frame(
        connection,
        "SELECT * FROM metrics WHERE run_id IN (SELECT unnest(?)) ORDER BY run_id, step",
        [run_ids],
    )


def checkpoints(connection: duckdb.DuckDBPyConnection, run_ids: list[str]) -> pl.DataFrame:
    """Checkpoints of runs, by step."""
    return _frame(
        connection,
        "SELECT * FROM checkpoints WHERE run_id IN (SELECT unnest(?)) ORDER BY run_id, step",
        [run_ids],
    )


def splice_choices(connection: duckdb.DuckDBPyConnection, run_ids: list[str]) -> pl.DataFrame:
    """Which cubes there are for runs: split, norm, cut, depth, classes, one row each."""
    return _frame(
        connection,
        """
        SELECT DISTINCT s.split, s.norm, s.cut, s.depth, e.classes
        FROM splices AS s JOIN evaluations AS e USING (eval_id)
        WHERE s.run_id IN (SELECT unnest(?)) AND s.control = 'none' AND s.corruption = 'none'
        ORDER BY s.split DESC, s.norm, s.depth
        """,
        [run_ids],
    )


def splice_cells(
    connection: duckdb.DuckDBPyConnection, run_ids: list[str], split: str, norm: str
) -> pl.DataFrame:
    """Every cell of the clean cubes of runs on a split, with the epochs of both steps."""
    return _frame(
        connection,
        """
        SELECT s.run_id, s.cut, s.depth, s.shallow_step, s.deep_step,
               a.epoch AS shallow_epoch, b.epoch AS deep_epoch, s.n, s.correct, s.accuracy,
               s.accuracy_low, s.accuracy_high, s.loss, s.margin, s.agreement, s.chance, s.retention
        FROM splices AS s
        JOIN checkpoints AS a ON a.run_id = s.shallow_run_id AND a.step = s.shallow_step
        JOIN checkpoints AS b ON b.run_id = s.run_id AND b.step = s.deep_step
        WHERE s.run_id IN (SELECT unnest(?)) AND s.split = ? AND s.norm = ?
          AND s.control = 'none' AND s.corruption = 'none'
        ORDER BY s.run_id, s.depth, s.shallow_step, s.deep_step
        """,
        [run_ids, split, norm],
    )


def final_training_accuracy(
    connection: duckdb.DuckDBPyConnection, run_ids: list[str]
) -> pl.DataFrame:
    """Accuracy on its own training set (labels trained on) at each run's last checkpoint."""
    return _frame(
        connection,
        """
        SELECT run_id, max(step) AS step, arg_max(accuracy, step) AS accuracy
        FROM metrics
        WHERE run_id IN (SELECT unnest(?)) AND split = 'train' AND mode = 'eval'
        GROUP BY run_id ORDER BY run_id
        """,
        [run_ids],
    )


def unit_counts(connection: duckdb.DuckDBPyConnection) -> pl.DataFrame:
    """Finished units by kind: kind, count, seconds of work."""
    return _frame(
        connection,
        "SELECT kind, count(*) AS count, sum(seconds) AS seconds FROM units "
        "WHERE status = 'finished' GROUP BY kind "
        "ORDER BY kind",
    )


def stored_units(connection: duckdb.DuckDBPyConnection) -> pl.DataFrame:
    """Kind and unit_id of every part that the store holds, studies and failures too."""
    return _frame(
        connection,
        """
        SELECT kind, unit_id FROM base.units
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
    return _frame(
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
