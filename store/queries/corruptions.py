"""Questions about corrupted images: accuracy, mean error, scores beside the clean ones."""

import duckdb
import polars as pl

from store.queries.frames import frame


def corruptions(connection: duckdb.DuckDBPyConnection, run_ids: list[str]) -> pl.DataFrame:
    """Accuracy of each checkpoint by kind and severity (``none``, 0: clean), with its epoch."""
    return frame(
        connection,
        """
        SELECT x.*, c.epoch, e.dataset, e.classes,
               coalesce(e.config ->> 'corruption_folder', '') <> '' AS official,
               coalesce(e.config ->> 'subset_seed', '0') AS subset
        FROM corruptions AS x
        JOIN checkpoints AS c ON c.run_id = x.run_id AND c.step = x.step
        JOIN evaluations AS e USING (eval_id)
        WHERE x.run_id IN (SELECT unnest(?))
        ORDER BY x.run_id, x.step, x.corruption <> 'none', x.corruption, x.severity, x.n, x.eval_id
        """,
        [run_ids],
    )


def corruption_errors(connection: duckdb.DuckDBPyConnection, run_ids: list[str]) -> pl.DataFrame:
    """Mean corruption error of each checkpoint: the mean over kinds of the mean over severities.

    Ours: not divided by AlexNet's errors, which nobody has for these data. ``relative`` is what
    corruption adds to the clean error; NULL without a clean set of the same examples.
    """
    return frame(
        connection,
        """
        WITH asked AS (
            SELECT x.*, coalesce(e.config ->> 'subset_seed', '0') AS subset
            FROM corruptions AS x JOIN evaluations AS e USING (eval_id)
            WHERE x.run_id IN (SELECT unnest(?))
        ),
        kinds AS (
            SELECT run_id, step, norm, n, subset, corruption, avg(1 - accuracy) AS error,
                   count(*) AS severities
            FROM asked WHERE corruption <> 'none'
            GROUP BY run_id, step, norm, n, subset, corruption
        ),
        clean AS (FROM asked WHERE corruption = 'none')
        SELECT k.run_id, k.step, c.epoch, k.norm, k.n, k.subset, count(*) AS kinds,
               sum(k.severities)::BIGINT AS sets, avg(k.error) AS mean_error,
               any_value(1 - o.accuracy) AS clean_error,
               avg(k.error) - any_value(1 - o.accuracy) AS relative
        FROM kinds AS k
        JOIN checkpoints AS c ON c.run_id = k.run_id AND c.step = k.step
        LEFT JOIN clean AS o ON o.run_id = k.run_id AND o.step = k.step AND o.norm = k.norm
          AND o.n = k.n AND o.subset = k.subset
        GROUP BY k.run_id, k.step, c.epoch, k.norm, k.n, k.subset
        ORDER BY k.run_id, k.step, k.norm, k.n, k.subset
        """,
        [run_ids],
    )


def corrupted_scores(
    connection: duckdb.DuckDBPyConnection, run_ids: list[str], measure: str = "accuracy"
) -> pl.DataFrame:
    """Scores TC of the runs' cubes on corrupted test images, beside those on the clean ones.

    Accuracy or ``agreement``, all pairs, weighted by cumulative learning rate; intervals: 95 %,
    bootstrap over examples, this training. Only sets of as many examples are held against one
    another.
    """
    return frame(
        connection,
        """
        WITH scores AS (
            SELECT c.*, e.corruption, e.severity, e.labels,
                   coalesce(e.config ->> 'subset_seed', '0') AS subset
            FROM consistency AS c JOIN evaluations AS e USING (eval_id)
            WHERE c.run_id IN (SELECT unnest(?)) AND c.split = 'test' AND c.control = 'none'
              AND c.measure = ? AND c.pairs = 'all' AND c.weighting = 'learning_rate'
        )
        SELECT x.run_id, x.cut, x.depth, x.norm, x.dtype, x.n, x.corruption, x.severity, x.eval_id,
               o.score AS clean, o.score_low AS clean_low, o.score_high AS clean_high,
               x.score, x.score_low, x.score_high
        FROM scores AS x
        JOIN scores AS o ON o.run_id = x.run_id AND o.cut = x.cut AND o.norm = x.norm
          AND o.dtype = x.dtype AND o.n = x.n AND o.subset = x.subset AND o.labels = x.labels
          AND o.corruption = 'none'
        WHERE x.corruption <> 'none'
        ORDER BY x.run_id, x.depth, x.norm, x.corruption, x.severity, x.eval_id, x.dtype
        """,
        [run_ids, measure],
    )
