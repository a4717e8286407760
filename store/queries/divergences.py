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
