"""Questions about studies, runs and their trainings."""

import duckdb
import polars as pl

from store.queries.frames import frame


def studies(connection: duckdb.DuckDBPyConnection) -> pl.DataFrame:
    """List studies: study, title, runs of its arms, finished ones among them.

    ``kinds``: how many kinds of finished work there are on its runs.
    """
    return frame(
        connection,
        """
        WITH worked AS (
            SELECT s.study, count(DISTINCT u.kind) AS kinds
            FROM study_runs AS s JOIN units AS u USING (run_id)
            WHERE u.status = 'finished' GROUP BY s.study
        )
        SELECT s.study, any_value(s.title) AS title, count(*) AS runs,
               count(*) FILTER (r.status = 'finished') AS finished,
               coalesce(any_value(w.kinds), 0) AS kinds
        FROM study_runs AS s JOIN runs AS r USING (run_id)
        LEFT JOIN worked AS w ON w.study = s.study
        WHERE s.role = 'arm'
        GROUP BY s.study ORDER BY s.study
        """,
    )


def study_summaries(connection: duckdb.DuckDBPyConnection) -> pl.DataFrame:
    """List studies with what they are about: arms, data sets, networks, and how far they are.

    ``runs``, ``finished``, ``failed``, ``checkpoints`` count those of the arms.
    """
    return frame(
        connection,
        """
        WITH kept AS (SELECT run_id, count(*) AS checkpoints FROM checkpoints GROUP BY run_id)
        SELECT s.study, any_value(s.title) AS title,
               list(DISTINCT s.arm ORDER BY s.arm) AS arms,
               list(DISTINCT r.dataset ORDER BY r.dataset) AS datasets,
               list(DISTINCT r.network ORDER BY r.network) AS networks,
               count(*) AS runs, count(*) FILTER (r.status = 'finished') AS finished,
               count(*) FILTER (r.status = 'failed') AS failed,
               coalesce(sum(k.checkpoints), 0)::BIGINT AS checkpoints
        FROM study_runs AS s JOIN runs AS r USING (run_id) LEFT JOIN kept AS k USING (run_id)
        WHERE s.role = 'arm'
        GROUP BY s.study ORDER BY s.study
        """,
    )


def study_contents(connection: duckdb.DuckDBPyConnection, study: str) -> pl.DataFrame:
    """Finished work on the runs of a study by kind: units, their rows, seconds, the last end."""
    return frame(
        connection,
        """
        SELECT kind, count(*) AS units, sum(row_count)::BIGINT AS rows, sum(seconds) AS seconds,
               max(finished_at) AS last_finished
        FROM units
        WHERE status = 'finished' AND run_id IN (SELECT run_id FROM study_runs WHERE study = ?)
        GROUP BY kind ORDER BY kind
        """,
        [study],
    )


def study_runs(connection: duckdb.DuckDBPyConnection, study: str) -> pl.DataFrame:
    """List the arms' runs of a study in its order: arm and name there, then those of ``runs``."""
    return frame(
        connection,
        """
        SELECT s.arm, s.name, r.* EXCLUDE (study, arm, name, role)
        FROM study_runs AS s JOIN runs AS r USING (run_id)
        WHERE s.study = ? AND s.role = 'arm' ORDER BY s.position
        """,
        [study],
    )


def control_runs(connection: duckdb.DuckDBPyConnection, study: str) -> pl.DataFrame:
    """List the runs that a study needs for its controls alone.

    Columns: ``controls`` names those that the run's shallow parts serve (a list: one run may serve
    two; empty before a splice is stored), then as in ``study_runs``.
    """
    return frame(
        connection,
        """
        SELECT list_sort(coalesce(c.controls, [])) AS controls, s.arm, s.name,
               r.* EXCLUDE (study, arm, name, role)
        FROM study_runs AS s
        JOIN runs AS r USING (run_id)
        LEFT JOIN (
            SELECT shallow_run_id, list(DISTINCT control) AS controls FROM splices
            WHERE control <> 'none' GROUP BY shallow_run_id
        ) AS c ON c.shallow_run_id = s.run_id
        WHERE s.study = ? AND s.role = 'control' ORDER BY s.position
        """,
        [study],
    )


def metrics(connection: duckdb.DuckDBPyConnection, run_ids: list[str]) -> pl.DataFrame:
    """Training and test curves of runs, by step."""
    return frame(
        connection,
        "SELECT * FROM metrics WHERE run_id IN (SELECT unnest(?)) ORDER BY run_id, step",
        [run_ids],
    )


def checkpoints(connection: duckdb.DuckDBPyConnection, run_ids: list[str]) -> pl.DataFrame:
    """Checkpoints of runs, by step."""
    return frame(
        connection,
        "SELECT * FROM checkpoints WHERE run_id IN (SELECT unnest(?)) ORDER BY run_id, step",
        [run_ids],
    )


def final_training_accuracy(
    connection: duckdb.DuckDBPyConnection, run_ids: list[str]
) -> pl.DataFrame:
    """Accuracy on its own training set (labels trained on) at each run's last checkpoint."""
    return frame(
        connection,
        """
        SELECT run_id, max(step) AS step, arg_max(accuracy, step) AS accuracy
        FROM metrics
        WHERE run_id IN (SELECT unnest(?)) AND split = 'train' AND mode = 'eval'
        GROUP BY run_id ORDER BY run_id
        """,
        [run_ids],
    )


def final_accuracies(connection: duckdb.DuckDBPyConnection, run_ids: list[str]) -> pl.DataFrame:
    """Accuracy of each run's last checkpoint: on its training set (labels trained on), on test."""
    return frame(
        connection,
        """
        SELECT run_id, max(step) AS step,
               arg_max(accuracy, step) FILTER (split = 'train') AS train_accuracy,
               arg_max(accuracy, step) FILTER (split = 'test') AS test_accuracy
        FROM metrics
        WHERE run_id IN (SELECT unnest(?)) AND mode = 'eval'
        GROUP BY run_id ORDER BY run_id
        """,
        [run_ids],
    )


def integrity_flags(connection: duckdb.DuckDBPyConnection, run_ids: list[str]) -> pl.DataFrame:
    """Say what the rows of runs show to be wrong: run_id, flag, places. No row: nothing.

    Equal hashes at different steps; checkpoints that the configuration of a finished run asks for,
    up to its last step, and the store lacks; units of work that failed. Files are not read.
    """
    return frame(
        connection,
        """
        WITH asked AS (SELECT DISTINCT unnest(?) AS run_id),
        kept AS (FROM checkpoints WHERE run_id IN (FROM asked)),
        planned AS (
            SELECT run_id, unnest((config ->> '$.checkpoints[*]')::BIGINT[]) AS step,
                   coalesce((config ->> '$.branch.step')::BIGINT, 0) AS first
            FROM runs WHERE run_id IN (FROM asked) AND status = 'finished'
        ),
        last AS (SELECT run_id, max(step) AS step FROM metrics
                 WHERE run_id IN (FROM asked) GROUP BY run_id)
        SELECT run_id, 'equal checkpoints at different steps' AS flag,
               'steps ' || string_agg(step, ', ' ORDER BY step) AS places
        FROM kept GROUP BY run_id, sha256 HAVING count(*) > 1
        UNION ALL
        SELECT p.run_id, 'checkpoints missing',
               'steps ' || string_agg(p.step, ', ' ORDER BY p.step)
        FROM planned AS p JOIN last AS l USING (run_id)
        ANTI JOIN kept AS k ON k.run_id = p.run_id AND k.step = p.step
        WHERE p.step <= l.step AND p.step >= p.first GROUP BY p.run_id
        UNION ALL
        SELECT run_id, 'failed: ' || kind, label || ': ' || coalesce(reason, 'no cause recorded')
        FROM units WHERE status = 'failed' AND run_id IN (FROM asked)
        ORDER BY ALL
        """,
        [run_ids],
    )


def unit_counts(connection: duckdb.DuckDBPyConnection) -> pl.DataFrame:
    """Finished units by kind: kind, count, seconds of work."""
    return frame(
        connection,
        "SELECT kind, count(*) AS count, sum(seconds) AS seconds FROM units "
        "WHERE status = 'finished' GROUP BY kind "
        "ORDER BY kind",
    )


def unit_versions(connection: duckdb.DuckDBPyConnection, run_ids: list[str]) -> pl.DataFrame:
    """With which versions and on what machine the finished units of runs were computed.

    A row a run, kind and text of versions (JSON): units, their seconds, when the first and the last
    ended (UTC).
    """
    return frame(
        connection,
        """
        SELECT run_id, kind, versions, count(*) AS units, sum(seconds) AS seconds,
               min(finished_at) AS first_finished, max(finished_at) AS last_finished
        FROM units
        WHERE run_id IN (SELECT unnest(?)) AND status = 'finished'
        GROUP BY run_id, kind, versions ORDER BY run_id, kind, versions
        """,
        [run_ids],
    )
