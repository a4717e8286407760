"""Questions about retention under the last deep part, with its limits over examples."""

import duckdb
import polars as pl

from store.queries.frames import frame


def retentions(
    connection: duckdb.DuckDBPyConnection,
    run_ids: list[str],
    split: str,
    cut: str,
    corruption: str = "none",
    severity: int = 0,
) -> pl.DataFrame:
    """Retention of each earlier shallow part, of runs and controls, by default on clean sets.

    Beside it what it is drawn against, of the run's *own* network of that step: ``own_accuracy``
    A(s, s), under the same normalisation, and ``displacement`` of the features between s and the
    last step (that of ``inherit`` where statistics are estimated anew); NULL where there is none.
    """
    return frame(
        connection,
        """
        WITH asked AS (
            SELECT r.* FROM retentions AS r JOIN evaluations AS e USING (eval_id)
            WHERE r.run_id IN (SELECT unnest($run_ids)) AND r.split = $split AND r.cut = $cut
              AND e.corruption = $corruption AND e.severity = $severity
        ),
        own AS (
            SELECT run_id, eval_id, norm, dtype, shallow_step, accuracy FROM splices
            WHERE run_id IN (SELECT unnest($run_ids)) AND split = $split AND cut = $cut
              AND control = 'none' AND shallow_step = deep_step AND target_half_width = 0
            QUALIFY row_number() OVER (
                PARTITION BY run_id, eval_id, norm, dtype, shallow_step
                ORDER BY batch_size <> 250, batch_size
            ) = 1
        )
        SELECT a.run_id, a.eval_id, a.cut, a.depth, a.norm, a.dtype, a.control, a.replicate,
               a.shallow_step, a.deep_step, c.epoch AS shallow_epoch, a.retention,
               a.retention_low, a.retention_high, own.accuracy AS own_accuracy, d.displacement, a.n
        FROM asked AS a
        LEFT JOIN checkpoints AS c ON c.run_id = a.run_id AND c.step = a.shallow_step
        LEFT JOIN own ON own.run_id = a.run_id AND own.eval_id = a.eval_id
          AND own.norm = a.norm AND own.dtype = a.dtype AND own.shallow_step = a.shallow_step
        LEFT JOIN displacement AS d ON d.run_id = a.run_id AND d.eval_id = a.eval_id
          AND d.cut = a.cut AND d.shallow_step = a.shallow_step AND d.deep_step = a.deep_step
          AND d.norm = CASE a.norm WHEN 'none' THEN 'none' ELSE 'inherit' END
        ORDER BY a.run_id, a.control <> 'none', a.control, a.replicate, a.norm, a.shallow_step,
                 a.eval_id, a.dtype
        """,
        {
            "run_ids": run_ids,
            "split": split,
            "cut": cut,
            "corruption": corruption,
            "severity": severity,
        },
    )


def corrupted_retentions(connection: duckdb.DuckDBPyConnection, run_ids: list[str]) -> pl.DataFrame:
    """Retention of each earlier shallow part on corrupted test images, beside that on clean ones.

    Under the last deep part; limits: 95 % over examples (Fieller), this training. Only sets of as
    many examples, drawn alike, are held against one another: the same pictures.
    """
    return frame(
        connection,
        """
        WITH own AS (
            SELECT r.*, e.corruption, e.severity, e.labels, e.dataset,
                   coalesce(e.config ->> 'subset_seed', '0') AS subset
            FROM retentions AS r JOIN evaluations AS e USING (eval_id)
            WHERE r.run_id IN (SELECT unnest(?)) AND r.split = 'test' AND r.control = 'none'
        )
        SELECT x.run_id, x.cut, x.depth, x.norm, x.dtype, x.n, x.corruption, x.severity,
               x.shallow_step, c.epoch AS shallow_epoch, x.deep_step, x.eval_id,
               o.retention AS clean, o.retention_low AS clean_low, o.retention_high AS clean_high,
               x.retention, x.retention_low, x.retention_high
        FROM own AS x
        JOIN own AS o ON o.run_id = x.run_id AND o.cut = x.cut AND o.norm = x.norm
          AND o.dtype = x.dtype AND o.n = x.n AND o.subset = x.subset AND o.labels = x.labels
          AND o.dataset = x.dataset AND o.shallow_step = x.shallow_step AND o.corruption = 'none'
        LEFT JOIN checkpoints AS c ON c.run_id = x.run_id AND c.step = x.shallow_step
        WHERE x.corruption <> 'none'
        ORDER BY x.run_id, x.depth, x.norm, x.corruption, x.severity, x.shallow_step, x.eval_id,
                 x.dtype
        """,
        [run_ids],
    )
