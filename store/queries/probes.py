"""Questions about linear probes: their accuracy, and whether a splice says more than they do."""

import duckdb
import polars as pl

from store.queries.frames import frame

CUBE = ["run_id", "eval_id", "cut", "norm", "fit_labels", "pool"]
# Ranks of two points agree or don't: below this a correlation says nothing.
FEWEST_POINTS = 3


def probes(connection: duckdb.DuckDBPyConnection, run_ids: list[str]) -> pl.DataFrame:
    """Every probe of runs, with the epoch of its checkpoint and what the set is."""
    return frame(
        connection,
        """
        SELECT p.*, c.epoch, e.dataset, e.corruption, e.severity
        FROM probes AS p
        JOIN checkpoints AS c ON c.run_id = p.run_id AND c.step = p.step
        JOIN evaluations AS e USING (eval_id)
        WHERE p.run_id IN (SELECT unnest(?))
        ORDER BY p.run_id, p.eval_id, p.fit_labels, p.pool, p.norm, p.depth, p.step
        """,
        [run_ids],
    )


def probe_points(connection: duckdb.DuckDBPyConnection, run_ids: list[str]) -> pl.DataFrame:
    """Each earlier shallow part s of runs: its probe's accuracy beside A(s, t), t the final step.

    ``residual`` is A(s, t) minus its least-squares line on the probe's accuracy over the points of
    a run, set and cut: what the splice says beyond the probe, if a line is all that joins them.
    NULL where the probes are all equal. Of several cubes the usual one stands here: float32, a
    batch of 250, every example.
    """
    return frame(
        connection,
        """
        WITH cells AS (
            SELECT run_id, eval_id, cut, norm, shallow_step, deep_step, accuracy, n
            FROM splices
            WHERE run_id IN (SELECT unnest(?)) AND control = 'none'
            QUALIFY row_number() OVER (
                PARTITION BY run_id, eval_id, cut, norm, shallow_step, deep_step
                ORDER BY dtype <> 'float32', batch_size <> 250, target_half_width, dtype, batch_size
            ) = 1
        ),
        final AS (
            FROM cells
            QUALIFY deep_step = max(deep_step) OVER (PARTITION BY run_id, eval_id, cut, norm)
        ),
        points AS (
            SELECT p.run_id, p.eval_id, p.split, p.cut, p.depth, p.norm, p.fit_labels, p.pool,
                   f.shallow_step, f.deep_step, c.epoch AS shallow_epoch, f.n,
                   p.accuracy AS probe_accuracy, f.accuracy AS splice_accuracy
            FROM final AS f
            JOIN probes AS p ON p.run_id = f.run_id AND p.eval_id = f.eval_id AND p.cut = f.cut
              AND p.norm = f.norm AND p.step = f.shallow_step
            JOIN checkpoints AS c ON c.run_id = f.run_id AND c.step = f.shallow_step
            WHERE f.shallow_step < f.deep_step
        )
        SELECT *, splice_accuracy - regr_intercept(splice_accuracy, probe_accuracy) OVER cube
               - regr_slope(splice_accuracy, probe_accuracy) OVER cube * probe_accuracy AS residual
        FROM points
        WINDOW cube AS (PARTITION BY run_id, eval_id, cut, norm, fit_labels, pool)
        ORDER BY run_id, eval_id, fit_labels, pool, norm, depth, shallow_step
        """,
        [run_ids],
    )


def probe_agreement(connection: duckdb.DuckDBPyConnection, run_ids: list[str]) -> pl.DataFrame:
    """Of each cut of a run: does A(s, t) under the final t only follow the probe at s?

    ``spearman``: rank correlation over the ``points`` (checkpoints before the last), NULL for fewer
    than 3 or where one side is constant. ``residual``: root mean square of the residuals of
    ``probe_points``, in accuracy; ``spread``: standard deviation of A(s, t), the same without the
    probe. Points are checkpoints of one run on one set of examples, so they depend on each other:
    no p-value belongs to them.
    """
    points = probe_points(connection, run_ids)
    both = pl.col("splice_accuracy"), pl.col("probe_accuracy")
    return (
        points.group_by([*CUBE, "split", "depth", "deep_step"], maintain_order=True)
        .agg(
            pl.corr(*both, method="spearman").fill_nan(None).alias("spearman"),
            pl.col("residual").pow(2).mean().sqrt().alias("residual"),
            pl.col("splice_accuracy").std(ddof=0).alias("spread"),
            pl.len().cast(pl.Int64).alias("points"),
            pl.col("n").max(),
        )
        .with_columns(
            pl.when(pl.col("points") >= FEWEST_POINTS).then(pl.col(name)).alias(name)
            for name in ("spearman", "residual", "spread")
        )
    )
