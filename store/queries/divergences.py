"""Questions about distances between laws of features, and about the bound that TV enters."""

import duckdb
import polars as pl

from store.queries.frames import frame


def divergences(
    connection: duckdb.DuckDBPyConnection, run_ids: list[str], split: str
) -> pl.DataFrame:
    """List every distance of runs on a split, with its null and the epochs of both steps.

    ``other_eval_id`` is 'none' between two steps on the same examples.
    """
    return frame(
        connection,
        """
        SELECT d.*, a.epoch AS shallow_epoch, b.epoch AS deep_epoch
        FROM divergences AS d
        JOIN checkpoints AS a ON a.run_id = d.run_id AND a.step = d.shallow_step
        JOIN checkpoints AS b ON b.run_id = d.run_id AND b.step = d.deep_step
        WHERE d.run_id IN (SELECT unnest(?)) AND d.split = ?
        ORDER BY d.run_id, d.depth, d.measure, d.q, d.labelled, d.other_eval_id, d.deep_step,
                 d.shallow_step, d.eval_id
        """,
        [run_ids, split],
    )


def bound_terms(connection: duckdb.DuckDBPyConnection, run_ids: list[str]) -> pl.DataFrame:
    """R_Q, R_aug and the TV needed, (R_Q - R_aug) / B, of each deep part t, cut and ``norm``.

    The loss is 0-1, so B = 1. R_Q: error of network t on a clean test set. R_aug: mean error on
    the training set, over the checkpoints s <= t, of the splices (s, t). TV itself is in no column:
    it is known by lower bounds alone.
    """
    return frame(
        connection,
        """
        WITH cells AS (
            FROM splices
            WHERE run_id IN (SELECT unnest(?)) AND control = 'none' AND corruption = 'none'
              AND shallow_step <= deep_step
        ),
        augmented AS (
            SELECT run_id, cut, depth, norm, dtype, batch_size, target_half_width, deep_step,
                   eval_id AS train_eval_id, any_value(n) AS train_n, count(*) AS checkpoints,
                   1 - avg(accuracy) AS augmented_risk
            FROM cells WHERE split = 'train' GROUP BY ALL
        )
        SELECT a.*, q.eval_id AS test_eval_id, q.n AS test_n, 1 - q.accuracy AS risk,
               1 - q.accuracy - a.augmented_risk AS tv_needed
        FROM augmented AS a JOIN cells AS q USING (
            run_id, cut, depth, norm, dtype, batch_size, target_half_width, deep_step
        )
        WHERE q.split = 'test' AND q.shallow_step = q.deep_step
        ORDER BY a.run_id, a.depth, a.norm, a.dtype, a.deep_step, train_eval_id, test_eval_id
        """,
        [run_ids],
    )
